/**
 * A TCP relay that counts what passes and, where asked, makes a link of loopback: every byte arrives `delayMs` later. It also runs as a program of its own,
 * inside a network namespace: `node relay.ts LISTEN-PORT TARGET-HOST TARGET-PORT DELAY-MS`; each line on its standard input is answered with the counts.
 */
import { connect, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** Payload of TCP: HTTP's headers count, those of IP do not. `up` goes to the target. */
export type WireCount = { up: number; down: number };
export type Relay = AsyncDisposable & { port: number; count(): Promise<WireCount> };

/** What may be under way in one direction of one connection before its sender is held up. */
const windowBytes = 4 << 20;

export async function startRelay(options: { port?: number; targetHost?: string; targetPort: number; delayMs?: number }): Promise<Relay> {
  const counts: WireCount = { up: 0, down: 0 };
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const target = connect({ host: options.targetHost ?? '127.0.0.1', port: options.targetPort, allowHalfOpen: true, noDelay: true });
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
    }
    forward(client, target, options.delayMs ?? 0, (bytes) => {
      counts.up += bytes;
    });
    forward(target, client, options.delayMs ?? 0, (bytes) => {
      counts.down += bytes;
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the relay has no port');
  return {
    port: address.port,
    count: async () => ({ ...counts }),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A delay line: what is read is written `delayMs` later, in order, with a bounded amount under way. */
function forward(from: Socket, to: Socket, delayMs: number, onBytes: (bytes: number) => void): void {
  let underWay = 0;
  const later = (work: () => void) => (delayMs > 0 ? void setTimeout(work, delayMs) : work());
  const goOn = () => {
    if (underWay + to.writableLength < windowBytes) from.resume();
  };
  from.on('data', (bytes: Buffer) => {
    onBytes(bytes.length);
    underWay += bytes.length;
    if (underWay + to.writableLength >= windowBytes) from.pause();
    later(() => {
      underWay -= bytes.length;
      if (!to.destroyed) to.write(bytes, goOn);
    });
  });
  from.once('end', () => later(() => to.end()));
  from.once('error', () => to.destroy());
  from.once('close', () => later(() => to.destroy()));
}

if (process.argv[1] === import.meta.filename) {
  const [port, targetHost, targetPort, delayMs] = process.argv.slice(2);
  const relay = await startRelay({
    port: Number(port),
    targetHost: targetHost ?? '',
    targetPort: Number(targetPort),
    delayMs: Number(delayMs),
  });
  const say = async () => process.stdout.write(`${JSON.stringify(await relay.count())}\n`);
  await say();
  createInterface({ input: process.stdin }).on('line', say);
  process.stdin.once('end', () => process.exit(0));
}
