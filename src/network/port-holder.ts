import { readdirSync, readlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { errnoOf } from '../base/errors.ts';
import { formatIpv4 } from './ipv4.ts';

/** Looking at every descriptor of every process is not worth more than this, for one word in an error message. */
const searchLimitMs = 250;

/**
 * Who has a port: `nginx (pid 812)`. Undefined when nobody shows: the socket is another network namespace's or another user's, or the
 * host has so many processes that looking through them all would take long.
 */
export async function holderOf(ip: string, port: number, protocol: 'tcp' | 'udp'): Promise<string | undefined> {
  const tables = await Promise.all([`/proc/net/${protocol}`, `/proc/net/${protocol}6`].map(readText));
  const inodes = new Set(tables.flatMap((table) => socketInodes(table, ip, port, protocol)));
  return inodes.size === 0 ? undefined : findProcess(inodes);
}

/** Inodes of the sockets in a /proc/net/{tcp,udp}[6] table that keep `ip:port` from being bound. */
export function socketInodes(table: string, ip: string, port: number, protocol: 'tcp' | 'udp'): string[] {
  const listening = '0A';
  return table
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, local = '', , state, , , , , , inode = '0'] = line.trim().split(/\s+/);
      const [address = '', portHex = ''] = local.split(':');
      if (Number.parseInt(portHex, 16) !== port || (protocol === 'tcp' && state !== listening) || inode === '0') return [];
      const any = /^0+$/.test(address) || ip === '0.0.0.0';
      return any || ipv4OfHex(address) === ip ? [inode] : [];
    });
}

/** Addresses are in the machine's byte order; IPv4 in IPv6 has them in the last word. */
function ipv4OfHex(hex: string): string {
  return formatIpv4(Buffer.from(hex.slice(-8), 'hex').readUInt32LE());
}

async function findProcess(inodes: ReadonlySet<string>): Promise<string | undefined> {
  const deadline = Date.now() + searchLimitMs;
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    if (Date.now() > deadline) return undefined;
    if (holds(pid, inodes)) return `${(await readText(`/proc/${pid}/comm`)).trim() || 'a process'} (pid ${pid})`;
    await setImmediate();
  }
  return undefined;
}

/** Synchronous: a link is read in 3 us so, and thousands of them are read. A few milliseconds at most. */
function holds(pid: string, inodes: ReadonlySet<string>): boolean {
  const links = attempt(() => readdirSync(`/proc/${pid}/fd`), []).slice(0, 1000);
  return links.some((fd) => {
    const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '');
    return target.startsWith('socket:[') && inodes.has(target.slice(8, -1));
  });
}

function attempt<T>(look: () => T, instead: T): T {
  try {
    return look();
  } catch (error) {
    return gone(instead)(error);
  }
}

function readText(path: string): Promise<string> {
  return readFile(path, 'latin1').catch(gone(''));
}

/** Processes end while they are looked at, and some may not be looked at. */
function gone<T>(instead: T): (error: unknown) => T {
  return (error) => {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return instead;
    throw error;
  };
}
