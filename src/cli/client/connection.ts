import type { Duplex } from 'node:stream';
import { EngineError, errnoOf } from '../../base/errors.ts';
import { ChunkedDecoder } from './chunked.ts';
import { dial } from './dial.ts';
import type { Endpoint } from './endpoint.ts';

/**
 * One HTTP/1.1 exchange (RFC 9112) over a stream of bytes: node:http adds 13 ms to a command, this 3 (docs/adr/0080).
 * A connection serves one request and is then closed.
 */
export type Exchange = {
  method: string;
  /** Path and query, already encoded. */
  target: string;
  headers?: Record<string, string> | undefined;
  body?: string | Uint8Array | AsyncIterable<Uint8Array> | undefined;
  signal?: AbortSignal | undefined;
};

const maxHeadBytes = 64 * 1024;
const headEnd = Buffer.from('\r\n\r\n');

export class Response {
  readonly status: number;
  /** Lower-case names; the last of a repeated header. */
  readonly headers: ReadonlyMap<string, string>;
  /** Positioned after the head. Belongs to the caller once the exchange is upgraded; else read `body()`. */
  readonly socket: Duplex;

  constructor(status: number, headers: ReadonlyMap<string, string>, socket: Duplex) {
    this.status = status;
    this.headers = headers;
    this.socket = socket;
  }

  /** Reads once; leaving the loop early closes the connection. Throws Unavailable `ANSWER_CUT` when the daemon goes away in between. */
  async *body(): AsyncGenerator<Buffer, void, undefined> {
    if (this.headers.get('transfer-encoding')?.toLowerCase() === 'chunked') yield* this.#chunked();
    else yield* this.#sized();
  }

  async text(): Promise<string> {
    const pieces: Buffer[] = [];
    for await (const piece of this.body()) pieces.push(piece);
    return Buffer.concat(pieces).toString('utf8');
  }

  /** Ends the connection without reading the rest. */
  close(): void {
    this.socket.destroy();
  }

  async *#chunked(): AsyncGenerator<Buffer, void, undefined> {
    const decoder = new ChunkedDecoder();
    for await (const piece of this.#pieces()) {
      yield* decoder.push(piece);
      if (decoder.done) return;
    }
    throw answerCut();
  }

  async *#sized(): AsyncGenerator<Buffer, void, undefined> {
    const length = this.headers.get('content-length');
    if (this.status === 204 || this.status === 304 || length === '0') {
      this.close();
      return;
    }
    let left = length === undefined ? Number.POSITIVE_INFINITY : Number(length);
    for await (const piece of this.#pieces()) {
      yield piece;
      left -= piece.length;
      if (left <= 0) return;
    }
    if (length !== undefined) throw answerCut();
  }

  async *#pieces(): AsyncGenerator<Buffer, void, undefined> {
    try {
      for await (const piece of this.socket as AsyncIterable<Buffer>) yield piece;
    } catch (error) {
      // An abort carries its own reason; anything of the system's means that the daemon has gone.
      throw errnoOf(error) === undefined ? error : answerCut(error);
    }
  }
}

function answerCut(cause?: unknown): EngineError {
  return new EngineError('Unavailable', 'ANSWER_CUT', 'the daemon closed the connection in the middle of its answer', {
    hint: 'Look at the daemon\'s log ("journalctl -u slipway" when systemd runs it) and try again.',
    cause,
  });
}

/** Sends a request and reads the answer's head. Rejects with the connection's error (`ENOENT`, `ECONNREFUSED`, …) or an AbortError. */
export async function exchange(endpoint: Endpoint, request: Exchange): Promise<Response> {
  const socket = dial(endpoint);
  const { signal } = request;
  const abort = () => socket.destroy(signal?.reason instanceof Error ? signal.reason : abortError());
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  socket.once('close', () => signal?.removeEventListener('abort', abort));
  const answered = readHead(socket);
  const sent = send(socket, request, answered);
  // A body that cannot be read (a file that vanished) must not wait for an answer that never comes.
  sent.catch((error: unknown) => socket.destroy(error instanceof Error ? error : new Error(String(error))));
  return answered;
}

function abortError(): Error {
  const error = new Error('The operation was aborted');
  error.name = 'AbortError';
  return error;
}

async function send(socket: Duplex, { method, target, headers, body }: Exchange, answered: Promise<unknown>): Promise<void> {
  let head = `${method} ${target} HTTP/1.1\r\nHost: slipway\r\nUser-Agent: slipway\r\n`;
  if (headers?.Connection === undefined) head += 'Connection: close\r\n';
  for (const [name, value] of Object.entries(headers ?? {})) head += `${name}: ${value}\r\n`;
  if (body === undefined) {
    socket.write(`${head}${method === 'GET' || method === 'HEAD' ? '' : 'Content-Length: 0\r\n'}\r\n`);
  } else if (typeof body === 'string') socket.write(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  else if (body instanceof Uint8Array) {
    socket.write(`${head}Content-Length: ${body.length}\r\n\r\n`);
    socket.write(body);
  } else {
    socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n`);
    await sendChunks(socket, body, answered);
  }
}

/** Stops when the answer comes before the body's end: the daemon has refused it. */
async function sendChunks(socket: Duplex, body: AsyncIterable<Uint8Array>, answered: Promise<unknown>): Promise<void> {
  let stopped = false;
  let wake = () => {};
  const stop = () => {
    stopped = true;
    wake();
  };
  answered.then(stop, stop);
  for await (const chunk of body) {
    if (stopped) return;
    if (chunk.length === 0) continue;
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    if (!socket.write('\r\n')) {
      await new Promise<void>((resolve) => {
        wake = resolve;
        socket.once('drain', resolve);
      });
    }
  }
  if (!stopped) socket.write('0\r\n\r\n');
}

function readHead(socket: Duplex): Promise<Response> {
  return new Promise((resolve, reject) => {
    let head: Buffer = Buffer.alloc(0);
    const settle = () => {
      socket.off('data', onData);
      socket.off('end', onEnd);
    };
    const onData = (piece: Buffer) => {
      head = head.length === 0 ? piece : Buffer.concat([head, piece]);
      const end = head.indexOf(headEnd);
      if (end < 0 && head.length <= maxHeadBytes) return;
      settle();
      socket.pause();
      const parsed = end < 0 ? undefined : parseHead(head.toString('latin1', 0, end));
      if (parsed === undefined) {
        reject(new EngineError('Unavailable', 'NOT_THE_DAEMON', 'what listens on the socket does not speak HTTP'));
        socket.destroy();
        return;
      }
      const rest = head.subarray(end + headEnd.length);
      if (rest.length > 0) socket.unshift(rest);
      resolve(new Response(parsed.status, parsed.headers, socket));
    };
    const onEnd = () => {
      settle();
      reject(answerCut());
      socket.destroy();
    };
    socket.on('data', onData);
    socket.on('end', onEnd);
    // Stays for the life of the socket: an error after the head also shows as a broken body.
    socket.on('error', reject);
  });
}

/** undefined when it is no HTTP/1.x response head. */
export function parseHead(text: string): { status: number; headers: Map<string, string> } | undefined {
  const [first = '', ...lines] = text.split('\r\n');
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1];
  if (status === undefined) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(status), headers };
}
