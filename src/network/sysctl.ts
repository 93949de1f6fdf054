import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isErrno } from '../base/errors.ts';

// /proc/sys/net is kept in memory by the kernel and shows the namespace of the calling thread: these are synchronous, and take microseconds.

/** Undefined where there is no such setting: a kernel without the feature, or a link that went meanwhile. */
export function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/net/${path}`, 'latin1').trim();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV', 'EINVAL')) return undefined;
    throw error;
  }
}

/** False where there is no such setting. */
export function writeSysctl(path: string, value: string): boolean {
  try {
    writeFileSync(`/proc/sys/net/${path}`, value, { flag: 'r+' });
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV')) return false;
    throw error;
  }
}

export function hostHasIpv6(): boolean {
  return existsSync('/proc/sys/net/ipv6/conf/all/disable_ipv6');
}

export function linkExists(name: string): boolean {
  return existsSync(`/sys/class/net/${name}`);
}

export function bridgeExists(name: string): boolean {
  return existsSync(`/sys/class/net/${name}/bridge`);
}

export function linkMtu(name: string): number | undefined {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/mtu`, 'latin1'));
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL')) return undefined;
    throw error;
  }
}

/** True when it was off: this call made the host a router. */
export function enableForwarding(): boolean {
  if (readSysctl('ipv4/ip_forward') === '1') return false;
  return writeSysctl('ipv4/ip_forward', '1');
}

/**
 * As `enableForwarding`, for IPv6. A router does not listen to router advertisements any more unless told to: interfaces that got their
 * address or default route so far by them are told, else the host would lose both.
 */
export function enableIpv6Forwarding(interfaces: readonly string[]): boolean {
  if (readSysctl('ipv6/conf/all/forwarding') === '1') return false;
  for (const name of interfaces) if (readSysctl(`ipv6/conf/${name}/accept_ra`) === '1') writeSysctl(`ipv6/conf/${name}/accept_ra`, '2');
  return writeSysctl('ipv6/conf/all/forwarding', '1');
}
