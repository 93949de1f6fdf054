import { hostname as hostHostname } from 'node:os';
import { posix } from 'node:path';
import type { ContainerConfig, CreateContainerRequest, HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { Healthcheck, RunConfig } from '../../oci/image.ts';
import { parseSignal } from '../signals.ts';
import { mergeEnv } from '../spec/environment.ts';
import { networkMode } from './network-mode.ts';
import { expandExposed } from './ports.ts';

/** The request over the image's defaults, as Docker merges them. `id` gives the default host name. InvalidArgument `NO_COMMAND`. */
export function mergeConfig(request: CreateContainerRequest, image: RunConfig, id: string): { config: ContainerConfig; args: string[] } {
  const { HostConfig: host = {}, NetworkingConfig: _, ...own } = request;
  const { Entrypoint, Cmd } = mergeCommand(own, image);
  const StopSignal = own.StopSignal || image.StopSignal;
  const health = mergeHealth(own.Healthcheck, image.Healthcheck);
  const config: ContainerConfig = {
    ...own,
    Hostname: own.Hostname || defaultHostname(host, id),
    User: own.User || image.User || '',
    Env: mergeEnv(image.Env, own.Env),
    Entrypoint,
    Cmd,
    WorkingDir: normalizeDirectory(own.WorkingDir || image.WorkingDir || ''),
    Labels: { ...image.Labels, ...own.Labels },
    ExposedPorts: expandExposed({ ...image.ExposedPorts, ...own.ExposedPorts }),
    Volumes: { ...image.Volumes, ...own.Volumes },
    ...(StopSignal ? { StopSignal } : {}),
    ...((own.Shell ?? image.Shell) ? { Shell: own.Shell ?? image.Shell ?? [] } : {}),
    ...(health ? { Healthcheck: health } : {}),
  };
  const args = [...(Entrypoint ?? []), ...(Cmd ?? [])];
  if (args.length === 0) {
    throw new EngineError('InvalidArgument', 'NO_COMMAND', 'no command specified', {
      hint: 'The image names none: give one after its name.',
    });
  }
  return { config, args };
}

function defaultHostname(host: HostConfig, id: string): string {
  return networkMode(host).kind === 'host' || host.UTSMode === 'host' ? hostHostname() : id.slice(0, 12);
}

/**
 * An entrypoint of one's own also drops the image's command, which was meant for the other. An empty list takes the image's entrypoint away and
 * keeps its command; a list of one empty string takes both away.
 */
function mergeCommand(own: ContainerConfig, image: RunConfig): { Entrypoint: string[] | null; Cmd: string[] | null } {
  const [entrypoint, command] = [toList(own.Entrypoint), toList(own.Cmd)];
  const hasOwn = entrypoint !== undefined && entrypoint.length > 0;
  const Cmd = !hasOwn && (command?.length ?? 0) === 0 ? (image.Cmd ?? null) : (command ?? null);
  const merged = entrypoint ?? image.Entrypoint ?? null;
  const reset = merged === null || merged.length === 0 || (merged.length === 1 && merged[0] === '');
  return { Entrypoint: reset ? null : merged, Cmd };
}

function toList(value: string[] | string | null | undefined): string[] | undefined {
  if (value === null || value === undefined) return undefined;
  return typeof value === 'string' ? [value] : value;
}

/** Field by field: `--health-interval` alone keeps the image's test. */
function mergeHealth(own: Healthcheck | undefined, image: Healthcheck | undefined): Healthcheck | undefined {
  if (!own || !image) return own ?? image;
  const test = own.Test && own.Test.length > 0 ? own.Test : image.Test;
  const fields = ['Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'] as const;
  const numbers = fields.map((field) => [field, own[field] || image[field]] as const).filter(([, value]) => value !== undefined);
  return { ...(test ? { Test: test } : {}), ...Object.fromEntries(numbers) };
}

function normalizeDirectory(path: string): string {
  return path.startsWith('/') ? posix.normalize(path).replace(/(.)\/$/, '$1') : path;
}

/** HOST_NAME_MAX. */
const hostnameLimitBytes = 64;

/** Throws InvalidArgument for what Docker refuses too, naming the field. For the request, and again once the image's defaults are in it. */
export function checkConfig(config: ContainerConfig, host: HostConfig): void {
  checkWorkingDirectory(config.WorkingDir ?? '');
  checkNames(config, host);
  for (const entry of config.Env ?? []) {
    if (entry === '' || entry.startsWith('=')) refuse('ENV_INVALID', `invalid environment variable: "${entry}"`);
    if (entry.includes('\0')) refuse('ENV_INVALID', `invalid environment variable: ${JSON.stringify(entry)} holds a NUL`);
  }
  if (config.StopSignal) parseSignal(config.StopSignal);
  if (config.StopTimeout !== undefined && config.StopTimeout !== null && config.StopTimeout < -1)
    refuse('STOP_TIMEOUT_INVALID', `invalid StopTimeout: ${config.StopTimeout}`, 'Seconds; -1 waits for ever.');
  for (const word of [...(toList(config.Entrypoint) ?? []), ...(toList(config.Cmd) ?? [])])
    if (word.includes('\0')) refuse('COMMAND_INVALID', `invalid command: ${JSON.stringify(word)} holds a NUL`);
  if (config.Healthcheck) checkHealth(config.Healthcheck);
  expandExposed(config.ExposedPorts ?? {});
  for (const name of Object.keys(config.Labels ?? {})) if (name === '') refuse('LABEL_INVALID', 'invalid label: its name is empty');
}

function refuse(code: string, message: string, hint?: string): never {
  throw new EngineError('InvalidArgument', code, message, { hint });
}

/** A working directory behind a descriptor of the runtime's would lie outside the root (CVE-2024-21626). */
function checkWorkingDirectory(path: string): void {
  if (path === '') return;
  if (!path.startsWith('/')) refuse('WORKDIR_INVALID', `the working directory '${path}' is invalid, it needs to be an absolute path`);
  if (path.includes('\0')) refuse('WORKDIR_INVALID', `the working directory ${JSON.stringify(path)} holds a NUL`);
  if (/^\/proc\/(self|thread-self|\d+)(\/task\/\d+)?\/(fd|cwd|root)(\/|$)/.test(posix.normalize(path)))
    refuse('WORKDIR_INVALID', `the working directory '${path}' is invalid: it would lead out of the container`);
}

function checkNames({ Hostname = '', Domainname = '', MacAddress = '' }: ContainerConfig, host: HostConfig): void {
  if (Buffer.byteLength(Hostname) > hostnameLimitBytes)
    refuse('HOSTNAME_INVALID', `hostname ${JSON.stringify(Hostname)} is too long (maximum ${hostnameLimitBytes} bytes)`);
  const name = /^[a-zA-Z0-9._-]+$/;
  if (Hostname && !name.test(Hostname)) refuse('HOSTNAME_INVALID', `invalid hostname: ${Hostname}`);
  if (Domainname && (!name.test(Domainname) || Domainname.length > 255)) refuse('DOMAINNAME_INVALID', `invalid domainname: ${Domainname}`);
  if (host.UTSMode === 'host' && Domainname) refuse('DOMAINNAME_INVALID', 'conflicting options: domainname and the UTS mode');
  if (MacAddress && !/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(MacAddress)) refuse('MAC_INVALID', `invalid MAC address: ${MacAddress}`);
}

const leastNs = 1_000_000;

function checkHealth(health: Healthcheck): void {
  for (const field of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = health[field] ?? 0;
    if (value !== 0 && value < leastNs) refuse('HEALTHCHECK_INVALID', `${field} in Healthcheck cannot be less than 1ms`);
  }
  if ((health.Retries ?? 0) < 0) refuse('HEALTHCHECK_INVALID', 'Retries in Healthcheck cannot be negative');
  const [kind, ...rest] = health.Test ?? [];
  if (kind === undefined || kind === '' || (kind === 'NONE' && rest.length === 0)) return;
  if (!['CMD', 'CMD-SHELL', 'NONE'].includes(kind))
    refuse('HEALTHCHECK_INVALID', `Unknown type ${JSON.stringify(kind)} in HEALTHCHECK (try CMD)`);
  if (kind === 'NONE' || rest.length === 0)
    refuse('HEALTHCHECK_INVALID', `Healthcheck.Test: ${kind} has ${kind === 'NONE' ? 'an argument' : 'no command'}`);
}
