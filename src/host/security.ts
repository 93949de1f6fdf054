import { readdirSync } from 'node:fs';
import { isErrno } from '../base/errors.ts';
import { readText } from './kernel.ts';
import { aptInstall } from './packages.ts';
import { findProgram } from './programs.ts';
import type { Choice, HostItem } from './report.ts';

export function securityItems(): HostItem[] {
  const actions = readText('/proc/sys/kernel/seccomp/actions_avail').trim();
  const enforce = readText('/sys/fs/selinux/enforce').trim();
  const selinux = { '1': 'enforcing', '0': 'permissive' }[enforce] ?? 'not active on this host';
  return [
    {
      section: 'Security',
      name: 'seccomp',
      status: actions.includes('errno') ? 'ok' : 'degraded',
      required: false,
      detail: actions.includes('errno') ? "there; containers get Docker's default profile" : 'not in this kernel',
      why: 'Containers run without a filter on their system calls.',
    },
    appArmorItem(),
    {
      section: 'Security',
      name: 'SELinux',
      status: enforce === '1' ? 'degraded' : 'ok',
      required: false,
      detail: selinux,
      why: 'The engine sets no labels yet: bind mounts may be refused to containers.',
    },
  ];
}

const hasAppArmor = () => readText('/sys/module/apparmor/parameters/enabled').trim() === 'Y';

function appArmorItem(): HostItem {
  const common = { section: 'Security' as const, name: 'AppArmor', required: false };
  if (!hasAppArmor()) return { ...common, status: 'ok', detail: 'not active on this host' };
  if (findProgram('apparmor_parser') !== undefined)
    return { ...common, status: 'ok', detail: 'active; containers get the profile docker-default' };
  return {
    ...common,
    status: 'missing',
    detail: 'active, but its parser is not installed',
    why: 'The default profile cannot be loaded: containers start only with --security-opt apparmor=unconfined or a profile that is loaded.',
    install: aptInstall('apparmor'),
  };
}

export function chooseAppArmor(): Choice {
  if (!hasAppArmor()) return { name: 'none', why: 'the kernel runs without AppArmor' };
  if (findProgram('apparmor_parser') === undefined) return { name: undefined, why: 'apparmor_parser is not installed' };
  return { name: 'docker-default', why: "Docker's, loaded when a container needs it" };
}

/** Specifications of the Container Device Interface, by file: `--device vendor.com/class=name` and `--gpus` are what they name. */
export function chooseDevices(directories: readonly string[]): Choice {
  const files = directories.flatMap((directory) => specificationFiles(directory).map((name) => `${directory}/${name}`));
  if (files.length === 0) return { name: 'none', why: `there is no specification in ${directories.join(' or ')}; --gpus needs one` };
  return { name: files.join(', '), why: 'what these name can be given with --device VENDOR/CLASS=NAME and --gpus' };
}

function specificationFiles(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => /\.(json|yaml)$/.test(name));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
    throw error;
  }
}

/** Capabilities without which the engine cannot work even as root, such as in a container. Numbers of linux/capability.h. */
const neededCapabilities = { CAP_CHOWN: 0, CAP_DAC_OVERRIDE: 1, CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_MKNOD: 27 };
const CAP_SYS_RESOURCE = 24;

export function limitItems(privileged: boolean): HostItem[] {
  const limits = readText('/proc/self/limits');
  const hardFiles = hardLimit(limits, 'Max open files');
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readText('/proc/self/status'))?.[1] ?? '0'}`);
  const has = (capability: number) => (effective & (1n << BigInt(capability))) !== 0n;
  const items: HostItem[] = [
    {
      section: 'Limits',
      name: 'open files',
      status: hardFiles < 65_536 ? 'degraded' : 'ok',
      required: false,
      detail: `at most ${Number.isFinite(hardFiles) ? hardFiles : 'unlimited'}`,
      why: has(CAP_SYS_RESOURCE)
        ? 'A low limit; the engine may raise it for containers.'
        : "Containers cannot have more, and --ulimit nofile is clamped to it: raise the daemon's limit (LimitNOFILE= in its unit).",
    },
  ];
  if (!privileged) return items;
  const lacking = Object.entries(neededCapabilities).flatMap(([name, number]) => (has(number) ? [] : [name]));
  items.push(
    {
      section: 'Limits',
      name: 'capabilities',
      status: lacking.length === 0 ? 'ok' : 'missing',
      required: true,
      detail: lacking.length === 0 ? 'those of root' : `taken away from root here: ${lacking.join(', ')}`,
      why: 'The engine mounts file systems and makes namespaces: when it runs in a container itself, that one must be privileged.',
    },
    {
      section: 'Limits',
      name: 'CAP_SYS_RESOURCE',
      status: has(CAP_SYS_RESOURCE) ? 'ok' : 'degraded',
      required: false,
      detail: has(CAP_SYS_RESOURCE) ? 'there' : 'taken away from root here',
      why: "Limits of containers cannot exceed the daemon's own; a greater --ulimit is clamped.",
    },
  );
  return items;
}

function hardLimit(limits: string, name: string): number {
  const line = limits.split('\n').find((each) => each.startsWith(name));
  const hard = line?.slice(name.length).trim().split(/\s+/)[1];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard ?? 0);
}
