import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { route } from '../client/client.ts';
import type { Context } from '../command.ts';

/** Connections that wait for a step. A second one is there when two come at once. */
const waiting = 2;

/**
 * Lends the local ssh agent at `path` to a daemon that does not see it, as `name`: holds connections to the daemon open, each of which becomes one to the agent when something comes through it. Resolves when
 * the first one is there; disposing ends all.
 */
export async function carryAgent({ client }: Pick<Context, 'client'>, name: string, path: string): Promise<Disposable> {
  const open = new Set<Duplex>();
  let over = false;
  const offer = async (): Promise<void> => {
    const { socket } = await client.upgrade(route`/slipway/build-agents/${name}`, 'slipway-agent');
    if (over) {
      socket.destroy();
      return;
    }
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.once('data', (first: Buffer) => {
      socket.pause();
      join(socket, first, path, open);
      if (!over) offer().catch(() => undefined);
    });
    socket.once('end', () => socket.destroy());
  };
  await offer();
  for (let more = waiting - 1; more > 0; more--) offer().catch(() => undefined);
  return {
    [Symbol.dispose]() {
      over = true;
      for (const socket of open) socket.destroy();
    },
  };
}

function join(socket: Duplex, first: Buffer, path: string, open: Set<Duplex>): void {
  const agent = connect(path);
  open.add(agent);
  agent.once('close', () => {
    open.delete(agent);
    socket.destroy();
  });
  agent.on('error', () => agent.destroy());
  socket.once('close', () => agent.destroy());
  agent.write(first);
  socket.pipe(agent);
  agent.pipe(socket);
}
