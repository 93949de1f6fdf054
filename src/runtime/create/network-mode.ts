import type { CreateContainerRequest, EndpointRequest, HostConfig } from '../../api-types/container.ts';
import type { EndpointConfig } from '../../network/port.ts';

export type NetworkMode =
  | { kind: 'host' }
  | { kind: 'none' }
  | { kind: 'container'; container: string }
  | { kind: 'network'; name: string };

export function networkMode(host: Pick<HostConfig, 'NetworkMode'>): NetworkMode {
  const mode = host.NetworkMode ?? '';
  if (mode === 'host') return { kind: 'host' };
  if (mode === 'none') return { kind: 'none' };
  if (mode.startsWith('container:')) return { kind: 'container', container: mode.slice('container:'.length) };
  return { kind: 'network', name: mode === '' || mode === 'default' ? 'bridge' : mode };
}

/** The networks that a container joins, the mode's own first. */
export function endpointConfigs(request: CreateContainerRequest): EndpointConfig[] {
  const mode = networkMode(request.HostConfig ?? {});
  if (mode.kind !== 'network' || request.NetworkDisabled) return [];
  const asked = Object.entries(request.NetworkingConfig?.EndpointsConfig ?? {}).map(
    ([name, value]) => [name === 'default' ? 'bridge' : name, value] as const,
  );
  const own = asked.find(([name]) => name === mode.name) ?? ([mode.name, null] as const);
  return [
    endpointConfig(own[0], { MacAddress: request.MacAddress ?? '', ...withoutEmptyMac(own[1]) }),
    ...asked.filter(([name]) => name !== mode.name).map(([name, value]) => endpointConfig(name, value)),
  ];
}

/** Clients send an empty address for none, which must not hide that of the container. */
function withoutEmptyMac(value: EndpointRequest | null): EndpointRequest {
  const { MacAddress, ...rest } = value ?? {};
  return MacAddress ? { ...rest, MacAddress } : rest;
}

/** As the network port has it. Also for a network that is joined later. */
export function endpointConfig(name: string, value: EndpointRequest | null): EndpointConfig {
  const { IPAMConfig, MacAddress, DriverOpts, GwPriority, Links, Aliases } = value ?? {};
  return {
    name,
    aliases: Aliases ?? [],
    ...(IPAMConfig?.IPv4Address ? { ipv4: IPAMConfig.IPv4Address } : {}),
    ...(IPAMConfig?.IPv6Address ? { ipv6: IPAMConfig.IPv6Address } : {}),
    ...(MacAddress ? { macAddress: MacAddress.toLowerCase().replaceAll('-', ':') } : {}),
    ...(DriverOpts && Object.keys(DriverOpts).length > 0 ? { driverOptions: DriverOpts } : {}),
    ...(GwPriority ? { gatewayPriority: GwPriority } : {}),
    ...(Links && Links.length > 0 ? { links: Links } : {}),
  };
}
