import { EngineError } from '../base/errors.ts';
import type { Attachments } from './attachments.ts';
import { type AddressRange, type Definition, rangeOf } from './definitions.ts';
import { contains, type Family, formatIp, formatSubnet, hostsOf, type IpAddress, isHostOf, lastOf, parseIp } from './ip.ts';

/**
 * Gives out the addresses of networks. Which are in use is derived from the attachments, never counted on its own: there is no second list
 * to disagree. An address is taken by the attachment that names it, in the same turn of the event loop.
 */
export class Addresses {
  private readonly attachments: Attachments;
  /** By network id and family: where the search goes on. Addresses come back late, when peers' neighbour entries have aged. */
  private readonly next = new Map<string, bigint>();

  constructor(attachments: Attachments) {
    this.attachments = attachments;
  }

  /**
   * A free address of the network, or the wanted one; undefined where the network has no subnet of the family. InvalidArgument
   * `ADDRESS_INVALID`; Denied `ADDRESS_IN_USE`; Unavailable `NO_FREE_ADDRESS`.
   */
  allocate(definition: Definition, family: Family, wanted: string | undefined): IpAddress | undefined {
    const range = rangeOf(definition, family);
    if (range === undefined) {
      if (!wanted) return undefined;
      throw invalid(`no configured subnet or ip-range contain the IP address ${wanted}`, definition);
    }
    const used = this.used(definition, family);
    if (wanted) return checkWanted(wanted, definition, range, used);
    return this.search(definition, range, used);
  }

  private used(definition: Definition, family: Family): Map<bigint, string> {
    const used = new Map<bigint, string>();
    for (const { containerName, endpoints } of this.attachments.all()) {
      for (const endpoint of endpoints) {
        if (endpoint.networkId !== definition.id) continue;
        const address = parseIp(family === 4 ? endpoint.ipAddress : endpoint.ipv6Address);
        if (address !== undefined) used.set(address.value, containerName);
      }
    }
    return used;
  }

  private search(definition: Definition, { subnet, range, gateway, aux }: AddressRange, used: ReadonlyMap<bigint, string>): IpAddress {
    const { family } = subnet;
    const hosts = hostsOf(subnet);
    const low = larger(range.first, hosts.low);
    const high = -larger(-lastOf(range), -hosts.high);
    const size = high - low + 1n;
    const key = `${definition.id}/${family}`;
    const highest = [...used.keys()].reduce((most, value) => (value > most && value <= high ? value : most), low - 1n);
    const start = this.next.get(key) ?? highest + 1n;
    const taken = new Set([...used.keys(), ...aux.map(({ value }) => value), ...(gateway === undefined ? [] : [gateway.value])]);
    // Among one more than are taken, one is free.
    for (let i = 0n; i < size && i <= BigInt(taken.size); i++) {
      const value = low + ((((start - low + i) % size) + size) % size);
      if (taken.has(value)) continue;
      this.next.set(key, value + 1n);
      return { family, value };
    }
    const message = `no available IPv${family} addresses on this network's address pools: ${definition.name} (${definition.id})`;
    throw new EngineError('Unavailable', 'NO_FREE_ADDRESS', message, {
      hint: `Every address of ${formatSubnet(range)} is in use: remove containers, or make a network with a larger subnet.`,
    });
  }
}

function checkWanted(
  wanted: string,
  definition: Definition,
  { subnet, gateway }: AddressRange,
  used: ReadonlyMap<bigint, string>,
): IpAddress {
  const address = parseIp(wanted);
  if (address === undefined) throw invalid(`invalid IP address ${JSON.stringify(wanted.slice(0, 60))}`, definition);
  if (!contains(subnet, address)) throw invalid(`no configured subnet or ip-range contain the IP address ${wanted}`, definition);
  if (!isHostOf(subnet, address))
    throw invalid(`invalid IP address ${wanted}: it is the first or last of ${formatSubnet(subnet)}`, definition);
  if (definition.name === 'bridge') {
    const message = 'user specified IP address is supported on user defined networks only';
    throw new EngineError('InvalidArgument', 'ADDRESS_INVALID', message, {
      hint: 'Create one: slipway network create --subnet 10.89.0.0/24 NAME, then run with --network NAME --ip ADDRESS.',
    });
  }
  const holder = gateway?.value === address.value ? 'the gateway' : used.get(address.value);
  if (holder !== undefined) {
    const message = `Address already in use: ${formatIp(address)} on network ${definition.name} is ${holder === 'the gateway' ? 'the gateway' : `${holder}'s`}`;
    throw new EngineError('Denied', 'ADDRESS_IN_USE', message);
  }
  return address;
}

function invalid(message: string, { name, subnets }: Definition): EngineError {
  return new EngineError('InvalidArgument', 'ADDRESS_INVALID', message, {
    hint: `Network ${name} has ${subnets.map(({ subnet }) => subnet).join(' and ') || 'no subnet'}.`,
  });
}

/** Math.max takes no bigints. */
function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
