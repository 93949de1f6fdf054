import { EngineError } from '../../base/errors.ts';
import type { ContainerRecord } from '../port.ts';
import { capabilities } from './capabilities.ts';
import { devices } from './devices.ts';
import { type HardLimits, resourceLimits, rlimits } from './limits.ts';
import { defaultShmBytes, fileMount, joinMounts, rootPropagation, systemMounts, userMounts } from './mounts.ts';
import { apparmorProfile, maskedPaths, parseSecurityOptions, readonlyPaths, seccompFor } from './security.ts';
import type { NamespaceType, RuntimeSpec, SpecMount } from './types.ts';
import type { ResolvedUser } from './user.ts';

/** What the specification needs to know of the host. */
export type HostFacts = {
  /** `CAP_…` that the engine itself holds. */
  capabilities: readonly string[];
  hardLimits: HardLimits;
  swapAccounting: boolean;
  cgroupVersion: 1 | 2;
  /** Loaded AppArmor profiles; undefined without AppArmor. */
  apparmor: readonly string[] | undefined;
};

/** `own`: a new one; `host`: none; a path: that one. */
export type NamespaceChoice = 'own' | 'host' | { path: string };

export type SpecInput = {
  record: Pick<ContainerRecord, 'config' | 'hostConfig' | 'mounts'>;
  rootfs: string;
  cgroupsPath: string;
  facts: HostFacts;
  user: ResolvedUser;
  env: readonly string[];
  args: readonly string[];
  cwd: string;
  namespaces: { network: NamespaceChoice; pid: NamespaceChoice; ipc: NamespaceChoice; uts: NamespaceChoice };
  /** /etc/hosts and the like: host path by path inside. */
  files: { source: string; destination: string }[];
  shmSource?: string | undefined;
  /** An init's static binary on the host, and the path at which the container sees it. */
  init?: { source: string; destination: string } | undefined;
  consoleSize?: { rows: number; columns: number } | undefined;
};

/** The runtime specification of a container with Docker's defaults. Warnings are for whoever creates it. */
export function buildSpec(input: SpecInput): { spec: RuntimeSpec; warnings: string[] } {
  const { record, facts } = input;
  const host = record.hostConfig;
  const security = parseSecurityOptions(host.SecurityOpt ?? []);
  const caps = capabilities(
    { privileged: host.Privileged ?? false, add: host.CapAdd ?? null, drop: host.CapDrop ?? null },
    facts.capabilities,
  );
  const limits = rlimits(host.Ulimits, facts.hardLimits, facts.capabilities.includes('CAP_SYS_RESOURCE'));
  const node = devices(host);
  const seccomp = seccompFor(security.seccomp, host.Privileged, caps.granted);
  const apparmor = apparmorProfile(security.apparmor, host, facts.apparmor);
  const tty = record.config.Tty ?? false;
  const propagation = rootPropagation(record.mounts);
  const exposed = host.Privileged || security.unmaskAll;

  const spec: RuntimeSpec = {
    ociVersion: '1.0.2',
    process: {
      terminal: tty,
      ...(tty && input.consoleSize ? { consoleSize: { height: input.consoleSize.rows, width: input.consoleSize.columns } } : {}),
      user: { uid: input.user.uid, gid: input.user.gid, additionalGids: input.user.additionalGids },
      args: input.init ? [input.init.destination, '--', ...input.args] : [...input.args],
      env: [...input.env],
      cwd: input.cwd,
      capabilities: { bounding: caps.granted, effective: caps.granted, permitted: caps.granted, inheritable: [], ambient: [] },
      ...(limits.rlimits.length > 0 ? { rlimits: limits.rlimits } : {}),
      noNewPrivileges: security.noNewPrivileges,
      ...(apparmor ? { apparmorProfile: apparmor } : {}),
      oomScoreAdj: host.OomScoreAdj ?? 0,
    },
    root: { path: input.rootfs, readonly: host.ReadonlyRootfs ?? false },
    ...(input.namespaces.uts === 'own' ? { hostname: record.config.Hostname ?? '' } : {}),
    ...(input.namespaces.uts === 'own' && record.config.Domainname ? { domainname: record.config.Domainname } : {}),
    mounts: allMounts(input),
    linux: {
      namespaces: namespaces(input),
      devices: node.devices,
      cgroupsPath: input.cgroupsPath,
      resources: { devices: node.rules, ...resourceLimits(host, facts) },
      ...(host.Sysctls && Object.keys(host.Sysctls).length > 0 ? { sysctl: host.Sysctls } : {}),
      ...(seccomp ? { seccomp } : {}),
      ...(propagation ? { rootfsPropagation: propagation } : {}),
      maskedPaths: host.MaskedPaths ?? (exposed ? [] : maskedPaths),
      readonlyPaths: host.ReadonlyPaths ?? (exposed ? [] : readonlyPaths),
    },
  };
  const refused = caps.missing.map((name) => `capability ${name} was not added: the engine itself does not hold it on this host`);
  return { spec, warnings: [...refused, ...limits.warnings] };
}

function allMounts(input: SpecInput): SpecMount[] {
  const host = input.record.hostConfig;
  const system = systemMounts({
    privileged: host.Privileged ?? false,
    shmBytes: host.ShmSize || defaultShmBytes,
    shmSource: input.shmSource,
    hostIpc: input.namespaces.ipc === 'host',
  });
  const files = input.files.map(({ source, destination }) => fileMount(source, destination, host.ReadonlyRootfs ?? false));
  const init = input.init ? [fileMount(input.init.source, input.init.destination, true)] : [];
  return joinMounts(system, files, userMounts(input.record.mounts, host), init);
}

function namespaces(input: SpecInput): RuntimeSpec['linux']['namespaces'] {
  const choices: [NamespaceType, NamespaceChoice][] = [
    ['mount', 'own'],
    ['network', input.namespaces.network],
    ['uts', input.namespaces.uts],
    ['pid', input.namespaces.pid],
    ['ipc', input.namespaces.ipc],
    ['cgroup', cgroupNamespace(input)],
  ];
  return choices.flatMap(([type, choice]) => (choice === 'host' ? [] : choice === 'own' ? [{ type }] : [{ type, path: choice.path }]));
}

/** Docker's default: private with cgroup v2, the host's with v1 (and when privileged, the host's). */
function cgroupNamespace({ record, facts }: SpecInput): NamespaceChoice {
  const mode = record.hostConfig.CgroupnsMode ?? '';
  if (mode === 'host' || mode === 'private') return mode === 'host' ? 'host' : 'own';
  if (mode !== '') throw new EngineError('InvalidArgument', 'CGROUPNS_INVALID', `invalid cgroup namespace mode: ${mode}`);
  return facts.cgroupVersion === 2 && !record.hostConfig.Privileged ? 'own' : 'host';
}

/** As JSON. Infinity becomes RLIM_INFINITY, 2^64-1, which a JavaScript number cannot hold. */
export function encodeSpec(spec: RuntimeSpec | RuntimeSpec['process']): string {
  const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('18446744073709551615');
  return JSON.stringify(spec, (_, value) => (value === Number.POSITIVE_INFINITY ? raw : value));
}
