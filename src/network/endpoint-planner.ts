import { randomBytes } from 'node:crypto';
import { EngineError } from '../base/errors.ts';
import type { Addresses } from './addresses.ts';
import type { AttachedEndpoint, Attachments } from './attachments.ts';
import { parseBridgeOptions } from './bridge-options.ts';
import { type Definition, rangeOf } from './definitions.ts';
import { checkEndpointOptions } from './drivers/interfaces.ts';
import type { NetworkDriver } from './drivers/port.ts';
import { type Family, formatIp, macFor, parseIp, parseMac } from './ip.ts';
import type { EndpointConfig } from './port.ts';

type Options = {
  attachments: Attachments;
  addresses: Addresses;
  driverOf: (definition: Definition) => NetworkDriver;
  hasDns: (definition: Definition) => boolean;
};

/** Decides what an endpoint is to be: its addresses, names and interface. In one turn of the event loop, so that nobody else gets the same. */
export class EndpointPlanner {
  private readonly options: Options;

  constructor(options: Options) {
    this.options = options;
  }

  /** The endpoint as it is to become, its addresses chosen. */
  plan(containerId: string, definition: Definition, config: EndpointConfig, others: readonly AttachedEndpoint[]): AttachedEndpoint {
    const { addresses, hasDns, driverOf } = this.options;
    const byEngine = driverOf(definition).addressing === 'engine';
    const named = checkEndpointOptions(config.driverOptions ?? {});
    const dns = hasDns(definition);
    const ipv4 = byEngine ? addresses.allocate(definition, 4, config.ipv4) : parseIp(config.ipv4 ?? '');
    const ipv6 = byEngine ? addresses.allocate(definition, 6, config.ipv6) : parseIp(config.ipv6 ?? '');
    const address = ipv4 ?? ipv6;
    const gateway = (family: Family) => {
      const found = definition.internal ? undefined : rangeOf(definition, family)?.gateway;
      return found === undefined ? '' : formatIp(found);
    };
    const derivedMac = byEngine && address !== undefined ? macFor(address) : '';
    const servers = definition.subnets.map(({ gateway }) => gateway).filter((server) => server !== '');
    return {
      network: definition.name,
      networkId: definition.id,
      endpointId: this.newEndpointId(),
      ipAddress: ipv4 === undefined ? '' : formatIp(ipv4),
      prefixLength: rangeOf(definition, 4)?.subnet.prefixLength ?? 0,
      gateway: gateway(4),
      ipv6Address: ipv6 === undefined ? '' : formatIp(ipv6),
      ipv6PrefixLength: rangeOf(definition, 6)?.subnet.prefixLength ?? 0,
      ipv6Gateway: gateway(6),
      macAddress: config.macAddress ? parseMac(config.macAddress) : derivedMac,
      interface: named ?? freeInterface(definition, others),
      aliases: [...new Set([...(config.aliases ?? []).map(checkAlias), ...(dns ? [containerId.slice(0, 12)] : [])])],
      dnsServers: dns ? servers.slice(0, 1) : [],
      gatewayPriority: config.gatewayPriority ?? 0,
      ...(config.driverOptions === undefined ? {} : { driverOptions: config.driverOptions }),
    };
  }

  /** Its first five digits name a link on the host: no two endpoints share them. */
  private newEndpointId(): string {
    const taken = new Set(
      this.options.attachments.all().flatMap(({ endpoints }) => endpoints.map(({ endpointId }) => endpointId.slice(0, 5))),
    );
    for (;;) {
      const id = randomBytes(32).toString('hex');
      if (!taken.has(id.slice(0, 5))) return id;
    }
  }
}

/** host and none: nothing is joined. */
export function standsAlone({ driver }: Definition): boolean {
  return driver === 'host' || driver === 'null';
}

function freeInterface(definition: Definition, others: readonly AttachedEndpoint[]): string {
  const prefix = definition.driver === 'bridge' ? parseBridgeOptions(definition.options).interfacePrefix : 'eth';
  const taken = new Set(others.map((endpoint) => endpoint.interface));
  let number = 0;
  while (taken.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}

/** It stands in a line of aardvark-dns's files. */
function checkAlias(alias: string): string {
  if (/^[^\s,]{1,255}$/u.test(alias)) return alias;
  throw new EngineError('InvalidArgument', 'ALIAS_INVALID', `invalid network alias ${JSON.stringify(alias.slice(0, 60))}`, {
    hint: 'Aliases are host names: no spaces, no commas.',
  });
}

/** On host and none. */
export function emptyEndpoint({ name, id }: Definition): AttachedEndpoint {
  return {
    network: name,
    networkId: id,
    endpointId: randomBytes(32).toString('hex'),
    ipAddress: '',
    prefixLength: 0,
    gateway: '',
    ipv6Address: '',
    ipv6PrefixLength: 0,
    ipv6Gateway: '',
    macAddress: '',
    interface: '',
    aliases: [],
    dnsServers: [],
    gatewayPriority: 0,
  };
}
