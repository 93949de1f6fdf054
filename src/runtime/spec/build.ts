import { statSync } from 'node:fs';
import type { ContainerRecord } from '../port.ts';
import { apparmorProfile } from './apparmor.ts';
import { capabilities } from './capabilities.ts';
import { applyEdits } from './cdi/apply.ts';
import type { ContainerEdits } from './cdi/specification.ts';
import { devices } from './devices.ts';
import type { HostFacts } from './facts.ts';
import { resourceLimits, rlimits } from './limits.ts';
import { lockedMountFlags } from './locked-flags.ts';
import { fileMount, joinMounts, rootPropagation, systemMounts, userMounts } from './mounts.ts';
import { cgroupNamespace, namespaces, type SharedNamespaces } from './namespaces.ts';
import { seccompFor } from './seccomp-profile.ts';
import { maskedPaths, parseSecurityOptions, readonlyPaths, type SecurityOptions } from './security.ts';
import { defaultSysctls } from './sysctls.ts';
import type { ProcessSpec, RuntimeSpec, SpecIdRange, SpecMount } from './types.ts';
import type { ResolvedUser } from './user.ts';

export type { HostFacts } from './facts.ts';
export type { NamespaceChoice } from './namespaces.ts';

export type SpecInput = {
  record: Pick<ContainerRecord, 'config' | 'hostConfig' | 'mounts'> & Partial<Pick<ContainerRecord, 'idMap'>>;
  rootfs: string;
  /** As the runtime wants it named. */
  cgroupsPath: string;
  facts: HostFacts;
  user: ResolvedUser;
  env: readonly string[];
  args: readonly string[];
  cwd: string;
  namespaces: SharedNamespaces;
  /** /etc/hosts and the like: host path by path inside. */
  files: { source: string; destination: string }[];
  shmSource?: string | undefined;
  /** An init's static binary on the host, and the path at which the container sees it. */
  init?: { source: string; destination: string } | undefined;
  consoleSize?: { rows: number; columns: number } | undefined;
  /** What CDI devices ask for. */
  deviceEdits?: readonly ContainerEdits[] | undefined;
  /** Whether the runtime can make a mount and all below it read-only. */
  recursiveReadOnly?: boolean | undefined;
};

/** The runtime specification of a container with Docker's defaults. Warnings are for whoever creates it. */
export function buildSpec(input: SpecInput): { spec: RuntimeSpec; warnings: string[] } {
  const { record, facts } = input;
  const host = record.hostConfig;
  const security = parseSecurityOptions(host.SecurityOpt ?? []);
  const { process, warnings } = processSpec(input, security);
  const node = devices(host);
  const seccomp = seccompFor(security.seccomp, host.Privileged, process.capabilities.bounding, facts.settings.seccompProfile);
  const propagation = rootPropagation(record.mounts);
  const exposed = host.Privileged || security.unmaskAll;
  const sysctl = { ...defaultSysctls(input), ...host.Sysctls };
  const { Hostname = '', Domainname } = record.config;
  const ownNames = input.namespaces.uts === 'own';

  const spec: RuntimeSpec = {
    ociVersion: '1.0.2',
    process,
    root: { path: input.rootfs, readonly: host.ReadonlyRootfs ?? false },
    ...(ownNames ? { hostname: Hostname } : {}),
    ...(ownNames && Domainname ? { domainname: Domainname } : {}),
    mounts: allMounts(input, security),
    ...(host.Annotations && Object.keys(host.Annotations).length > 0 ? { annotations: { ...host.Annotations } } : {}),
    linux: {
      namespaces: namespaces(input.namespaces, cgroupNamespace(host, facts)),
      ...(record.idMap ? { uidMappings: idRanges(record.idMap.uids), gidMappings: idRanges(record.idMap.gids) } : {}),
      devices: node.devices,
      cgroupsPath: input.cgroupsPath,
      resources: { devices: node.rules, ...resourceLimits(host, facts) },
      ...(Object.keys(sysctl).length > 0 ? { sysctl } : {}),
      ...(seccomp ? { seccomp } : {}),
      ...(propagation ? { rootfsPropagation: propagation } : {}),
      maskedPaths: host.MaskedPaths ?? (exposed ? [] : maskedPaths),
      readonlyPaths: host.ReadonlyPaths ?? (exposed ? [] : readonlyPaths),
    },
  };
  applyEdits(spec, input.deviceEdits ?? []);
  return { spec, warnings };
}

