import type { Duplex } from 'node:stream';
import { asUnreachable } from '../client/client.ts';
import { dial } from '../client/dial.ts';
import { defineCommand } from '../command.ts';

export const dialStdio = defineCommand({
  summary: 'Connect standard input and output to the daemon',
  description:
    'What ssh:// hosts run on the far side. Docker’s clients run "docker system dial-stdio" there: a link called docker to slipway answers them.',
  flags: {},
  async run({ client }) {
    const socket = dial(client.endpoint);
    socket.on('error', () => {}); // told below
    const incoming = process.getBuiltinModule('node:stream').promises.pipeline(process.stdin, socket, { end: true });
    incoming.catch(() => undefined);
    await copyOut(socket).catch((error: unknown) => {
      throw asUnreachable(error, client.endpoint);
    });
  },
});

/**
 * To the end of the daemon's side; the other one may never end. Through a file stream: its writes wait in a thread, so that a peer that does not read yet can
 * still be listened to.
 */
async function copyOut(socket: Duplex): Promise<void> {
  const out = process.getBuiltinModule('node:fs').createWriteStream('', { fd: 1, autoClose: false });
  await process.getBuiltinModule('node:stream').promises.pipeline(socket, out);
}
