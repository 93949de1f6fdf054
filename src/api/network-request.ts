import type { EndpointRequest } from '../api-types/container.ts';
import type { NetworkCreateRequest } from '../api-types/network.ts';
import { EngineError } from '../base/errors.ts';
import type { EndpointConfig, Networks } from '../network/port.ts';
import { unknownFields } from './decode.ts';
import { invalid } from './errors.ts';
import { networkFields } from './schemas/resources.ts';

/** Networks that every engine has and nobody removes. */
export const predefined = ['bridge', 'host', 'none'];

type Speaks = (version: string) => boolean;
type CreateOptions = Parameters<Networks['create']>[0];

/** What a body of POST /networks/create asks of the engine. Throws for what needs a swarm or cannot be had; values are the network's to judge. */
export function networkOptions(body: NetworkCreateRequest, raw: unknown, speaks: Speaks): { options: CreateOptions; warnings: string[] } {
  refuseUnknowns(body);
  if (body.EnableIPv4 === false && speaks('1.48')) throw unhonoured('EnableIPv4', 'networks without IPv4 are not supported');
  const subnets = (body.IPAM?.Config ?? []).map((config) => ({
    ...(config.Subnet ? { subnet: config.Subnet } : {}),
    ...(config.Gateway ? { gateway: config.Gateway } : {}),
    ...(config.IPRange ? { range: config.IPRange } : {}),
    ...(config.AuxiliaryAddresses ? { aux: config.AuxiliaryAddresses } : {}),
  }));
  const options: CreateOptions = {
    name: body.Name,
    ...(body.Driver ? { driver: body.Driver } : {}),
    ...(subnets.length > 0 ? { subnets } : {}),
    ...(typeof body.EnableIPv6 === 'boolean' ? { ipv6: body.EnableIPv6 } : {}),
    ...(body.Internal === undefined ? {} : { internal: body.Internal }),
    ...(body.Labels ? { labels: body.Labels } : {}),
    ...(body.Options ? { options: body.Options } : {}),
  };
  const ignored = unknownFields(raw, networkFields).map((name) => `${name} is not a known field and has no effect`);
  return { options, warnings: ignored };
}

const notAManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

function refuseUnknowns(body: NetworkCreateRequest): void {
  if (body.Name === '') throw invalid('NETWORK_NAME_INVALID', 'invalid name: name is empty');
  if (predefined.includes(body.Name)) {
    throw new EngineError('Denied', 'NETWORK_PREDEFINED', `operation is not permitted on predefined ${body.Name} network`);
  }
  if (body.Driver === 'overlay' || body.Scope === 'swarm' || body.Ingress) {
    throw new EngineError('Denied', 'NOT_A_SWARM_MANAGER', notAManager);
  }
  if (body.Scope && body.Scope !== 'local') throw invalid('FIELD_INVALID', `Scope is "${body.Scope.slice(0, 100)}"; expected local`);
  if (body.ConfigOnly) throw unhonoured('ConfigOnly', 'networks that are only a configuration are not supported');
  if (body.ConfigFrom?.Network) throw unhonoured('ConfigFrom', 'networks that are only a configuration are not supported');
  const ipam = body.IPAM?.Driver || 'default';
  if (ipam !== 'default') {
    throw invalid('IPAM_DRIVER_UNKNOWN', `could not resolve IPAM driver "${ipam.slice(0, 100)}" in IPAM.Driver: expected default`);
  }
  const [option] = Object.keys(body.IPAM?.Options ?? {});
  if (option !== undefined) throw unhonoured(`IPAM.Options.${option.slice(0, 100)}`, 'the built-in address management has no options');
}

function unhonoured(field: string, why: string): EngineError {
  return invalid('FIELD_UNSUPPORTED', `${field} is not supported: ${why}`);
}

/** What a container asks of a network that it joins. */
export function endpointConfig(name: string, given: EndpointRequest, speaks: Speaks): EndpointConfig {
  const { IPAMConfig: ipam, MacAddress: mac } = given;
  if ((ipam?.LinkLocalIPs ?? []).length > 0) throw unhonoured('EndpointConfig.IPAMConfig.LinkLocalIPs', 'give none');
  if ((given.Links ?? []).length > 0) throw unhonoured('EndpointConfig.Links', 'containers on a network find each other by name and alias');
  return {
    name,
    aliases: given.Aliases ?? [],
    ...(ipam?.IPv4Address ? { ipv4: ipam.IPv4Address } : {}),
    ...(ipam?.IPv6Address ? { ipv6: ipam.IPv6Address } : {}),
    ...(mac && speaks('1.44') ? { macAddress: mac } : {}),
    ...(given.DriverOpts ? { driverOptions: given.DriverOpts } : {}),
    ...(given.GwPriority !== undefined && speaks('1.48') ? { gatewayPriority: given.GwPriority } : {}),
  };
}
