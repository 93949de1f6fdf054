import type { CreateContainerRequest, EndpointRequest, HostConfig, Mount } from '../api-types/container.ts';
import { invalid } from './errors.ts';
import { compareVersions } from './version.ts';

/**
 * A create request as the version of the API that it speaks means it: fields that came later are dropped, defaults are those of then, and what was
 * refused then is refused (moby api/server/router/container/container_routes.go). Throws InvalidArgument in Docker's words.
 */
export function adaptCreate(
  given: CreateContainerRequest,
  options: { version: string; cgroupVersion: '1' | '2' },
): { request: CreateContainerRequest; warnings: string[] } {
  const before = (version: string) => compareVersions(options.version, version) < 0;
  const warnings: string[] = [];
  const host = adaptHost({ ...given.HostConfig }, before, options.cgroupVersion);
  const request: CreateContainerRequest = { ...given, HostConfig: host };
  if (given.Healthcheck !== undefined && before('1.44')) request.Healthcheck = omit(given.Healthcheck, 'StartInterval');
  const endpoints = adaptEndpoints(given.NetworkingConfig?.EndpointsConfig ?? {}, host, before);
  if (given.NetworkingConfig !== undefined) request.NetworkingConfig = { EndpointsConfig: endpoints };
  if (!before('1.48') && volumeDriverIsIgnored(host)) warnings.push(volumeDriverWarning);
  const moved = moveMacAddress(request, endpoints, before);
  return { request: moved.request, warnings: [...warnings, ...moved.warnings] };
}

type Before = (version: string) => boolean;

function adaptHost(host: HostConfig, before: Before, cgroupVersion: '1' | '2'): HostConfig {
  if (before('1.25')) delete host.AutoRemove;
  if (before('1.40')) {
    delete host.KernelMemoryTCP;
    host.IpcMode ||= 'shareable';
  }
  if (before('1.41') && cgroupVersion === '1') host.CgroupnsMode ||= 'host';
  if (before('1.42')) delete host.ConsoleSize;
  else delete host.KernelMemory;
  if (before('1.43')) delete host.Annotations;
  // -1 and 0 both mean none.
  if (host.PidsLimit !== undefined && host.PidsLimit !== null && host.PidsLimit <= 0) delete host.PidsLimit;
  if (host.Mounts) host.Mounts = host.Mounts.map((mount) => adaptMount({ ...mount }, before));
  return host;
}

const optionsOf = { VolumeOptions: 'volume', BindOptions: 'bind', TmpfsOptions: 'tmpfs' } as const;

function adaptMount(mount: Mount, before: Before): Mount {
  if (mount.Type === 'image' && before('1.48')) throw invalid('MOUNT_INVALID', 'Mount type "Image" needs API v1.48 or newer');
  for (const [options, type] of Object.entries(optionsOf) as [keyof typeof optionsOf, string][]) {
    if (mount[options] === undefined || mount.Type === type) continue;
    if (!before('1.42')) throw invalid('MOUNT_INVALID', `${options} must not be specified on mount type "${mount.Type}"`);
    delete mount[options];
  }
  if (mount.VolumeOptions?.Subpath && before('1.45')) {
    throw invalid('MOUNT_INVALID', 'VolumeOptions.Subpath needs API v1.45 or newer');
  }
  return mount.Type === 'bind' ? adaptBind(mount, before) : mount;
}

function adaptBind(mount: Mount, before: Before): Mount {
  const bind = { ...mount.BindOptions };
  if (before('1.40')) delete bind.NonRecursive;
  if (before('1.42')) delete bind.CreateMountpoint;
  if (before('1.44')) {
    if (bind.ReadOnlyForceRecursive) throw invalid('MOUNT_INVALID', 'BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer');
    // Read-only mounts were not recursive then.
    if (mount.ReadOnly) bind.ReadOnlyNonRecursive = true;
  }
  if (mount.BindOptions === undefined && Object.keys(bind).length === 0) return mount;
  return { ...mount, BindOptions: bind };
}

type Endpoints = Record<string, EndpointRequest | null>;

function adaptEndpoints(given: Endpoints, host: HostConfig, before: Before): Endpoints {
  const names = Object.keys(given);
  if (before('1.44') && names.length > 1) {
    throw invalid('NETWORKS_INVALID', `Container cannot be created with multiple network endpoints: ${names.join(', ')}`);
  }
  const usesDefault = ['', 'default'].includes(host.NetworkMode ?? '');
  return Object.fromEntries(
    Object.entries(given).map(([name, endpoint]) => {
      const known = before('1.48') && endpoint !== null ? omit(endpoint, 'GwPriority') : endpoint;
      return [usesDefault && name === 'default' ? 'bridge' : name, known];
    }),
  );
}

const volumeDriverWarning =
  "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead";

function volumeDriverIsIgnored({ VolumeDriver, Mounts }: HostConfig): boolean {
  return Boolean(VolumeDriver) && (Mounts ?? []).some((mount) => mount.Type === 'volume' && !mount.VolumeOptions?.DriverConfig?.Name);
}

const macWarning = 'The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.';

/** The container's own MacAddress belongs to its main network since 1.44; an endpoint's did not exist before. */
function moveMacAddress(
  request: CreateContainerRequest,
  endpoints: Endpoints,
  before: Before,
): { request: CreateContainerRequest; warnings: string[] } {
  const { MacAddress: mac, ...rest } = request;
  const mode = mainNetwork(request.HostConfig?.NetworkMode ?? '');
  const withEndpoints = (changed: Endpoints) => ({ ...rest, NetworkingConfig: { EndpointsConfig: changed } });
  if (!mac) {
    if (!before('1.44') || Object.keys(endpoints).length === 0) return { request, warnings: [] };
    const cleared = Object.entries(endpoints).map(([name, endpoint]) => [name, endpoint && omit(endpoint, 'MacAddress')] as const);
    return { request: withEndpoints(Object.fromEntries(cleared)), warnings: [] };
  }
  if (mode === undefined) {
    if (before('1.44')) throw invalid('MAC_INVALID', 'conflicting options: mac-address and the network mode');
    return { request: rest, warnings: [macWarning] };
  }
  const name = endpointName(endpoints, mode, before);
  const own = endpoints[name]?.MacAddress;
  if (before('1.44') || !own || own === mac) {
    const changed = { ...endpoints, [name]: { ...endpoints[name], MacAddress: mac } };
    return { request: withEndpoints(changed), warnings: before('1.44') ? [] : [macWarning] };
  }
  throw invalid(
    'MAC_INVALID',
    'the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty',
  );
}

/** The network whose address a container-wide setting means; undefined for modes that have none of their own. */
function mainNetwork(mode: string): string | undefined {
  if (mode === 'host' || mode === 'none' || mode.startsWith('container:')) return undefined;
  return mode === '' || mode === 'default' ? 'bridge' : mode;
}

function endpointName(endpoints: Endpoints, mode: string, before: Before): string {
  const names = Object.keys(endpoints);
  if (names.length === 0 || names.includes(mode)) return mode;
  // There was at most one, and it was the one that was meant, whatever it was called.
  if (before('1.44')) return names[0] ?? mode;
  throw invalid(
    'MAC_INVALID',
    'unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks',
  );
}

function omit<T extends object, K extends keyof T>(value: T, key: K): Omit<T, K> {
  const { [key]: _, ...rest } = value;
  return rest;
}