function processSpec(input: SpecInput, security: SecurityOptions): { process: ProcessSpec; warnings: string[] } {
  const { record, facts, user } = input;
  const { hostConfig: host, config } = record;
  const caps = capabilities(
    { privileged: host.Privileged ?? false, add: host.CapAdd ?? null, drop: host.CapDrop ?? null },
    facts.capabilities,
  );
  const mayRaise = facts.capabilities.includes('CAP_SYS_RESOURCE');
  const limits = rlimits(host.Ulimits, facts.hardLimits, mayRaise, facts.settings.defaultUlimits);
  const apparmor = apparmorProfile(security.apparmor, host, facts.apparmor);
  const tty = config.Tty ?? false;
  const size = input.consoleSize ?? initialSize(host.ConsoleSize);
  const { granted } = caps;
  return {
    process: {
      terminal: tty,
      ...(tty && size ? { consoleSize: { height: size.rows, width: size.columns } } : {}),
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      args: input.init ? [input.init.destination, '--', ...input.args] : [...input.args],
      env: [...input.env],
      cwd: input.cwd,
      capabilities: { bounding: granted, effective: granted, permitted: granted, inheritable: [], ambient: [] },
      ...(limits.rlimits.length > 0 ? { rlimits: limits.rlimits } : {}),
      noNewPrivileges: security.noNewPrivileges,
      ...(apparmor ? { apparmorProfile: apparmor } : {}),
      oomScoreAdj: oomScore(host.OomScoreAdj ?? 0, facts),
    },
    warnings: [
      ...caps.missing.map((name) => `capability ${name} was not added: the engine itself does not hold it on this host`),
      ...limits.warnings,
    ],
  };
}

/** Only CAP_SYS_RESOURCE lets a process be spared more than the one that starts it. */
export function oomScore(wanted: number, facts: Pick<HostFacts, 'capabilities' | 'oomScoreAdj'>): number {
  return facts.capabilities.includes('CAP_SYS_RESOURCE') ? wanted : Math.max(wanted, facts.oomScoreAdj);
}

/** The terminal's size as the client had it when the container was made. */
function initialSize(size: readonly number[] | null | undefined): { rows: number; columns: number } | undefined {
  const [rows = 0, columns = 0] = size ?? [];
  return rows > 0 && columns > 0 ? { rows, columns } : undefined;
}

function idRanges(ranges: NonNullable<ContainerRecord['idMap']>['uids']): SpecIdRange[] {
  return ranges.map(({ inside, outside, count }) => ({ containerID: inside, hostID: outside, size: count }));
}

function allMounts(input: SpecInput, security: SecurityOptions): SpecMount[] {
  const { record, facts } = input;
  const host = record.hostConfig;
  const privileged = host.Privileged ?? false;
  const system = systemMounts({
    privileged,
    // In a user namespace nothing could make the mount read-only again.
    writableCgroups: record.idMap !== undefined || (security.writableCgroups ?? privileged),
    shmBytes: host.ShmSize || facts.settings.defaultShmBytes,
    shmSource: input.shmSource,
    withoutShm: host.IpcMode === 'none',
  });
  const files = input.files.map(({ source, destination }) => fileMount(source, destination, host.ReadonlyRootfs ?? false));
  const user = userMounts(record.mounts, host, {
    recursiveReadOnly: facts.recursiveReadOnly && (input.recursiveReadOnly ?? false),
    lockedFlags: record.idMap && lockedMountFlags,
    isLeaf: (source) => statSync(source, { throwIfNoEntry: false })?.isDirectory() === false,
  });
  const init = input.init ? [fileMount(input.init.source, input.init.destination, true)] : [];
  return joinMounts(system, files, user, init);
}

/** As JSON. Infinity becomes RLIM_INFINITY, 2^64-1, which a JavaScript number cannot hold. */
export function encodeSpec(spec: RuntimeSpec | RuntimeSpec['process']): string {
  const raw = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('18446744073709551615');
  return JSON.stringify(spec, (_, value) => (value === Number.POSITIVE_INFINITY ? raw : value));
}
