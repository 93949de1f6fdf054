import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { EngineError } from '../base/errors.ts';
import { ipv6Groups } from '../kernel/socket.ts';

export type Family = 4 | 6;

/** An address as an unsigned number, so that ranges compare and count with plain arithmetic. */
export type IpAddress = { readonly family: Family; readonly value: bigint };

/** A subnet in canonical form: `first` has no host bits. */
export type Subnet = { readonly family: Family; readonly first: bigint; readonly prefixLength: number };

const widths = { 4: 32, 6: 128 } as const;

/**
 * Undefined for anything but an address in its usual text: IPv4 has four decimal numbers without leading zeros (which some readers take for
 * octal), IPv6 has no zone and is no IPv4 address in disguise.
 */
export function parseIp(text: string): IpAddress | undefined {
  if (text.includes(':')) return parseIpv6(text);
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let value = 0n;
  for (const part of match.slice(1)) {
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    value = value * 256n + BigInt(part);
  }
  return { family: 4, value };
}

function parseIpv6(text: string): IpAddress | undefined {
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const value = ipv6Groups(text).reduce((sum, group) => sum * 0x1_0000n + BigInt(group), 0n);
  const isMapped = value >> 32n === 0xffffn;
  return isMapped ? undefined : { family: 6, value };
}

/** IPv6 as in RFC 5952: lower case, the longest run of zeros (the first of equals) left out. */
export function formatIp({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  let [start, length] = [0, 0];
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === '0') end++;
    if (end - i > length) [start, length] = [i, end - i];
  }
  if (length < 2) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

/** 4 or 16 bytes, as the network has them. */
export function addressBytes({ family, value }: IpAddress): Buffer {
  return Buffer.from(value.toString(16).padStart(widths[family] / 4, '0'), 'hex');
}

export function addressOfBytes(bytes: Buffer): IpAddress {
  return { family: bytes.length === 4 ? 4 : 6, value: BigInt(`0x${bytes.toString('hex')}`) };
}

/** The number of addresses, the first and the last included. */
export function subnetSize({ family, prefixLength }: Subnet): bigint {
  return 1n << BigInt(widths[family] - prefixLength);
}

export function lastOf(subnet: Subnet): bigint {
  return subnet.first + subnetSize(subnet) - 1n;
}

export function contains(subnet: Subnet, { family, value }: IpAddress): boolean {
  return subnet.family === family && value >= subnet.first && value <= lastOf(subnet);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.family === b.family && a.first <= lastOf(b) && b.first <= lastOf(a);
}

export function formatSubnet({ family, first, prefixLength }: Subnet): string {
  return `${formatIp({ family, value: first })}/${prefixLength}`;
}

/** The subnet that holds an address. */
export function subnetOf({ family, value }: IpAddress, prefixLength: number): Subnet {
  const size = 1n << BigInt(widths[family] - prefixLength);
  return { family, first: (value / size) * size, prefixLength };
}

/** The address that is the subnet's first plus `offset`. */
export function hostOf({ family, first }: Subnet, offset: bigint): IpAddress {
  return { family, value: first + offset };
}

/** Addresses that a host can have: all but the network's own and, of IPv4, the broadcast address. */
export function hostsOf(subnet: Subnet): { low: bigint; high: bigint } {
  return { low: subnet.first + 1n, high: subnet.family === 4 ? lastOf(subnet) - 1n : lastOf(subnet) };
}

export function isHostOf(subnet: Subnet, address: IpAddress): boolean {
  const { low, high } = hostsOf(subnet);
  return address.family === subnet.family && address.value >= low && address.value <= high;
}

/** A range as text gives it: any CIDR form without host bits. Undefined when it is none. */
export function parseCidr(text: string): Subnet | undefined {
  const [, addressText = '', prefixText = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const address = parseIp(addressText);
  if (address === undefined || prefixText === '' || Number(prefixText) > widths[address.family]) return undefined;
  const subnet = subnetOf(address, Number(prefixText));
  return subnet.first === address.value ? subnet : undefined;
}

/** Prefix lengths that a container network can have. */
const lengths = { 4: [8, 30], 6: [8, 126] } as const;

/** InvalidArgument `SUBNET_INVALID`: not CIDR, host bits set, or too small or large for a network of containers. */
export function parseSubnet(text: string): Subnet {
  const subnet = parseCidr(text);
  const invalid = (why: string, hint?: string) =>
    new EngineError('InvalidArgument', 'SUBNET_INVALID', `invalid subnet ${JSON.stringify(text.slice(0, 100))}: ${why}`, { hint });
  if (subnet === undefined) {
    const [addressText = '', prefixText = ''] = text.split('/');
    const address = parseIp(addressText);
    if (address === undefined || !/^\d{1,3}$/.test(prefixText) || Number(prefixText) > widths[address.family]) {
      throw invalid('invalid CIDR block', 'Give an address and a prefix length, for example 10.89.0.0/24 or fd00:89::/64.');
    }
    throw invalid(`it should be ${formatSubnet(subnetOf(address, Number(prefixText)))}`);
  }
  const [shortest, longest] = lengths[subnet.family];
  if (subnet.prefixLength < shortest || subnet.prefixLength > longest) {
    throw invalid(`an IPv${subnet.family} network takes a prefix length from ${shortest} to ${longest}`);
  }
  return subnet;
}

/** Docker's rule: 02:42 and the four bytes of the IPv4 address. The same address so always answers ARP with the same hardware address. */
export function macFor({ family, value }: IpAddress): string {
  const tail =
    family === 4 ? addressBytes({ family, value }) : createHash('sha256').update(addressBytes({ family, value })).digest().subarray(0, 4);
  return Buffer.concat([Buffer.from([0x02, 0x42]), tail])
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');
}

/** Lower-cased. InvalidArgument `MAC_INVALID`: malformed, or a group (multicast) address. */
export function parseMac(text: string): string {
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac) && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00') {
    return mac;
  }
  throw new EngineError('InvalidArgument', 'MAC_INVALID', `invalid MAC address ${JSON.stringify(text.slice(0, 60))}`, {
    hint: 'Give six hexadecimal bytes of an individual address, for example 02:42:ac:11:00:02.',
  });
}
