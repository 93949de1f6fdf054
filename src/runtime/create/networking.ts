import { isIPv4, isIPv6 } from 'node:net';
import type { CreateContainerRequest, EndpointRequest, HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import type { ContainerRecord } from '../port.ts';
import { parseExtraHost } from '../spec/etc-files.ts';
import { checkLinks, parseLink } from './links.ts';
import { networkMode } from './network-mode.ts';
import { portBindings } from './ports.ts';

function refuse(message: string, hint?: string): never {
  throw new EngineError('InvalidArgument', 'NETWORKING_INVALID', message, { hint });
}

/** Docker's checks of what has to do with networks; links name containers that are there. Answers warnings. InvalidArgument in Docker's words. */
export function checkNetworking(request: CreateContainerRequest, host: HostConfig, find: (name: string) => ContainerRecord): string[] {
  const mode = networkMode(host);
  if (mode.kind === 'container' || host.NetworkMode === 'container') checkSharedNetwork(request, host);
  if (host.UTSMode === 'host' && request.Hostname) refuse('conflicting options: hostname and the UTS mode');
  if (mode.kind === 'host' && (host.Links ?? []).length > 0)
    refuse("conflicting options: host type networking can't be used with links. This would result in undefined behavior");
  if (mode.kind === 'container') find(mode.container);
  for (const entry of host.ExtraHosts ?? []) parseExtraHost(entry);
  checkDns(host);
  for (const [name, endpoint] of Object.entries(request.NetworkingConfig?.EndpointsConfig ?? {})) checkEndpoint(name, endpoint);
  portBindings(host, {});
  const mac = request.MacAddress && mode.kind !== 'network' ? [`MacAddress has no effect with --network ${host.NetworkMode}`] : [];
  const endpoints = Object.keys(request.NetworkingConfig?.EndpointsConfig ?? {}).filter((name) => name !== host.NetworkMode);
  const unused = mode.kind !== 'network' && endpoints.length > 0;
  if (unused && mode.kind !== 'none')
    refuse(`container cannot be connected to network ${endpoints[0]} with network mode ${host.NetworkMode}`);
  return [
    ...(mode.kind === 'host' && Object.keys(host.PortBindings ?? {}).length > 0
      ? ['Published ports are discarded when using host network mode']
      : []),
    ...mac,
    ...checkLinks(host, find),
  ];
}

/** Whose network it is says what is true of it. */
function checkSharedNetwork(request: CreateContainerRequest, host: HostConfig): void {
  const and = (what: string) => `conflicting options: ${what}`;
  if (networkMode(host).kind !== 'container' || host.NetworkMode === 'container:')
    refuse('invalid network mode: invalid container format container:<name|id>');
  if (request.Hostname) refuse(and('hostname and the network mode'));
  if ((host.Links ?? []).length > 0)
    refuse(and("container type network can't be used with links. This would result in undefined behavior"));
  if ((host.Dns ?? []).length > 0) refuse(and('dns and the network mode'));
  if ((host.ExtraHosts ?? []).length > 0) refuse(and('custom host-to-IP mapping and the network mode'));
  if (request.MacAddress) refuse(and('mac-address and the network mode'));
  if (Object.keys(host.PortBindings ?? {}).length > 0 || host.PublishAllPorts)
    refuse(and('port publishing and the container type network mode'));
  if (Object.keys(request.ExposedPorts ?? {}).length > 0) refuse(and('port exposing and the container type network mode'));
}

function checkDns(host: HostConfig): void {
  for (const server of host.Dns ?? [])
    if (!isIPv4(server) && !isIPv6(server.replace(/%.*$/, '')))
      refuse(`bad parameter: invalid DNS server address: ${JSON.stringify(server)}`);
  for (const word of [...(host.DnsSearch ?? []), ...(host.DnsOptions ?? [])])
    if (word === '' || /\s/.test(word)) refuse(`${JSON.stringify(word)} is not a valid domain or option of resolv.conf`);
}

function checkEndpoint(name: string, endpoint: EndpointRequest | null): void {
  const { IPAMConfig, MacAddress, Aliases, Links } = endpoint ?? {};
  const wrong = (why: string) => refuse(`invalid config for network ${name}: invalid endpoint settings:\n${why}`);
  const { IPv4Address = '', IPv6Address = '', LinkLocalIPs } = IPAMConfig ?? {};
  if (['default', 'bridge', 'host', 'none'].includes(name)) {
    if (IPv4Address || IPv6Address) wrong('user-specified IP address is supported on user-defined networks only');
    if ((Aliases ?? []).length > 0) wrong('network-scoped aliases are only supported for user-defined networks');
  }
  if (IPv4Address && (!isIPv4(IPv4Address) || IPv4Address === '0.0.0.0')) wrong(`invalid IPv4 address: ${IPv4Address}`);
  if (IPv6Address && (!isIPv6(IPv6Address) || IPv6Address === '::')) wrong(`invalid IPv6 address: ${IPv6Address}`);
  if ((LinkLocalIPs ?? []).length > 0) wrong('link-local addresses cannot be chosen: LinkLocalIPs is not supported');
  if (MacAddress && !/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(MacAddress)) wrong(`invalid MAC address: ${MacAddress}`);
  for (const alias of Aliases ?? []) if (alias === '' || /[\s\0]/.test(alias)) wrong(`invalid alias: ${JSON.stringify(alias)}`);
  for (const link of Links ?? []) parseLink(link);
}
