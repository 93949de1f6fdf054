import type { Writable } from 'node:stream';
import type { FastifyReply } from 'fastify';
import type { ProgressMessage } from '../api-types/build.ts';
import { beginStream } from './authorization/guard.ts';
import { toErrorObject } from './errors.ts';

/** A signal that aborts when the client goes away before its answer is complete, or when the daemon shuts down. */
export function requestSignal(reply: FastifyReply, shutdown: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = () => controller.abort(new DOMException('the client went away', 'AbortError'));
  reply.raw.on('close', () => {
    if (!reply.raw.writableFinished) abort();
  });
  if (reply.raw.destroyed) abort();
  return AbortSignal.any([controller.signal, shutdown]);
}

/**
 * An answer that is written bit by bit. Its status and headers leave at once (where plugins judge answers: once they have); `write` waits while the client does not read, so a slow client
 * costs no memory, and does nothing once it is gone.
 */
export class ResponseStream {
  readonly signal: AbortSignal;
  readonly #reply: FastifyReply;
  /** What has been asked for so far, when that began later than it was asked for; never rejects. */
  #begun: Promise<void> | undefined;

  constructor(reply: FastifyReply, shutdown: AbortSignal, contentType: string, headers: Record<string, string> = {}) {
    const denied = new AbortController();
    this.signal = AbortSignal.any([requestSignal(reply, shutdown), denied.signal]);
    this.#reply = reply;
    reply.hijack();
    for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) reply.raw.setHeader(name, value);
    const all = { 'Content-Type': contentType, ...headers };
    this.#begun = beginStream(reply, 200, all, () => {
      reply.raw.writeHead(200, all);
      reply.raw.flushHeaders();
    })?.catch((error) => denied.abort(error));
  }

  async write(chunk: Uint8Array | string): Promise<void> {
    const { raw } = this.#reply;
    if (this.#begun !== undefined) {
      this.#begun = this.#begun.then(() => writePatiently(raw, chunk));
      await this.#begun;
    } else await writePatiently(raw, chunk);
  }

  /** Writes without waiting; for small messages from callbacks. */
  post(chunk: Uint8Array | string): void {
    this.#next((raw) => {
      if (!raw.destroyed && !raw.writableEnded) raw.write(chunk);
    });
  }

  /** Bytes that the client has not taken yet. */
  get waitingBytes(): number {
    return this.#reply.raw.writableLength;
  }

  end(): void {
    this.#next((raw) => raw.end());
  }

  #next(act: (raw: FastifyReply['raw']) => void): void {
    const { raw } = this.#reply;
    if (this.#begun === undefined) act(raw);
    else this.#begun = this.#begun.then(() => act(raw));
  }

  /** Logs why and cuts the answer. */
  fail(error: unknown): void {
    this.#reply.log.error({ err: error, url: this.#reply.request.originalUrl }, 'a stream was cut by an error');
    this.destroy();
  }

  /** Cuts the answer: the client sees a broken transfer and not a short but whole one. */
  destroy(): void {
    this.#reply.raw.destroy();
  }
}

/** Writes and, when the buffer is full, waits until it has drained or the peer is gone. A no-op on a stream that has ended. */
export async function writePatiently(stream: Writable, chunk: Uint8Array | string): Promise<void> {
  if (stream.destroyed || stream.writableEnded || stream.write(chunk)) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
    if (stream.destroyed) done();
  });
}

/** Runs a body that streams JSON lines; a failure becomes a line of kind `error`. */
export async function streamLines(
  reply: FastifyReply,
  shutdown: AbortSignal,
  contentType: string,
  body: (send: (line: unknown) => void, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const stream = new ResponseStream(reply, shutdown, contentType);
  const send = (line: unknown) => stream.post(`${JSON.stringify(line)}\n`);
  try {
    await body(send, stream.signal);
  } catch (error) {
    reply.log.info({ err: error }, 'a stream ended with an error');
    send({ kind: 'error', error: toErrorObject(error) });
  }
  stream.end();
}

/**
 * Sends the chunks of `source` as the answer. The first chunk is fetched before the status leaves, so a failure that comes at once still has its
 * own status; a later one cuts the connection.
 */
export async function sendChunks(
  reply: FastifyReply,
  shutdown: AbortSignal,
  contentType: string,
  open: (signal: AbortSignal) => AsyncIterable<Uint8Array>,
): Promise<void> {
  const signal = requestSignal(reply, shutdown);
  const iterator = open(signal)[Symbol.asyncIterator]();
  let next = await iterator.next();
  const stream = new ResponseStream(reply, shutdown, contentType);
  try {
    for (; next.done !== true && !stream.signal.aborted; next = await iterator.next()) await stream.write(next.value);
    if (next.done === true) stream.end();
    else await iterator.return?.();
  } catch (error) {
    reply.log.error({ err: error }, 'a transfer was cut by an error');
    stream.destroy();
  }
}

export const jsonLines = 'application/x-ndjson';

/** A line of Docker's progress streams. */
export function progress(message: ProgressMessage): string {
  return `${JSON.stringify(message)}\r\n`;
}
