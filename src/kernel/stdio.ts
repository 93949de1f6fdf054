import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { check, declare, pinned } from './libc.ts';

const libcPipe2 = declare('int pipe2(uintptr_t, int)');
const libcIoctl = declare('int ioctl(int, uint64_t, uintptr_t)');

const O_CLOEXEC = 0o2000000;
const pair = pinned(8);

/**
 * A real pipe, both ends close-on-exec; the caller closes them. Node's own `stdio: 'pipe'` is a socket pair, on which a child's open of
 * /dev/stdout fails with ENXIO.
 */
export function pipe(): { read: number; write: number } {
  check(libcPipe2(pair.address, O_CLOEXEC), 'pipe2');
  return { read: pair.view.getInt32(0, true), write: pair.view.getInt32(4, true) };
}

const TIOCSPTLCK = 0x4004_5431;
const TIOCGPTN = 0x8004_5430;
const TIOCSWINSZ = 0x5414;
const argument = pinned(8);

const TCGETS = 0x5401;
const TCSETS = 0x5402;
/** struct termios of the kernel: four words of flags, a line discipline, 19 control characters. */
const termios = pinned(64);

/** No echo, no translation, no signals: the terminal at the other end does all of that. */
function makeRaw(terminal: number): void {
  const [OPOST, CSIZE_PARENB, CS8] = [0o1, 0o460, 0o60];
  const [oflag, cflag, lflag, VTIME, VMIN] = [4, 8, 12, 17 + 5, 17 + 6];
  check(libcIoctl(terminal, TCGETS, termios.address), 'ioctl TCGETS');
  const { view } = termios;
  view.setUint32(0, 0, true);
  view.setUint32(oflag, view.getUint32(oflag, true) & ~OPOST, true);
  view.setUint32(cflag, (view.getUint32(cflag, true) & ~CSIZE_PARENB) | CS8, true);
  view.setUint32(lflag, 0, true);
  view.setUint8(VTIME, 0);
  view.setUint8(VMIN, 1);
  check(libcIoctl(terminal, TCSETS, termios.address), 'ioctl TCSETS');
}

/** A new pseudo-terminal (pty(7)) in raw mode; the caller closes both. Neither becomes anyone's controlling terminal. */
export function openPty(): { master: number; slave: number } {
  const O_RDWR = 2;
  const O_NOCTTY = 0o400;
  const master = openSync('/dev/ptmx', O_RDWR | O_NOCTTY | O_CLOEXEC);
  try {
    argument.view.setInt32(0, 0, true);
    check(libcIoctl(master, TIOCSPTLCK, argument.address), 'ioctl TIOCSPTLCK');
    check(libcIoctl(master, TIOCGPTN, argument.address), 'ioctl TIOCGPTN');
    const slave = openSync(`/dev/pts/${argument.view.getUint32(0, true)}`, O_RDWR | O_NOCTTY | O_CLOEXEC);
    makeRaw(slave);
    return { master, slave };
  } catch (error) {
    closeSync(master);
    throw error;
  }
}

export function setWindowSize(terminal: number, size: { rows: number; columns: number }): void {
  argument.view.setUint16(0, size.rows, true);
  argument.view.setUint16(2, size.columns, true);
  argument.view.setUint32(4, 0, true);
  check(libcIoctl(terminal, TIOCSWINSZ, argument.address), 'ioctl TIOCSWINSZ');
}

const FIONREAD = 0x541b;

/** How many bytes wait to be read from a pipe, socket or terminal. */
export function bytesWaiting(fd: number): number {
  check(libcIoctl(fd, FIONREAD, argument.address), 'ioctl FIONREAD');
  return argument.view.getInt32(0, true);
}

type PipeHandle = { open(fd: number): number };
type PipeBinding = { Pipe: new (type: number) => PipeHandle; constants: { SOCKET: number } };

/**
 * A stream over a connected unix socket of any type, or the master of a pseudo-terminal. `new net.Socket({ fd })` refuses SOCK_SEQPACKET because it guesses the handle from
 * the socket's type; the pipe handle underneath does not mind: one write is one packet, one read is one packet. A terminal ends with EIO. Owns the descriptor.
 */
export function socketStream(fd: number): Socket {
  // Node has no public way to name the handle's kind. `process.binding` is what it keeps for such uses.
  const binding = (process as unknown as { binding(name: string): unknown }).binding('pipe_wrap') as PipeBinding;
  const handle = new binding.Pipe(binding.constants.SOCKET);
  const result = handle.open(fd);
  if (result < 0) {
    closeSync(fd);
    throw new Error(`cannot make a stream of socket ${fd}: libuv error ${result}`);
  }
  return new Socket({ handle, readable: true, writable: true } as unknown as ConstructorParameters<typeof Socket>[0]);
}
