import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { isErrno } from '../base/errors.ts';
import { type Ipv4, parseIpv4, type Subnet, subnetOf } from './ipv4.ts';

/** An address range that the host already reaches through an interface. */
export type HostRoute = { readonly interfaceName: string; readonly subnet: Subnet };

/**
 * What the host itself uses: routes (the default route left out), interface addresses, and its name servers, which may lie beyond the
 * default route yet must stay reachable.
 */
export async function hostRoutes(): Promise<HostRoute[]> {
  const [routes, resolvers] = await Promise.all([readText('/proc/net/route'), readText('/etc/resolv.conf')]);
  return [...parseRoutes(routes), ...interfaceAddresses(), ...nameServers(resolvers)];
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

function swapped(hex: string): Ipv4 {
  return Buffer.from(hex.padStart(8, '0'), 'hex').readUInt32LE();
}

function prefixOf(mask: Ipv4): number {
  return mask.toString(2).replaceAll('0', '').length;
}

function interfaceAddresses(): HostRoute[] {
  return Object.entries(networkInterfaces()).flatMap(([interfaceName, addresses = []]) =>
    addresses.flatMap(({ family, address, netmask }) => {
      const [value, mask] = [parseIpv4(address), parseIpv4(netmask)];
      if (family !== 'IPv4' || value === undefined || mask === undefined) return [];
      return [{ interfaceName, subnet: subnetOf(value, prefixOf(mask)) }];
    }),
  );
}

export function nameServers(resolvConf: string): HostRoute[] {
  return [...resolvConf.matchAll(/^\s*nameserver\s+(\S+)/gm)].flatMap((match) => {
    const address = parseIpv4(match[1] ?? '');
    return address === undefined ? [] : [{ interfaceName: 'resolv.conf', subnet: subnetOf(address, 32) }];
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
