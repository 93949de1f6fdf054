import type { EndpointRequest } from '../../api-types/container.ts';
import { usageError } from '../flags.ts';
import { cut } from '../parse/key-values.ts';
import { parseLink } from '../parse/limits.ts';
import { splitFields } from '../parse/mounts.ts';
import type { ContainerFlags } from './request.ts';

type PlainFlags = Pick<ContainerFlags, 'network-alias' | 'ip' | 'ip6' | 'mac-address' | 'link' | 'link-local-ip'>;

/**
 * Docker's `--network`, each time one network: a name, or `name=NET,alias=A,ip=IP,…`. The first one is the container's mode; `--ip`, `--network-alias` and their
 * like belong to it.
 */
export function parseNetworks(flags: PlainFlags & Pick<ContainerFlags, 'network'>): {
  mode: string;
  endpoints: Record<string, EndpointRequest>;
} {
  const networks = flags.network.map(parseNetwork);
  const first = networks[0] ?? { name: 'default', endpoint: {} };
  addPlainFlags(first.endpoint, flags, first.name);
  if (networks.length > 1) {
    for (const { name } of networks) {
      if (isSharedMode(name)) throw usageError(`--network ${name} cannot be combined with other networks`);
    }
  }
  const endpoints: Record<string, EndpointRequest> = {};
  for (const { name, endpoint } of networks.length === 0 ? [first] : networks) {
    if (networks.length > 1 && endpoints[name] !== undefined) throw usageError(`--network ${name} is given twice`);
    if (networks.length > 1 || Object.keys(endpoint).length > 0) endpoints[name] = endpoint;
  }
  return { mode: first.name, endpoints };
}

/** Fields of `--network name=…`. */
const fields: Record<string, (endpoint: EndpointRequest, value: string, spec: string) => void> = {
  alias: (endpoint, value) => {
    endpoint.Aliases = [...(endpoint.Aliases ?? []), value];
  },
  ip: (endpoint, value) => address(endpoint, { IPv4Address: value }),
  ip6: (endpoint, value) => address(endpoint, { IPv6Address: value }),
  'link-local-ip': (endpoint, value) => address(endpoint, { LinkLocalIPs: [...(endpoint.IPAMConfig?.LinkLocalIPs ?? []), value] }),
  'mac-address': (endpoint, value) => {
    endpoint.MacAddress = value;
  },
  'driver-opt': (endpoint, value, spec) => {
    const [name, setting] = cut(value);
    if (name === '' || setting === undefined) throw usageError(`invalid network "${spec}": driver-opt must be driver-opt=NAME=VALUE`);
    endpoint.DriverOpts = { ...endpoint.DriverOpts, [name]: setting };
  },
  'gw-priority': (endpoint, value, spec) => {
    endpoint.GwPriority = /^[+-]?\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
    if (Number.isNaN(endpoint.GwPriority)) throw usageError(`invalid network "${spec}": gw-priority must be a whole number`);
  },
};

function address(endpoint: EndpointRequest, part: NonNullable<EndpointRequest['IPAMConfig']>): void {
  endpoint.IPAMConfig = { ...endpoint.IPAMConfig, ...part };
}

function parseNetwork(spec: string): { name: string; endpoint: EndpointRequest } {
  if (!spec.includes('=')) return { name: spec, endpoint: {} };
  const endpoint: EndpointRequest = {};
  let name = '';
  for (const field of splitFields(spec)) {
    const [key, value = ''] = cut(field);
    const set = fields[key.toLowerCase()];
    if (key.toLowerCase() === 'name') name = value;
    else if (set !== undefined) set(endpoint, value, spec);
    else
      throw usageError(
        `invalid network "${spec}": unknown field ${JSON.stringify(key)}`,
        `Fields are name, ${Object.keys(fields).join(', ')}.`,
      );
  }
  if (name === '') throw usageError(`invalid network "${spec}": it has no name`);
  return { name, endpoint };
}

/** Each of these says the same as a field of `--network name=…`, so it may be said in one place only. */
function addPlainFlags(endpoint: EndpointRequest, flags: PlainFlags, mode: string): void {
  const { ip, ip6, 'network-alias': aliases, 'mac-address': mac, 'link-local-ip': linkLocal } = flags;
  if (isSharedMode(mode) && (ip !== undefined || ip6 !== undefined || aliases.length > 0))
    throw usageError(`--ip and --network-alias do not go with --network ${mode}`);
  const twice = (flag: string, given: boolean, before: unknown) => {
    if (given && before !== undefined && before !== null) throw usageError(`--${flag} is given twice: by itself and in --network`);
  };
  twice('network-alias', aliases.length > 0, endpoint.Aliases);
  twice('ip', ip !== undefined, endpoint.IPAMConfig?.IPv4Address);
  twice('ip6', ip6 !== undefined, endpoint.IPAMConfig?.IPv6Address);
  twice('link-local-ip', linkLocal.length > 0, endpoint.IPAMConfig?.LinkLocalIPs);
  twice('mac-address', mac !== undefined, endpoint.MacAddress);
  if (aliases.length > 0) endpoint.Aliases = aliases;
  if (ip !== undefined) address(endpoint, { IPv4Address: ip });
  if (ip6 !== undefined) address(endpoint, { IPv6Address: ip6 });
  if (linkLocal.length > 0) address(endpoint, { LinkLocalIPs: linkLocal });
  if (mac !== undefined) endpoint.MacAddress = mac;
  // On a user-defined network a link is a name that this container has for the other; on the default one it is the container's own.
  if (flags.link.length > 0 && isUserDefined(mode)) endpoint.Links = flags.link.map(parseLink);
}

/** Modes that are no network of the engine's and have no endpoint. */
function isSharedMode(mode: string): boolean {
  return mode === 'host' || mode === 'none' || mode.startsWith('container:');
}

function isUserDefined(mode: string): boolean {
  return !isSharedMode(mode) && mode !== 'default' && mode !== 'bridge' && mode !== '';
}
