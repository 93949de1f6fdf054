import { hostname as hostHostname } from 'node:os';
import type { ContainerConfig, CreateContainerRequest, HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { RunConfig } from '../../oci/image.ts';
import { mergeEnv } from '../spec/environment.ts';
import { networkMode } from './network-mode.ts';

/** The request over the image's defaults, as Docker merges them. `id` gives the default host name. */
export function mergeConfig(request: CreateContainerRequest, image: RunConfig, id: string): { config: ContainerConfig; args: string[] } {
  const { HostConfig: host = {}, NetworkingConfig: _, ...own } = request;
  const entrypoint = toList(own.Entrypoint);
  const command = toList(own.Cmd);
  // An entrypoint of one's own also drops the image's command, which was meant for the other.
  const [Entrypoint, Cmd] =
    entrypoint !== undefined && entrypoint.length > 0
      ? [entrypoint[0] === '' ? undefined : entrypoint, command]
      : [image.Entrypoint ?? undefined, command && command.length > 0 ? command : (image.Cmd ?? undefined)];
  const config: ContainerConfig = {
    ...own,
    Hostname: own.Hostname || (networkMode(host).kind === 'host' ? hostHostname() : id.slice(0, 12)),
    User: own.User || image.User || '',
    Env: mergeEnv(image.Env, own.Env),
    Entrypoint: Entrypoint ?? null,
    Cmd: Cmd ?? null,
    WorkingDir: own.WorkingDir || image.WorkingDir || '',
    Labels: { ...image.Labels, ...own.Labels },
    ExposedPorts: { ...image.ExposedPorts, ...own.ExposedPorts },
    Volumes: { ...image.Volumes, ...own.Volumes },
    ...((own.StopSignal ?? image.StopSignal) ? { StopSignal: own.StopSignal ?? image.StopSignal ?? '' } : {}),
    ...((own.Healthcheck ?? image.Healthcheck) ? { Healthcheck: own.Healthcheck ?? image.Healthcheck ?? {} } : {}),
  };
  const args = [...(Entrypoint ?? []), ...(Cmd ?? [])];
  if (args.length === 0) {
    throw new EngineError('InvalidArgument', 'NO_COMMAND', 'no command specified', {
      hint: 'The image names none: give one after its name.',
    });
  }
  return { config, args };
}

function toList(value: string[] | string | null | undefined): string[] | undefined {
  if (value === null || value === undefined) return undefined;
  return typeof value === 'string' ? [value] : value;
}

/** `none` and `local` keep their output in the spool as well: a client that is attached reads it there. */
const logDrivers = ['', 'json-file', 'local', 'none'];
const minMemoryBytes = 6 << 20;

/** Throws InvalidArgument for what Docker refuses too, naming the field. */
export function checkConfig(config: ContainerConfig, host: HostConfig, runtimes: readonly string[]): void {
  const refuse = (code: string, message: string, hint?: string) => {
    throw new EngineError('InvalidArgument', code, message, { hint });
  };
  if (config.WorkingDir && !config.WorkingDir.startsWith('/')) {
    refuse('WORKDIR_INVALID', `the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  }
  if (/^\/proc\/(self|thread-self|\d+)\/(fd|cwd|root)(\/|$)/.test(config.WorkingDir ?? '')) {
    refuse('WORKDIR_INVALID', `the working directory '${config.WorkingDir}' is invalid: it would lead out of the container`);
  }
  if (config.Hostname && !/^[a-zA-Z0-9._-]{1,63}(\.[a-zA-Z0-9._-]{1,63})*$/.test(config.Hostname))
    refuse('HOSTNAME_INVALID', `invalid hostname: ${config.Hostname}`);
  for (const entry of config.Env ?? []) {
    if (entry === '' || entry.startsWith('=')) refuse('ENV_INVALID', `invalid environment variable: "${entry}"`);
    if (entry.includes('\0')) refuse('ENV_INVALID', `invalid environment variable: ${JSON.stringify(entry)} holds a NUL`);
  }
  if (host.Memory && host.Memory < minMemoryBytes) refuse('MEMORY_INVALID', 'Minimum memory limit allowed is 6MB');
  if (host.Memory && host.MemorySwap && host.MemorySwap > 0 && host.MemorySwap < host.Memory) {
    refuse('MEMORY_INVALID', 'Minimum memoryswap limit should be larger than memory limit, see usage');
  }
  if (!host.Memory && host.MemorySwap && host.MemorySwap > 0)
    refuse('MEMORY_INVALID', 'You should always set the Memory limit when using Memoryswap limit, see usage');
  if (host.NanoCpus && (host.CpuPeriod || host.CpuQuota))
    refuse('CPU_INVALID', 'Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set');
  if (host.NanoCpus !== undefined && host.NanoCpus < 0) refuse('CPU_INVALID', `invalid NanoCpus: ${host.NanoCpus}`);
  if (host.ShmSize !== undefined && host.ShmSize < 0) refuse('SHM_INVALID', 'SHM size can not be less than 0');
  if (host.PidsLimit !== undefined && host.PidsLimit !== null && host.PidsLimit < -1)
    refuse('PIDS_INVALID', `invalid PidsLimit: ${host.PidsLimit}`);
  if (host.OomScoreAdj !== undefined && (host.OomScoreAdj < -1000 || host.OomScoreAdj > 1000)) {
    refuse('OOM_SCORE_INVALID', `Invalid value ${host.OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  }
  checkRestartPolicy(host, refuse);
  const log = host.LogConfig?.Type ?? '';
  if (!logDrivers.includes(log))
    refuse('LOG_DRIVER_UNKNOWN', `logger: no log driver named '${log}' is registered`, 'The engine has json-file, local and none.');
  if (host.Runtime && !runtimes.includes(host.Runtime)) {
    refuse('RUNTIME_UNKNOWN', `unknown or invalid runtime name: ${host.Runtime}`, `The engine has ${runtimes.join(', ')}.`);
  }
  if (host.VolumeDriver && host.VolumeDriver !== 'local') refuse('VOLUME_DRIVER_UNKNOWN', `no volume driver named "${host.VolumeDriver}"`);
  if (host.UsernsMode && host.UsernsMode !== 'host')
    refuse('USERNS_UNSUPPORTED', `invalid user namespace mode: ${host.UsernsMode}`, 'Leave it out, or use host.');
  checkNamespaceModes(host, refuse);
}

type Refuse = (code: string, message: string, hint?: string) => void;

function checkRestartPolicy(host: HostConfig, refuse: Refuse): void {
  const { Name = '', MaximumRetryCount = 0 } = host.RestartPolicy ?? {};
  if (!['', 'no', 'always', 'unless-stopped', 'on-failure'].includes(Name))
    refuse('RESTART_POLICY_INVALID', `invalid restart policy '${Name}'`);
  if (MaximumRetryCount < 0) refuse('RESTART_POLICY_INVALID', 'maximum retry count cannot be negative');
  if (MaximumRetryCount > 0 && Name !== 'on-failure')
    refuse('RESTART_POLICY_INVALID', `maximum retry count cannot be used with restart policy '${Name}'`);
  if (host.AutoRemove && Name !== '' && Name !== 'no')
    refuse('RESTART_POLICY_INVALID', "can't create 'AutoRemove' container with restart policy");
}

function checkNamespaceModes(host: HostConfig, refuse: Refuse): void {
  const shared = (mode: string) => mode === '' || mode === 'host' || /^container:.+/.test(mode);
  if (!shared(host.PidMode ?? '')) refuse('PID_MODE_INVALID', `invalid PID mode: ${host.PidMode}`);
  const ipc = host.IpcMode ?? '';
  if (!shared(ipc) && !['private', 'shareable', 'none'].includes(ipc)) refuse('IPC_MODE_INVALID', `invalid IPC mode: ${ipc}`);
  if (!['', 'host'].includes(host.UTSMode ?? '')) refuse('UTS_MODE_INVALID', `invalid UTS mode: ${host.UTSMode}`);
}
