import { readdirSync, readlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { errnoOf } from '../../base/errors.ts';
import { addressOfBytes, formatIp, type IpAddress } from '../ip.ts';

type Protocol = 'tcp' | 'udp';

/** Looking at every descriptor of every process is not worth more than this, for one word in an error message. */
const searchLimitMs = 250;

/**
 * Who has a port: `nginx (pid 812)`. Undefined when nobody shows: the socket is another network namespace's or another user's, or the
 * host has so many processes that looking through them all would take long.
 */
export async function holderOf(ip: string, port: number, protocol: Protocol): Promise<string | undefined> {
  const inodes = new Set((await socketTables(protocol)).flatMap((table) => socketInodes(table, ip, port, protocol)));
  const [holder] = (await findHolders(inodes, { limitMs: searchLimitMs, first: true })).values();
  if (holder === undefined) return undefined;
  return `${(await readText(`/proc/${holder.pid}/comm`)).trim() || 'a process'} (pid ${holder.pid})`;
}

/** The tables of IPv4 and IPv6. */
export function socketTables(protocol: Protocol): Promise<string[]> {
  return Promise.all([`/proc/net/${protocol}`, `/proc/net/${protocol}6`].map(readText));
}

/** Inodes of the sockets in a /proc/net/{tcp,udp}[6] table that keep `ip:port` from being bound. */
export function socketInodes(table: string, ip: string, port: number, protocol: Protocol): string[] {
  const listening = '0A';
  const any = (address: string) => ['0.0.0.0', '::'].includes(address);
  return table
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, local = '', , state, , , , , , inode = '0'] = line.trim().split(/\s+/);
      const [hex = '', portHex = ''] = local.split(':');
      if (Number.parseInt(portHex, 16) !== port || (protocol === 'tcp' && state !== listening) || inode === '0') return [];
      const address = formatIp(addressOfHex(hex));
      return any(address) || any(ip) || address === ip ? [inode] : [];
    });
}

/** Addresses are words in the machine's (little-endian) byte order; IPv4 in IPv6 has its address in the last word. */
function addressOfHex(hex: string): IpAddress {
  const words = (hex.match(/.{8}/g) ?? []).map((word) => Buffer.from(word, 'hex').reverse());
  const bytes = Buffer.concat(words);
  const isMapped = bytes.length === 16 && bytes.subarray(0, 12).toString('hex') === '00000000000000000000ffff';
  return addressOfBytes(isMapped ? bytes.subarray(12) : bytes);
}

/** Which processes have these sockets open, by inode: all of them, or the first found. */
export async function findHolders(
  inodes: ReadonlySet<string>,
  { limitMs, first }: { limitMs: number; first: boolean },
): Promise<Map<string, { pid: number; fd: number }>> {
  const found = new Map<string, { pid: number; fd: number }>();
  const deadline = Date.now() + limitMs;
  if (inodes.size === 0) return found;
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    if (Date.now() > deadline || found.size === inodes.size || (first && found.size > 0)) break;
    for (const [inode, fd] of socketsOf(pid)) if (inodes.has(inode)) found.set(inode, { pid: Number(pid), fd });
    await setImmediate();
  }
  return found;
}

/** Synchronous: a link is read in 3 us so, and thousands of them are read. A few milliseconds at most. */
function socketsOf(pid: string): [inode: string, fd: number][] {
  const links = attempt(() => readdirSync(`/proc/${pid}/fd`), []).slice(0, 1000);
  return links.flatMap((fd): [string, number][] => {
    const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '');
    return target.startsWith('socket:[') ? [[target.slice(8, -1), Number(fd)]] : [];
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
