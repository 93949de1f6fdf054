import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { gunzipSync } from 'node:zlib';
import { errnoOf } from '../base/errors.ts';
import type { HostItem } from './report.ts';

/** What the running kernel was built with and has loaded. */
export type Kernel = {
  release: string;
  /** At least this version. */
  atLeast(major: number, minor: number): boolean;
  /** Undefined when the kernel's configuration is not to be had. */
  option(name: string): boolean | undefined;
  /** Registered, or a module that a mount would load. */
  hasFilesystem(name: string): boolean;
};

export function readKernel(): Kernel {
  const version = release();
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  const options = readOptions(version);
  const registered = new Set(
    readText('/proc/filesystems')
      .split('\n')
      .map((line) => line.split('\t')[1]),
  );
  const modules = readText(`/lib/modules/${version}/modules.dep`) + readText(`/lib/modules/${version}/modules.builtin`);
  return {
    release: version,
    atLeast: (wantedMajor, wantedMinor) => major > wantedMajor || (major === wantedMajor && minor >= wantedMinor),
    option: (name) => (options === undefined ? undefined : options.has(name)),
    hasFilesystem: (name) => registered.has(name) || modules.includes(`/${name}.ko`),
  };
}

/** Names of the options that are `y` or `m`. */
function readOptions(version: string): Set<string> | undefined {
  const text = existsSync('/proc/config.gz')
    ? gunzipSync(readFileSync('/proc/config.gz')).toString('latin1')
    : readText(`/boot/config-${version}`);
  if (text === '') return undefined;
  return new Set([...text.matchAll(/^CONFIG_(\w+)=[ym]$/gm)].map((match) => match[1] ?? ''));
}

/** '' for a file that is not there or may not be read. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if (['ENOENT', 'EACCES', 'EPERM', 'ENOTDIR', 'EINVAL', 'EOPNOTSUPP'].includes(errnoOf(error) ?? '')) return '';
    throw error;
  }
}

/** Whether this kernel can mount trees the fast way: EROFS images from plain files, over an overlay's data-only layers. */
export function supportsErofsOverlay(kernel: Kernel): boolean {
  return mountsImageFiles(kernel) && kernel.hasFilesystem('overlay') && kernel.atLeast(6, 5);
}

function mountsImageFiles(kernel: Kernel): boolean {
  return kernel.hasFilesystem('erofs') && (kernel.option('EROFS_FS_BACKED_BY_FILE') ?? kernel.atLeast(6, 12));
}

export function kernelItems(kernel: Kernel): HostItem[] {
  const item = (
    name: string,
    ok: boolean,
    rest: Omit<HostItem, 'section' | 'name' | 'status'> & { otherwise: HostItem['status'] },
  ): HostItem => {
    const { otherwise, ...fields } = rest;
    return { section: 'Kernel', name, status: ok ? 'ok' : otherwise, ...fields };
  };
  return [
    item('kernel', kernel.atLeast(5, 8), {
      otherwise: 'unsupported',
      required: true,
      detail: kernel.release,
      why: 'Linux 5.8 or later is needed: openat2, pidfds and fsopen are used throughout.',
    }),
    item('overlayfs', kernel.hasFilesystem('overlay'), {
      otherwise: 'missing',
      required: true,
      detail: kernel.hasFilesystem('overlay') ? 'there' : 'not in this kernel',
      why: "Every container's root file system is an overlay.",
    }),
    item('data-only layers', kernel.atLeast(6, 5), {
      otherwise: 'degraded',
      required: false,
      detail: kernel.atLeast(6, 5) ? 'there' : 'come with Linux 6.5',
      why: 'Without them trees are checked out as hard links: a first start costs seconds for a large image.',
    }),
    erofsItem(kernel),
    ...namespaceItems(),
    ...netfilterItems(kernel),
  ];
}

function erofsItem(kernel: Kernel): HostItem {
  const there = kernel.hasFilesystem('erofs');
  const direct = mountsImageFiles(kernel);
  return {
    section: 'Kernel',
    name: 'EROFS',
    status: direct ? 'ok' : 'degraded',
    required: false,
    detail: direct
      ? 'there, mounts image files directly'
      : there
        ? 'there, but mounts image files directly only from Linux 6.12'
        : 'not in this kernel',
    why: 'Trees are checked out as hard links instead of being mounted: a first start costs seconds for a large image.',
  };
}

function namespaceItems(): HostItem[] {
  const wanted = ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'];
  const absent = wanted.filter((name) => !existsSync(`/proc/self/ns/${name}`));
  const users = existsSync('/proc/self/ns/user') && Number(readText('/proc/sys/user/max_user_namespaces') || '1') > 0;
  return [
    {
      section: 'Kernel',
      name: 'namespaces',
      status: absent.length === 0 ? 'ok' : 'missing',
      required: true,
      detail: absent.length === 0 ? wanted.join(', ') : `not in this kernel: ${absent.join(', ')}`,
      why: 'They are what a container is made of.',
    },
    {
      section: 'Kernel',
      name: 'user namespaces',
      status: users ? 'ok' : 'degraded',
      required: false,
      detail: users ? 'there' : 'not there, or limited to 0 by user.max_user_namespaces',
      why: 'Containers cannot have user ids of their own.',
    },
  ];
}

function netfilterItems(kernel: Kernel): HostItem[] {
  const wanted = ['BRIDGE', 'VETH', 'NETFILTER', 'NF_NAT'];
  const absent = wanted.filter((name) => kernel.option(name) === false);
  const known = kernel.option('BRIDGE') !== undefined;
  const forwarding = readText('/proc/sys/net/ipv4/ip_forward').trim() === '1' ? 'on' : 'off (turned on with the first bridge)';
  return [
    {
      section: 'Kernel',
      name: 'bridges and NAT',
      status: absent.length === 0 ? 'ok' : 'degraded',
      required: false,
      detail:
        absent.length > 0
          ? `not in this kernel: ${absent.join(', ')}`
          : `${known ? 'there' : 'not known before they are used'}, IPv4 forwarding ${forwarding}`,
      why: 'Containers have --network host and none only.',
    },
  ];
}
