import { closeSync, openSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { basename, dirname } from 'node:path';
import { O } from './files.ts';
import { check, declare, pinned, SystemCallError } from './libc.ts';

const libcSocket = declare('int socket(int, int, int)');
const libcConnect = declare('int connect(int, uintptr_t, uint)');
const libcBind = declare('int bind(int, uintptr_t, uint)');
const libcListen = declare('int listen(int, int)');
const libcGetsockname = declare('int getsockname(int, uintptr_t, uintptr_t)');
const libcSetsockopt = declare('int setsockopt(int, int, int, uintptr_t, uint)');

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

/** sockaddr_un is the longest of those used here: a family and 108 bytes of path. */
const socketAddress = pinned(128);
const socketLength = pinned(8);

/**
 * Connects to a SOCK_SEQPACKET unix socket, which Node's net cannot. Non-blocking and close-on-exec; wrap it in `new net.Socket({ fd })`
 * (one read is one packet) or close it. Throws SystemCallError. Paths over 107 bytes go through the folder's descriptor.
 */
export function connectSeqpacket(path: string): number {
  const fd = check(libcSocket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', path);
  try {
    withShortPath(path, (short) => {
      socketAddress.buffer.fill(0);
      socketAddress.view.setUint16(0, AF_UNIX, true);
      const length = socketAddress.buffer.write(short, 2);
      check(libcConnect(fd, socketAddress.address, 2 + length + 1), 'connect', path);
    });
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function withShortPath(path: string, use: (path: string) => void): void {
  if (Buffer.byteLength(path) <= 107) {
    use(path);
    return;
  }
  const folder = openSync(dirname(path), O.PATH | O.DIRECTORY | O.CLOEXEC);
  try {
    use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    closeSync(folder);
  }
}

/**
 * Binds and listens on a TCP port, which so is taken for as long as the descriptor (or a copy of it in a child) is open. Port 0 picks one.
 * EADDRINUSE when another has it; EADDRNOTAVAIL for an address that is not this host's. The caller closes `fd`; a child gets it through
 * `stdio` of `spawn`.
 */
export function bindTcp(address: { ip: string; port: number }): { fd: number; port: number } {
  return bindSocket(SOCK_STREAM, address);
}

/** As `bindTcp` for UDP. */
export function bindUdp(address: { ip: string; port: number }): { fd: number; port: number } {
  return bindSocket(SOCK_DGRAM, address);
}

function bindSocket(type: number, { ip, port }: { ip: string; port: number }): { fd: number; port: number } {
  const family = isIPv6(ip) ? AF_INET6 : AF_INET;
  const label = `${ip}:${port}`;
  const fd = check(libcSocket(family, type | SOCK_CLOEXEC, 0), 'socket', label);
  try {
    const SOL_SOCKET = 1;
    const SO_REUSEADDR = 2;
    const IPPROTO_IPV6 = 41;
    const IPV6_V6ONLY = 26;
    // A TCP port with connections in TIME_WAIT is free. For UDP the option would let a second socket share the port.
    if (type === SOCK_STREAM) setOption(fd, SOL_SOCKET, SO_REUSEADDR);
    if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    check(libcBind(fd, socketAddress.address, writeInetAddress(family, ip, port)), 'bind', label);
    if (type === SOCK_STREAM) check(libcListen(fd, 16), 'listen', label);
    socketLength.view.setUint32(0, 128, true);
    check(libcGetsockname(fd, socketAddress.address, socketLength.address), 'getsockname', label);
    return { fd, port: socketAddress.view.getUint16(2, false) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function setOption(fd: number, level: number, option: number): void {
  socketLength.view.setUint32(4, 1, true);
  check(libcSetsockopt(fd, level, option, socketLength.address + 4, 4), 'setsockopt');
}

/** Writes sockaddr_in or sockaddr_in6 and gives its length. */
function writeInetAddress(family: number, ip: string, port: number): number {
  socketAddress.buffer.fill(0);
  socketAddress.view.setUint16(0, family, true);
  socketAddress.view.setUint16(2, port, false);
  if (family === AF_INET) {
    const parts = ip.split('.').map(Number);
    if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255))) throw new SystemCallError('bind', 22, ip);
    for (const [i, part] of parts.entries()) socketAddress.view.setUint8(4 + i, part);
    return 16;
  }
  for (const [i, group] of ipv6Groups(ip).entries()) socketAddress.view.setUint16(8 + i * 2, group, false);
  return 28;
}

/** The eight groups of an IPv6 address that `net.isIPv6` has accepted, a zone left out. */
export function ipv6Groups(ip: string): number[] {
  const text = (ip.split('%')[0] ?? ip).replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    return `${((Number(a) << 8) | Number(b)).toString(16)}:${((Number(c) << 8) | Number(d)).toString(16)}`;
  });
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [front, back] = [groups(head), tail === undefined ? [] : groups(tail)];
  return [...front, ...new Array<number>(Math.max(0, 8 - front.length - back.length)).fill(0), ...back];
}
