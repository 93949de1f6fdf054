import { readFileSync } from 'node:fs';
import type { CreateContainerRequest, HostConfig } from '../../api-types/container.ts';
import { errnoOf } from '../../base/errors.ts';
import type { Healthcheck } from '../../oci/image.ts';
import { usageError, type Values } from '../flags.ts';
import { parseCgroupRule, parseDevices } from '../parse/devices.ts';
import { parseEnvironment, parseLabels, parsePairs } from '../parse/key-values.ts';
import { parseHost, parseLink, parseRestart, parseUlimit } from '../parse/limits.ts';
import { parseMount, parseTmpfs, parseVolumes } from '../parse/mounts.ts';
import { parsePorts } from '../parse/ports.ts';
import { parseBytes, parseDuration } from '../parse/units.ts';
import type { containerFlags } from './flags.ts';
import { fixedLimits, updatableLimits } from './limits.ts';
import { parseNetworks } from './networks.ts';

export type ContainerFlags = Values<typeof containerFlags>;
type Streams = { stdin: boolean; stdout: boolean; stderr: boolean };

/** The body of POST /containers/create for what was typed after `run` or `create`. Throws InvalidArgument `USAGE`. */
export function createRequest(
  flags: ContainerFlags,
  [image = '', ...command]: readonly string[],
  options: { detach: boolean; env: NodeJS.ProcessEnv },
): CreateContainerRequest {
  checkCombinations(flags, options.detach);
  const volumes = parseVolumes(flags.volume);
  const ports = parsePorts(flags.publish, flags.expose);
  const networks = parseNetworks(flags);
  const { stdin, stdout, stderr } = attachedStreams(flags, options.detach);
  const interactive = flags.interactive === true;
  return withoutUndefined({
    Image: image,
    Cmd: command.length === 0 ? undefined : command,
    Entrypoint: flags.entrypoint === undefined ? undefined : [flags.entrypoint],
    Env: parseEnvironment(flags.env, flags['env-file'], options.env),
    Labels: parseLabels(flags.label, flags['label-file']),
    Hostname: flags.hostname,
    Domainname: flags.domainname,
    User: flags.user,
    WorkingDir: flags.workdir,
    Tty: flags.tty === true,
    OpenStdin: interactive,
    StdinOnce: interactive && stdin,
    AttachStdin: stdin,
    AttachStdout: stdout,
    AttachStderr: stderr,
    StopSignal: flags['stop-signal'],
    StopTimeout: flags['stop-timeout'],
    Healthcheck: healthcheck(flags),
    ExposedPorts: ports.exposed,
    Volumes: Object.keys(volumes.anonymous).length === 0 ? undefined : volumes.anonymous,
    HostConfig: withoutUndefined({
      ...places(flags),
      ...limits(flags),
      ...isolation(flags),
      Binds: volumes.binds.length === 0 ? undefined : volumes.binds,
      PortBindings: ports.bindings,
      PublishAllPorts: flags['publish-all'],
      NetworkMode: networks.mode,
      AutoRemove: flags.rm === true,
      RestartPolicy: flags.restart === undefined ? undefined : parseRestart(flags.restart),
      Init: flags.init,
      Runtime: flags.runtime,
    }),
    NetworkingConfig: Object.keys(networks.endpoints).length === 0 ? undefined : { EndpointsConfig: networks.endpoints },
  }) as CreateContainerRequest;
}

/** Which streams the client follows: those of `-a`, else stdout and stderr; and stdin with `-i`. */
export function attachedStreams(flags: Pick<ContainerFlags, 'attach' | 'interactive'>, detach: boolean): Streams {
  if (detach) return { stdin: false, stdout: false, stderr: false };
  const names = flags.attach.map((name) => name.toLowerCase());
  for (const name of names) {
    if (!/^std(?:in|out|err)$/.test(name))
      throw usageError(`invalid argument "${name}" for --attach`, 'Streams are stdin, stdout and stderr.');
  }
  const stdin = flags.interactive === true || names.includes('stdin');
  if (names.length === 0) return { stdin, stdout: true, stderr: true };
  return { stdin, stdout: names.includes('stdout'), stderr: names.includes('stderr') };
}

function checkCombinations(flags: ContainerFlags, detach: boolean): void {
  if (detach && flags.attach.length > 0) throw usageError('--attach and --detach exclude each other');
  if (flags.rm && flags.restart !== undefined && flags.restart !== '' && flags.restart !== 'no')
    throw usageError('--rm and --restart exclude each other');
  if (flags.pull !== undefined && !/^(?:always|missing|never)$/.test(flags.pull))
    throw usageError(`invalid argument "${flags.pull}" for --pull`, 'Use always, missing or never.');
  if (flags['disable-content-trust'] === false)
    throw usageError('--disable-content-trust=false asks for signed images, and this version does not check signatures');
  if (flags['log-driver'] === 'none' && flags['log-opt'].length > 0) throw usageError('--log-opt does not go with --log-driver none');
  const stopTimeout = flags['stop-timeout'];
  if (stopTimeout !== undefined && stopTimeout < -1) throw usageError('--stop-timeout must be -1 (wait for ever) or more');
}

