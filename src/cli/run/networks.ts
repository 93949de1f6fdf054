import type { NetworkingConfig } from '../../api-types/container.ts';
import { usageError } from '../flags.ts';
import { splitFields } from '../parse/mounts.ts';
import type { ContainerFlags } from './request.ts';

type Endpoints = NonNullable<NetworkingConfig['EndpointsConfig']>;
type Endpoint = { Aliases?: string[]; IPAMConfig?: { IPv4Address: string }; MacAddress?: string };

/**
 * Docker's `--network`, each time one network: a name, or `name=NET,alias=A,ip=IP,mac-address=MAC`. The first one is the container's mode; `--ip`, `--network-alias` and
 * `--mac-address` belong to it.
 */
export function parseNetworks(flags: Pick<ContainerFlags, 'network' | 'network-alias' | 'ip' | 'mac-address'>): {
  mode: string;
  endpoints: Endpoints;
} {
  const networks = flags.network.map(parseNetwork);
  const first = networks[0] ?? { name: 'default', endpoint: {} };
  const mode = first.name;
  addPlainFlags(first.endpoint, flags, mode);
  if (networks.length > 1) {
    for (const { name } of networks) {
      if (isSharedMode(name)) throw usageError(`--network ${name} cannot be combined with other networks`);
    }
  }
  const endpoints: Endpoints = {};
  for (const { name, endpoint } of networks.length === 0 ? [first] : networks) {
    if (networks.length > 1 && endpoints[name] !== undefined) throw usageError(`--network ${name} is given twice`);
    if (networks.length > 1 || Object.keys(endpoint).length > 0) endpoints[name] = endpoint;
  }
  return { mode, endpoints };
}

function parseNetwork(spec: string): { name: string; endpoint: Endpoint } {
  if (!spec.includes('=')) return { name: spec, endpoint: {} };
  const endpoint: Endpoint = {};
  let name = '';
  for (const field of splitFields(spec)) {
    const [key, value] = [field.slice(0, field.indexOf('=')), field.slice(field.indexOf('=') + 1)];
    if (key === 'name') name = value;
    else if (key === 'alias') endpoint.Aliases = [...(endpoint.Aliases ?? []), value];
    else if (key === 'ip') endpoint.IPAMConfig = { IPv4Address: value };
    else if (key === 'mac-address') endpoint.MacAddress = value;
    else throw usageError(`invalid network "${spec}": unknown field ${JSON.stringify(key)}`, 'Fields are name, alias, ip and mac-address.');
  }
  if (name === '') throw usageError(`invalid network "${spec}": it has no name`);
  return { name, endpoint };
}

function addPlainFlags(endpoint: Endpoint, flags: Pick<ContainerFlags, 'network-alias' | 'ip' | 'mac-address'>, mode: string): void {
  const { ip, 'network-alias': aliases, 'mac-address': mac } = flags;
  if (isSharedMode(mode) && (ip !== undefined || aliases.length > 0))
    throw usageError(`--ip and --network-alias do not go with --network ${mode}`);
  if (aliases.length > 0) endpoint.Aliases = [...(endpoint.Aliases ?? []), ...aliases];
  if (ip !== undefined) endpoint.IPAMConfig = { IPv4Address: ip };
  if (mac !== undefined) endpoint.MacAddress = mac;
}

/** Modes that are no network of the engine's and have no endpoint. */
function isSharedMode(mode: string): boolean {
  return mode === 'host' || mode === 'none' || mode.startsWith('container:');
}
