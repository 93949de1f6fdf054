import { EngineError } from '../base/errors.ts';

/** An IPv4 address as an unsigned 32-bit number, so that ranges compare and count with plain arithmetic. */
export type Ipv4 = number;

/** A subnet in canonical form: `first` has no host bits. */
export type Subnet = { readonly first: Ipv4; readonly prefixLength: number };

/** Undefined for anything but four decimal numbers 0..255 without leading zeros (which some readers take for octal). */
export function parseIpv4(text: string): Ipv4 | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let value = 0;
  for (const part of match.slice(1)) {
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

export function formatIpv4(address: Ipv4): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/** The number of addresses, network and broadcast address included. */
export function subnetSize(subnet: Subnet): number {
  return 2 ** (32 - subnet.prefixLength);
}

export function lastOf(subnet: Subnet): Ipv4 {
  return subnet.first + subnetSize(subnet) - 1;
}

export function contains(subnet: Subnet, address: Ipv4): boolean {
  return address >= subnet.first && address <= lastOf(subnet);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.first <= lastOf(b) && b.first <= lastOf(a);
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatIpv4(subnet.first)}/${subnet.prefixLength}`;
}

/** The subnet that holds an address. */
export function subnetOf(address: Ipv4, prefixLength: number): Subnet {
  const size = 2 ** (32 - prefixLength);
  return { first: Math.floor(address / size) * size, prefixLength };
}

/** InvalidArgument `SUBNET_INVALID`: not CIDR, host bits set, or too small or large for a bridge (/8 to /30). */
export function parseSubnet(text: string): Subnet {
  const [addressText = '', prefixText = '', ...rest] = text.split('/');
  const address = parseIpv4(addressText);
  if (address === undefined || !/^\d{1,2}$/.test(prefixText) || Number(prefixText) > 32 || rest.length > 0) {
    const hint = addressText.includes(':')
      ? 'IPv6 subnets are not supported yet: leave the IPv6 subnet out.'
      : 'Give it as an address and a prefix length, for example 10.89.0.0/24.';
    throw new EngineError('InvalidArgument', 'SUBNET_INVALID', `invalid subnet ${JSON.stringify(text.slice(0, 100))}`, { hint });
  }
  const prefixLength = Number(prefixText);
  const subnet = subnetOf(address, prefixLength);
  if (subnet.first !== address) {
    throw new EngineError('InvalidArgument', 'SUBNET_INVALID', `invalid subnet ${text}: it should be ${formatSubnet(subnet)}`);
  }
  if (prefixLength < 8 || prefixLength > 30) {
    throw new EngineError('InvalidArgument', 'SUBNET_INVALID', `invalid subnet ${text}: a bridge takes a prefix length from 8 to 30`);
  }
  return subnet;
}

/** Docker's rule: 02:42 and the four bytes of the address. The same address so always answers ARP with the same hardware address. */
export function macFor(address: Ipv4): string {
  return ['02', '42', ...[24, 16, 8, 0].map((shift) => (Math.floor(address / 2 ** shift) % 256).toString(16).padStart(2, '0'))].join(':');
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