function places(flags: ContainerFlags): Loose<HostConfig> {
  return {
    Mounts: some(flags.mount.map(parseMount)),
    Tmpfs: flags.tmpfs.length === 0 ? undefined : parseTmpfs(flags.tmpfs),
    VolumesFrom: some(flags['volumes-from']),
    VolumeDriver: flags['volume-driver'],
    StorageOpt: pairs(flags['storage-opt'], '--storage-opt'),
    Annotations: pairs(flags.annotation, '--annotation'),
    Links: some(flags.link.map(parseLink)),
    ContainerIDFile: flags.cidfile,
    LogConfig:
      flags['log-driver'] === undefined && flags['log-opt'].length === 0
        ? undefined
        : { Type: flags['log-driver'] ?? '', Config: parsePairs(flags['log-opt'], '--log-opt') },
    Dns: some(flags.dns),
    DnsOptions: some(flags['dns-option']),
    DnsSearch: some(flags['dns-search']),
    ExtraHosts: some(flags['add-host'].map(parseHost)),
  };
}

function limits(flags: ContainerFlags): Loose<HostConfig> {
  return {
    ...updatableLimits(flags),
    ...fixedLimits(flags),
    ShmSize: optional(flags['shm-size'], (size) => parseBytes(size, '--shm-size')),
    Ulimits: some(flags.ulimit.map(parseUlimit)),
    OomKillDisable: flags['oom-kill-disable'],
    OomScoreAdj: flags['oom-score-adj'],
    CgroupParent: flags['cgroup-parent'],
  };
}

function isolation(flags: ContainerFlags): Loose<HostConfig> {
  const { options, unmasked } = securityOptions(flags['security-opt']);
  const { devices, requests } = parseDevices(flags.device, flags.gpus);
  return {
    CapAdd: some(flags['cap-add']),
    CapDrop: some(flags['cap-drop']),
    Privileged: flags.privileged,
    ReadonlyRootfs: flags['read-only'],
    SecurityOpt: some(options),
    MaskedPaths: unmasked ? [] : undefined,
    ReadonlyPaths: unmasked ? [] : undefined,
    Devices: some(devices),
    DeviceRequests: some(requests),
    DeviceCgroupRules: some(flags['device-cgroup-rule'].map(parseCgroupRule)),
    Sysctls: pairs(flags.sysctl, '--sysctl'),
    GroupAdd: some(flags['group-add']),
    PidMode: flags.pid,
    IpcMode: flags.ipc,
    UTSMode: flags.uts,
    UsernsMode: flags.userns,
    CgroupnsMode: flags.cgroupns,
    Isolation: flags.isolation,
  };
}

/** A seccomp profile is a file of the client's: its content travels. `systempaths=unconfined` is told by empty lists of paths. */
function securityOptions(texts: readonly string[]): { options: string[]; unmasked: boolean } {
  const options: string[] = [];
  let unmasked = false;
  for (const text of texts) {
    const match = /^([a-z-]+)[=:](.*)$/.exec(text);
    if (match === null && text !== 'no-new-privileges')
      throw usageError(`invalid argument "${text}" for --security-opt: expected NAME=VALUE`);
    if (text === 'systempaths=unconfined') unmasked = true;
    else if (match?.[1] === 'seccomp' && match[2] !== 'unconfined' && match[2] !== 'builtin')
      options.push(`seccomp=${readProfile(match[2] ?? '')}`);
    else options.push(text);
  }
  return { options, unmasked };
}

function readProfile(file: string): string {
  try {
    return JSON.stringify(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    throw usageError(
      `cannot use the seccomp profile ${file}: ${errnoOf(error) ?? (error instanceof Error ? error.message : String(error))}`,
    );
  }
}

function healthcheck(flags: ContainerFlags): Healthcheck | undefined {
  const timing = withoutUndefined({
    Interval: healthDuration(flags['health-interval'], '--health-interval'),
    Timeout: healthDuration(flags['health-timeout'], '--health-timeout'),
    StartPeriod: healthDuration(flags['health-start-period'], '--health-start-period'),
    StartInterval: healthDuration(flags['health-start-interval'], '--health-start-interval'),
    Retries: flags['health-retries'],
  }) as Healthcheck;
  const command = flags['health-cmd'];
  const given = command !== undefined || Object.keys(timing).length > 0;
  if (flags['no-healthcheck']) {
    if (given) throw usageError('--no-healthcheck and --health-… exclude each other');
    return { Test: ['NONE'] };
  }
  if (!given) return undefined;
  return command === undefined ? timing : { Test: ['CMD-SHELL', command], ...timing };
}

function healthDuration(value: string | undefined, flag: string): number | undefined {
  const duration = optional(value, (text) => parseDuration(text, flag));
  if (duration !== undefined && duration < 0) throw usageError(`${flag} must not be negative`);
  return duration;
}

type Loose<T> = { [K in keyof T]?: T[K] | undefined };

function pairs(texts: readonly string[], flag: string): Record<string, string> | undefined {
  return texts.length === 0 ? undefined : parsePairs(texts, flag);
}

function some<T>(values: T[]): T[] | undefined {
  return values.length === 0 ? undefined : values;
}

function optional<T>(value: string | undefined, parse: (value: string) => T): T | undefined {
  return value === undefined ? undefined : parse(value);
}

function withoutUndefined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
