import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { isErrno } from '../base/errors.ts';
import { addressOfBytes, type IpAddress, parseIp, type Subnet, subnetOf } from './ip.ts';

/** An address range that the host already reaches through an interface. */
export type HostRoute = { readonly interfaceName: string; readonly subnet: Subnet };

/**
 * What the host itself uses: routes (default routes left out), interface addresses, and its name servers, which may lie beyond the default
 * route yet must stay reachable.
 */
export async function hostRoutes(): Promise<HostRoute[]> {
  const [routes, routes6, resolvers] = await Promise.all(['/proc/net/route', '/proc/net/ipv6_route', '/etc/resolv.conf'].map(readText));
  return [...parseRoutes(routes ?? ''), ...parseIpv6Routes(routes6 ?? ''), ...interfaceAddresses(), ...nameServers(resolvers ?? '')];
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}

/** Reads /proc/net/route: addresses are hexadecimal in the machine's (little-endian) byte order. */
export function parseRoutes(text: string): HostRoute[] {
  const routes: HostRoute[] = [];
  for (const line of text.split('\n').slice(1)) {
    const [interfaceName, destination, , , , , , mask] = line.trim().split(/\s+/);
    if (interfaceName === undefined || destination === undefined || mask === undefined) continue;
    const prefixLength = prefixOf(swapped(mask));
    if (prefixLength > 0) routes.push({ interfaceName, subnet: subnetOf(swapped(destination), prefixLength) });
  }
  return routes;
}

/** Reads /proc/net/ipv6_route. Link-local and multicast ranges are every interface's own. */
export function parseIpv6Routes(text: string): HostRoute[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [destination = '', prefix = '', interfaceName = ''] = [fields[0], fields[1], fields[9]];
    const prefixLength = Number.parseInt(prefix, 16);
    if (destination.length !== 32 || !(prefixLength > 0) || /^(fe80|ff)/.test(destination) || interfaceName === 'lo') return [];
    return [{ interfaceName, subnet: subnetOf(addressOfBytes(Buffer.from(destination, 'hex')), prefixLength) }];
  });
}

function swapped(hex: string): IpAddress {
  return addressOfBytes(Buffer.from(hex.padStart(8, '0'), 'hex').reverse());
}

function prefixOf({ value }: IpAddress): number {
  return value.toString(2).replaceAll('0', '').length;
}

function interfaceAddresses(): HostRoute[] {
  return Object.entries(networkInterfaces()).flatMap(([interfaceName, addresses = []]) =>
    addresses.flatMap(({ address, cidr }) => {
      const value = parseIp(address);
      const prefixLength = Number(cidr?.split('/')[1]);
      if (value === undefined || !(prefixLength > 0) || address.startsWith('fe80:')) return [];
      return [{ interfaceName, subnet: subnetOf(value, prefixLength) }];
    }),
  );
}

export function nameServers(resolvConf: string): HostRoute[] {
  return [...resolvConf.matchAll(/^\s*nameserver\s+(\S+)/gm)].flatMap((match) => {
    const address = parseIp(match[1] ?? '');
    return address === undefined ? [] : [{ interfaceName: 'resolv.conf', subnet: subnetOf(address, address.family === 4 ? 32 : 128) }];
  });
}

/** The interface of the default route, or undefined on a host without one. */
export async function defaultInterface(): Promise<string | undefined> {
  for (const line of (await readText('/proc/net/route')).split('\n').slice(1)) {
    const [interfaceName, destination, , , , , , mask] = line.trim().split(/\s+/);
    if (destination === '00000000' && mask === '00000000') return interfaceName;
  }
  return undefined;
}
