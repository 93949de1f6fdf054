import { once } from 'node:events';
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';

/**
 * Listens at `path`, mode 0660, of the given group where the host has it: its members may do as root. Conflict `SOCKET_IN_USE` when another process answers there; what a dead
 * one left is replaced. The socket appears under its name only once it is ready, so a client never meets one with wrong permissions.
 * Returns how to take it away.
 */
export async function listenOnSocket(server: Server, path: string, groupName: string): Promise<() => void> {
  if (Buffer.byteLength(path) > 107) {
    throw new EngineError(
      'InvalidArgument',
      'SOCKET_PATH_TOO_LONG',
      `${path} is longer than the 107 bytes that a unix socket's path may have`,
      {
        hint: 'Choose a shorter --run.',
      },
    );
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (await answers(path)) {
    throw new EngineError('Conflict', 'SOCKET_IN_USE', `another process is listening on ${path}`, {
      hint: 'Stop it first, or choose another path.',
    });
  }
  refuseOtherThings(path);
  const making = `${path.slice(0, 100)}.${process.pid}`.slice(0, 107);
  rmSync(making, { force: true });
  // As many may wait as the kernel lets (net.core.somaxconn cuts it): on a unix socket one more is refused at once.
  server.listen({ path: making, backlog: 65_535 });
  await once(server, 'listening');
  const group = groupId(groupName);
  if (group !== undefined) chownSync(making, 0, group);
  chmodSync(making, 0o660);
  renameSync(making, path);
  const { ino } = lstatSync(path);
  return () => removeOwn(path, ino);
}

/** Whether something accepts connections at `path`. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => {
      if (isErrno(error, 'ECONNREFUSED', 'ENOENT', 'ENOTSOCK')) resolve(false);
      // Its queue is full: somebody lives there.
      else if (isErrno(error, 'EAGAIN')) resolve(true);
      else reject(error);
    });
  });
}

function refuseOtherThings(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.isSocket()) return;
  throw new EngineError('Conflict', 'SOCKET_PATH_TAKEN', `${path} exists and is not a socket`, {
    hint: 'Remove it, or choose another path.',
  });
}

/** A later daemon may have put its own there already. */
function removeOwn(path: string, ino: number): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
}

function groupId(name: string): number | undefined {
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  const id = Number(line?.split(':')[2]);
  return line !== undefined && Number.isInteger(id) ? id : undefined;
}
