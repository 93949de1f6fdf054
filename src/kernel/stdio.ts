import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { check, declare, pinned } from './libc.ts';

const libcPipe2 = declare('int pipe2(uintptr_t, int)');
const libcIoctl = declare('int ioctl(int, uint64_t, uintptr_t)');
const libcPoll = declare('int poll(uintptr_t, uint64_t, int)');

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

const TIOCSWINSZ = 0x5414;
const argument = pinned(8);

export function setWindowSize(terminal: number, size: { rows: number; columns: number }): void {
  argument.view.setUint16(0, size.rows, true);
  argument.view.setUint16(2, size.columns, true);
  argument.view.setUint32(4, 0, true);
  check(libcIoctl(terminal, TIOCSWINSZ, argument.address), 'ioctl TIOCSWINSZ');
}

const FIONREAD = 0x541b;
const TIOCGPTPEER = 0x5441;
const POLLIN = 1;
const pollRecord = pinned(8);

/** How many bytes wait to be read from a pipe, socket or terminal (of which the kernel may hold back more, but not when it says none). */
export function bytesWaiting(fd: number): number {
  // What was written to a terminal comes to its master by way of a queue, which polling empties.
  pollRecord.view.setInt32(0, fd, true);
  pollRecord.view.setInt32(4, POLLIN, true);
  check(libcPoll(pollRecord.address, 1, 0), 'poll');
  check(libcIoctl(fd, FIONREAD, argument.address), 'ioctl FIONREAD');
  return argument.view.getInt32(0, true);
}

/** The other side of a pseudo-terminal whose master is given, in whatever mount namespace it was made (ioctl_tty(2)). The caller closes it. */
export function openTerminalPeer(master: number): number {
  const O_RDWR_NOCTTY = 2 | 0o400;
  return check(libcIoctl(master, TIOCGPTPEER, O_RDWR_NOCTTY | O_CLOEXEC), 'ioctl TIOCGPTPEER');
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
