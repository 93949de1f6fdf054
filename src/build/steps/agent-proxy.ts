import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Messages of the SSH agent protocol (draft-miller-ssh-agent, section 6.1) that a step may send: it can list and use keys, not change them. */
const requestIdentities = 11;
const signRequest = 13;
const extension = 27;
const failureReply = Buffer.from([0, 0, 0, 1, 5]);
const sessionBind = Buffer.from('session-bind@openssh.com');
/** As in OpenSSH: AGENT_MAX_LEN. */
const messageLimit = 256 * 1024;

/** Serves an agent on a Unix socket: each connection gets one of its own to the agent. `close` ends all of them. */
export async function serveAgent(path: string, connect: () => Promise<Duplex | undefined>): Promise<{ close(): Promise<void> }> {
  const streams = new Set<Duplex>();
  const server = createServer((client) => {
    streams.add(client);
    client.once('close', () => streams.delete(client));
    client.on('error', () => client.destroy());
    void talk(client, connect, streams);
  });
  await listening(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const stream of streams) stream.destroy();
      }),
  };
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** One message at a time: a refused one is answered here, in its turn. */
async function talk(client: Socket, connect: () => Promise<Duplex | undefined>, streams: Set<Duplex>): Promise<void> {
  let agent: Duplex | undefined;
  try {
    agent = await connect();
    if (agent === undefined) return;
    const upstream = agent;
    streams.add(upstream);
    upstream.once('close', () => streams.delete(upstream));
    upstream.on('error', () => client.destroy());
    const replies = messages(upstream);
    for await (const message of messages(client)) {
      if (!isAllowed(message)) {
        client.write(failureReply);
        continue;
      }
      upstream.write(message);
      const reply = await replies.next();
      if (reply.done === true) return;
      client.write(reply.value);
    }
  } catch {
    // A connection that breaks, or speaks another protocol, is ended; the program at its other end says so.
  } finally {
    client.destroy();
    agent?.destroy();
  }
}

function isAllowed(message: Buffer): boolean {
  const type = message[4];
  if (type === requestIdentities || type === signRequest) return true;
  return type === extension && message.subarray(9, 9 + sessionBind.length).equals(sessionBind);
}

/** Whole messages, each with its length in front. */
async function* messages(stream: Duplex): AsyncGenerator<Buffer, void, undefined> {
  let held = Buffer.alloc(0);
  for await (const chunk of stream) {
    held = Buffer.concat([held, chunk as Buffer]);
    for (;;) {
      if (held.length < 4) break;
      const length = 4 + held.readUInt32BE(0);
      if (length > messageLimit || length === 4) throw new Error('not a message of the agent protocol');
      if (held.length < length) break;
      yield held.subarray(0, length);
      held = held.subarray(length);
    }
  }
}
