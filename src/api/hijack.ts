import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { beginTakenOver } from './authorization/guard.ts';
import type { StdioConnection } from './stdio.ts';
import { writePatiently } from './stream.ts';

export type HijackOptions = {
  /** What the client may ask for in its Upgrade header; it gets a 101 when it did. */
  protocol: 'tcp' | 'slipway-run';
  contentType?: string;
  /** False: the client's bytes are not wanted and are read away. */
  input: boolean;
  /** Closes the connection when the daemon stops. */
  shutdown: AbortSignal;
};

/**
 * A connection that has left HTTP: bytes both ways, each direction ended by itself. `signal` aborts when the peer is gone. `write` waits while the
 * peer does not read.
 */
export class HijackedConnection implements StdioConnection {
  readonly signal: AbortSignal;
  readonly #socket: Socket;
  readonly #incoming: AsyncIterable<Buffer>;
  /** Set where plugins judge the answer: nothing goes either way before. */
  readonly #begun: Promise<void> | undefined;

  constructor(socket: Socket, incoming: AsyncIterable<Buffer>, shutdown: AbortSignal, begun?: Promise<void>) {
    this.#socket = socket;
    this.#begun = begun;
    this.#incoming = incoming;
    const controller = new AbortController();
    this.signal = controller.signal;
    const abort = () => controller.abort(new DOMException('the client went away', 'AbortError'));
    begun?.catch(abort);
    socket.on('error', abort);
    socket.on('close', abort);
    const close = () => this.close();
    shutdown.addEventListener('abort', close);
    socket.on('close', () => shutdown.removeEventListener('abort', close));
    if (socket.destroyed) abort();
  }

  /** The client's bytes until it ends its side. Never throws: a broken connection is an end, and `signal` tells the difference. */
  async *input(): AsyncGenerator<Buffer> {
    try {
      await this.#begun;
      for await (const chunk of this.#incoming) yield chunk;
    } catch {
      // Reset by the peer, or the answer was denied.
    }
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#begun !== undefined && !(await succeeds(this.#begun))) return;
    await writePatiently(this.#socket, chunk);
  }

  /** Sends what is queued and closes both directions. */
  close(): void {
    if (this.#begun === undefined) this.#socket.destroySoon();
    else void succeeds(this.#begun).then(() => this.#socket.destroySoon());
  }
}

function succeeds(promise: Promise<void>): Promise<boolean> {
  return promise.then(
    () => true,
    () => false,
  );
}

export function wantsUpgrade(request: FastifyRequest, protocol: 'tcp' | 'slipway-run' | 'slipway-agent' | 'websocket' | 'h2c'): boolean {
  return String(request.headers.upgrade).toLowerCase() === protocol;
}

/**
 * Takes the connection of a request over. With `Upgrade: <protocol>` the answer is 101 and raw bytes follow; without, it is 200, as Docker answers
 * old clients, and raw bytes follow until either side closes.
 */
export function hijack(request: FastifyRequest, reply: FastifyReply, options: HijackOptions): HijackedConnection {
  reply.hijack();
  const { socket } = request.raw;
  const contentType = options.contentType === undefined ? '' : `Content-Type: ${options.contentType}\r\n`;
  if (wantsUpgrade(request, options.protocol)) {
    reply.raw.detachSocket(socket);
    const head = `HTTP/1.1 101 UPGRADED\r\n${contentType}Connection: Upgrade\r\nUpgrade: ${options.protocol}\r\n\r\n`;
    const begun = beginTakenOver(request, socket, 101, () => socket.write(head));
    return open(socket, readSocket(socket), options, begun);
  }
  // A chunked body that has not been read is the input; else it is whatever follows the request, which the HTTP parser must not see.
  const chunked = request.raw.headers['transfer-encoding'] !== undefined && !request.raw.complete;
  if (!chunked) detachParser(socket);
  reply.raw.detachSocket(socket);
  const begun = beginTakenOver(request, socket, 200, () => socket.write(`HTTP/1.1 200 OK\r\n${contentType}\r\n`));
  return open(socket, chunked ? request.raw : readSocket(socket), options, begun);
}

/**
 * As `hijack`, for a protocol that wants the socket itself: HTTP/2. The request must have asked for `h2c`. Rejects where a plugin denied the answer. Closed when the
 * daemon stops.
 */
export async function hijackSocket(request: FastifyRequest, reply: FastifyReply, shutdown: AbortSignal, protocol = 'h2c'): Promise<Socket> {
  reply.hijack();
  const { socket } = request.raw;
  reply.raw.detachSocket(socket);
  const head = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;
  await beginTakenOver(request, socket, 101, () => socket.write(head));
  // Our sockets may be half open. HTTP/2 knows no such thing: whoever ends his side is gone, and would not be missed otherwise.
  socket.on('end', () => socket.destroy());
  const close = () => socket.destroySoon();
  if (shutdown.aborted) close();
  shutdown.addEventListener('abort', close);
  socket.on('close', () => shutdown.removeEventListener('abort', close));
  return socket;
}

function open(
  socket: Socket,
  incoming: AsyncIterable<Buffer>,
  { input, shutdown }: HijackOptions,
  begun: Promise<void> | undefined,
): HijackedConnection {
  const connection = new HijackedConnection(socket, incoming, shutdown, begun);
  // Without a reader the end of the connection would never be seen.
  if (!input) void drain(connection);
  return connection;
}

async function drain(connection: HijackedConnection): Promise<void> {
  for await (const _ of connection.input());
}

/** A connection's bytes. Iterating a socket itself would destroy it at the end of input; the other direction must stay open (half-close). */
export async function* readSocket(socket: Socket): AsyncGenerator<Buffer> {
  const chunks = socket.iterator({ destroyOnReturn: false });
  for await (const chunk of chunks) yield chunk as Buffer;
}

/**
 * Cuts Node's HTTP parser off a socket whose request is complete, as node:http itself does on an upgrade. Its listeners go; adding
 * one of ours makes it give the handle back.
 */
function detachParser(socket: Socket): void {
  for (const event of ['data', 'end', 'drain', 'close', 'timeout', 'resume', 'pause']) socket.removeAllListeners(event);
  socket.setTimeout(0);
  socket.on('error', () => socket.destroy());
}
