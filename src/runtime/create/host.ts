import type { HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import { type EngineContext, runtimeOf } from '../context.ts';
import type { ContainerRecord } from '../port.ts';
import { oomScore } from '../spec/build.ts';
import { capabilities } from '../spec/capabilities.ts';
import { resolveDeviceRequests } from '../spec/cdi/requests.ts';
import { checkCgroupParent } from '../spec/cgroup-path.ts';
import { devices } from '../spec/devices.ts';
import { makesRecursiveReadOnly } from '../spec/features.ts';
import { checkUlimits, rlimits } from '../spec/limits.ts';
import { cgroupNamespace } from '../spec/namespaces.ts';
import { seccompFor } from '../spec/seccomp-profile.ts';
import { maskedPaths, parseSecurityOptions, readonlyPaths, securityWarnings } from '../spec/security.ts';
import { checkSysctls } from '../spec/sysctls.ts';
import { checkLogging } from './check-logging.ts';
import { checkResources } from './check-resources.ts';

type Find = (name: string) => ContainerRecord;
type Settings = { context: EngineContext; find: Find };

function refuse(code: string, message: string, hint?: string): never {
  throw new EngineError('InvalidArgument', code, message, { hint });
}

/**
 * Docker's checks of what a container asks of the host. Answers it with Docker's defaults in, without what this host cannot do, and warnings.
 * InvalidArgument in Docker's words.
 */
export function checkHost(asked: HostConfig, { context, find }: Settings): { hostConfig: HostConfig; warnings: string[] } {
  const { facts } = context;
  const { resources: host, warnings } = checkResources(asked, facts);
  if ((host.ShmSize ?? 0) < 0) refuse('SHM_INVALID', 'SHM size can not be less than 0');
  if (host.PidsLimit && host.PidsLimit < -1) refuse('PIDS_INVALID', `invalid PidsLimit: ${host.PidsLimit}`);
  checkRestartPolicy(host);
  checkNamespaceModes(host, find);
  checkMiscellaneous(host);
  checkRuntime(host, context);
  checkCgroupParent(facts.settings.cgroupDriver, host.CgroupParent);
  checkUlimits(host.Ulimits);
  checkSysctls(host.Sysctls, { network: ownership(host.NetworkMode), ipc: ownership(host.IpcMode) });
  cgroupNamespace(host, facts);
  warnings.push(...checkSecurity(host, context), ...checkLogging(host), ...warningsOf(host, context));
  return { hostConfig: withDefaults(host, context, find), warnings };
}

/** What takes a look at the host: devices, and what a runtime can. InvalidArgument in Docker's words. */
export async function checkHostNow(host: HostConfig, context: EngineContext): Promise<void> {
  devices(host);
  await resolveDeviceRequests(host.DeviceRequests, context.facts.settings.cdiDirectories);
  if ((host.Mounts ?? []).some(({ BindOptions }) => BindOptions?.ReadOnlyForceRecursive)) {
    if (!context.facts.recursiveReadOnly) refuse('MOUNT_INVALID', 'rro is not supported: the kernel is older than 5.12');
    const runtime = runtimeOf(context, host.Runtime);
    if (!(await makesRecursiveReadOnly(runtime)))
      refuse('MOUNT_INVALID', `rro is not supported by runtime ${JSON.stringify(runtime.name)}`);
  }
}

function ownership(mode: string | undefined): 'own' | 'host' | 'container' {
  if (mode === 'host') return 'host';
  return mode?.startsWith('container:') ? 'container' : 'own';
}

function checkRestartPolicy(host: HostConfig): void {
  const { Name = '', MaximumRetryCount = 0 } = host.RestartPolicy ?? {};
  if (host.AutoRemove && Name !== '' && Name !== 'no')
    refuse('RESTART_POLICY_INVALID', "can't create 'AutoRemove' container with restart policy");
  if (!['', 'no', 'always', 'unless-stopped', 'on-failure'].includes(Name))
    refuse(
      'RESTART_POLICY_INVALID',
      `invalid restart policy: unknown policy '${Name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (MaximumRetryCount < 0) refuse('RESTART_POLICY_INVALID', 'invalid restart policy: maximum retry count cannot be negative');
  if (MaximumRetryCount > 0 && Name !== 'on-failure')
    refuse('RESTART_POLICY_INVALID', "invalid restart policy: maximum retry count can only be used with 'on-failure'");
}

function checkNamespaceModes(host: HostConfig, find: Find): void {
  const isContainer = (mode: string) => /^container:.+/.test(mode);
  const shared = (mode: string) => mode === '' || mode === 'host' || isContainer(mode);
  const [pid, ipc] = [host.PidMode ?? '', host.IpcMode ?? ''];
  if (!shared(ipc) && !['private', 'shareable', 'none'].includes(ipc)) refuse('IPC_MODE_INVALID', `invalid IPC mode: ${ipc}`);
  if (!shared(pid)) refuse('PID_MODE_INVALID', `invalid PID mode: ${pid}`);
  if (!['', 'host'].includes(host.UTSMode ?? '')) refuse('UTS_MODE_INVALID', `invalid UTS mode: ${host.UTSMode}`);
  for (const mode of [pid, ipc]) if (isContainer(mode)) find(mode.slice('container:'.length));
}

function checkMiscellaneous(host: HostConfig): void {
  const score = host.OomScoreAdj ?? 0;
  if (score < -1000 || score > 1000) refuse('OOM_SCORE_INVALID', `Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
  if (host.Isolation && host.Isolation !== 'default')
    refuse('ISOLATION_INVALID', `invalid isolation (${host.Isolation}): linux only supports 'default'`);
  if (Object.keys(host.StorageOpt ?? {}).length > 0) {
    refuse(
      'STORAGE_OPT_UNSUPPORTED',
      "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
      'The engine sets no quota on a container: use a volume of a limited size.',
    );
  }
  if (Object.hasOwn(host.Annotations ?? {}, ''))
    refuse('ANNOTATION_INVALID', 'invalid Annotations: the empty string is not permitted as an annotation key');
  for (const group of host.GroupAdd ?? []) if (group === '') refuse('GROUP_INVALID', 'GroupAdd: a group is empty');
  for (const path of [...(host.MaskedPaths ?? []), ...(host.ReadonlyPaths ?? [])])
    if (!path.startsWith('/')) refuse('PATH_INVALID', `${JSON.stringify(path)} in MaskedPaths or ReadonlyPaths is not an absolute path`);
  const [rows, columns] = host.ConsoleSize ?? [];
  if ([rows, columns].some((number) => number !== undefined && (number < 0 || number > 65_535)))
    refuse('CONSOLE_SIZE_INVALID', `invalid ConsoleSize: [${String(rows)}, ${String(columns)}]`);
}

function checkRuntime(host: HostConfig, { runtimes }: EngineContext): void {
  if (!host.Runtime || runtimes.all.has(host.Runtime)) return;
  refuse(
    'RUNTIME_UNKNOWN',
    `unknown or invalid runtime name: ${host.Runtime}`,
    `The engine has ${[...runtimes.all.keys()].join(', ')}; the configuration's table "runtimes" names others.`,
  );
}

function checkSecurity(host: HostConfig, { facts }: EngineContext): string[] {
  const security = parseSecurityOptions(host.SecurityOpt ?? []);
  const { granted, missing } = capabilities(
    { privileged: host.Privileged ?? false, add: host.CapAdd ?? null, drop: host.CapDrop ?? null },
    facts.capabilities,
  );
  seccompFor(security.seccomp, host.Privileged, granted, facts.settings.seccompProfile);
  return [
    ...missing.map((name) => `capability ${name} cannot be added: the engine itself does not hold it on this host`),
    ...securityWarnings(security, facts),
  ];
}

function warningsOf(host: HostConfig, { facts }: EngineContext): string[] {
  const mayRaise = facts.capabilities.includes('CAP_SYS_RESOURCE');
  const score = host.OomScoreAdj ?? 0;
  const least = oomScore(score, facts);
  return [
    ...rlimits(host.Ulimits, facts.hardLimits, mayRaise).warnings,
    ...(least !== score ? [`OomScoreAdj ${score} was raised to the engine's own, ${least}: it does not hold CAP_SYS_RESOURCE`] : []),
    ...(host.CgroupnsMode === 'private' && !facts.controls.cgroupNamespaces
      ? ['Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.']
      : []),
    ...(host.Cgroup ? ['HostConfig.Cgroup has no effect, as on Docker; use CgroupParent'] : []),
    ...(host.Privileged ? privilegedWarnings(host) : []),
  ];
}

function privilegedWarnings(host: HostConfig): string[] {
  const same = (host.Devices ?? []).filter(({ PathOnHost, PathInContainer }) => PathOnHost === (PathInContainer || PathOnHost));
  const limited = (host.Devices ?? []).filter(({ CgroupPermissions }) => CgroupPermissions && CgroupPermissions !== 'rwm');
  return [
    ...same.map(({ PathOnHost }) => `path in container ${PathOnHost} already exists in privileged mode`),
    ...limited.map(
      ({ PathOnHost, CgroupPermissions }) =>
        `custom ${CgroupPermissions} permissions for device ${PathOnHost} are ignored in privileged mode`,
    ),
    ...((host.DeviceCgroupRules ?? []).length > 0 ? ['DeviceCgroupRules have no effect in privileged mode: every device is allowed'] : []),
  ];
}

/** As Docker stores it, and so shows it: names of other containers as ids, which renaming does not change. */
function withDefaults(host: HostConfig, { facts }: EngineContext, find: Find): HostConfig {
  const byId = (mode: string | undefined) =>
    mode?.startsWith('container:') && mode !== 'container:' ? `container:${find(mode.slice('container:'.length)).id}` : mode;
  const security = parseSecurityOptions(host.SecurityOpt ?? []);
  const exposed = host.Privileged || security.unmaskAll;
  const [NetworkMode, PidMode] = [byId(host.NetworkMode), byId(host.PidMode)];
  const cgroupns = cgroupNamespace(host, facts) === 'own' ? 'private' : 'host';
  return {
    ...host,
    ...(NetworkMode ? { NetworkMode } : {}),
    ...(PidMode ? { PidMode } : {}),
    IpcMode: byId(host.IpcMode) || 'private',
    CgroupnsMode: cgroupns,
    ...(host.Memory && !host.MemorySwap ? { MemorySwap: host.Memory * 2 } : {}),
    ShmSize: host.ShmSize || facts.settings.defaultShmBytes,
    MaskedPaths: host.MaskedPaths ?? (exposed ? [] : maskedPaths),
    ReadonlyPaths: host.ReadonlyPaths ?? (exposed ? [] : readonlyPaths),
  };
}
