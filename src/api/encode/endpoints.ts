import type { EndpointSettings, NetworkSettings } from '../../api-types/container-inspect.ts';
import type { Endpoint, EndpointConfig } from '../../network/port.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import { portMap } from './ports.ts';

/** Names that stand for no user's own network, and have no names of containers. */
const builtIn = ['bridge', 'host', 'none', 'default'];

/** `shortAliases`: before API 1.45 a container's short id and host name showed among its aliases. */
export function networkSettings(record: ContainerRecord, options: { shortAliases: boolean; sandboxKey: string }): NetworkSettings {
  const networks = endpointSettings(record, options);
  // The flat fields are those of the default bridge only.
  const bridge = networks.bridge;
  const attached = record.endpoints.length > 0;
  return {
    Bridge: '',
    SandboxID: attached ? record.id : '',
    SandboxKey: attached ? options.sandboxKey : '',
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge?.EndpointID ?? '',
    Gateway: bridge?.Gateway ?? '',
    GlobalIPv6Address: bridge?.GlobalIPv6Address ?? '',
    GlobalIPv6PrefixLen: bridge?.GlobalIPv6PrefixLen ?? 0,
    IPAddress: bridge?.IPAddress ?? '',
    IPPrefixLen: bridge?.IPPrefixLen ?? 0,
    IPv6Gateway: bridge?.IPv6Gateway ?? '',
    MacAddress: bridge?.MacAddress ?? '',
    Ports: record.state.status === 'running' ? portMap(record) : {},
    Networks: networks,
  };
}

export function networkMode({ hostConfig }: ContainerRecord): string {
  return hostConfig.NetworkMode === undefined || hostConfig.NetworkMode === '' ? 'default' : hostConfig.NetworkMode;
}

/** By network, in the order of the container's own list. */
export function endpointSettings(record: ContainerRecord, options: { shortAliases: boolean }): Record<string, EndpointSettings> {
  const live = new Map(record.endpoints.map((endpoint) => [endpoint.network, endpoint]));
  const names = new Set([...record.networks.map(({ name }) => name), ...live.keys()]);
  const mode = networkMode(record);
  if (names.size === 0 && (mode === 'host' || mode === 'none')) names.add(mode);
  return Object.fromEntries(
    [...names].map((name) => {
      const asked = record.networks.find((network) => network.name === name);
      return [name, endpoint(record, name, { asked, live: live.get(name), ...options })];
    }),
  );
}

function endpoint(
  record: ContainerRecord,
  name: string,
  { asked, live, shortAliases }: { asked: EndpointConfig | undefined; live: Endpoint | undefined; shortAliases: boolean },
): EndpointSettings {
  const shortId = record.id.slice(0, 12);
  const given = asked?.aliases ?? live?.aliases ?? [];
  const named = !builtIn.includes(name);
  const aliases = shortAliases && named ? [...new Set([...given, shortId, record.config.Hostname || shortId])] : given;
  return {
    IPAMConfig: ipamConfig(asked),
    Links: null,
    Aliases: aliases.length > 0 ? aliases : null,
    MacAddress: live?.macAddress ?? '',
    DriverOpts: asked?.driverOptions ?? null,
    GwPriority: asked?.gatewayPriority ?? 0,
    NetworkID: live?.networkId ?? '',
    EndpointID: live?.endpointId ?? '',
    Gateway: live?.gateway ?? '',
    IPAddress: live?.ipAddress ?? '',
    IPPrefixLen: live?.prefixLength ?? 0,
    IPv6Gateway: live?.ipv6Gateway ?? '',
    GlobalIPv6Address: live?.ipv6Address ?? '',
    GlobalIPv6PrefixLen: live?.ipv6PrefixLength ?? 0,
    DNSNames: named ? [...new Set([record.name, ...given, shortId, ...hostName(record)])] : null,
  };
}

function hostName({ config }: ContainerRecord): string[] {
  return config.Hostname ? [config.Hostname] : [];
}

function ipamConfig(asked: EndpointConfig | undefined): EndpointSettings['IPAMConfig'] {
  if (asked?.ipv4 === undefined && asked?.ipv6 === undefined) return null;
  return {
    ...(asked.ipv4 === undefined ? {} : { IPv4Address: asked.ipv4 }),
    ...(asked.ipv6 === undefined ? {} : { IPv6Address: asked.ipv6 }),
  };
}
