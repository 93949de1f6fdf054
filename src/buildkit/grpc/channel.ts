import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2';
import type { Socket } from 'node:net';
import type { DescService } from '@bufbuild/protobuf';
import { type Client, createClient, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { EngineError } from '../../base/errors.ts';

/** A peer that answers no ping for that long is gone, whatever its socket says. */
const pingEveryMs = 20_000;
const pingTimeoutMs = 30_000;

/** Messages of unary calls and of streams that the library frames; file data comes in pieces of 32 KiB, secrets have at most 500 KiB. */
const maxMessageBytes = 4 * 1024 * 1024;

/** How much a stream and the connection may have under way. Less would cost a round trip for each 64 KiB of a context. */
const streamWindowBytes = 1024 * 1024;
const connectionWindowBytes = 8 * 1024 * 1024;

/** One HTTP/2 connection on which this side is the gRPC client, over a socket that the peer opened. `closed` aborts when it is over. */
export class Channel {
  readonly closed: AbortSignal;
  readonly #session: ClientHttp2Session;
  readonly #transport: Transport;

  constructor(socket: Socket) {
    const closed = new AbortController();
    this.closed = closed.signal;
    const session = connect('http://session', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: streamWindowBytes },
      // Lists of paths travel as headers.
      maxSendHeaderBlockLength: 4 * 1024 * 1024,
      peerMaxConcurrentStreams: 100,
    });
    this.#session = session;
    session.once('connect', () => session.setLocalWindowSize(connectionWindowBytes));
    const over = () => closed.abort(new EngineError('Unavailable', 'SESSION_LOST', "the connection to the client's session is gone"));
    session.on('error', over);
    session.on('close', over);
    session.on('goaway', () => session.close());
    socket.on('close', over);
    this.#keepAlive();
    this.#transport = createGrpcTransport({
      baseUrl: 'http://session',
      readMaxBytes: maxMessageBytes,
      writeMaxBytes: maxMessageBytes,
      sessionManager: {
        authority: 'http://session',
        request: async (method, path, headers, options) =>
          this.#open({ ...headers, ':method': method, ':path': path, ':authority': 'session' }, options),
        notifyResponseByteRead: () => undefined,
      },
    });
  }

  client<T extends DescService>(service: T): Client<T> {
    return createClient(service, this.#transport);
  }

  /** A stream whose gRPC frames the caller reads and writes itself. `path` is `/package.Service/Method`; values are ASCII. */
  stream(path: string, metadata: Readonly<Record<string, readonly string[]>>): ClientHttp2Stream {
    const headers: OutgoingHttpHeaders = {
      ':method': 'POST',
      ':path': path,
      ':authority': 'session',
      'content-type': 'application/grpc',
      te: 'trailers',
    };
    for (const [name, values] of Object.entries(metadata)) headers[name] = [...values];
    return this.#open(headers, {});
  }

  close(): void {
    this.#session.close();
    // What does not end by itself is ended.
    setTimeout(() => this.#session.destroy(), 1000).unref();
  }

  #open(headers: OutgoingHttpHeaders, options: Parameters<ClientHttp2Session['request']>[1]): ClientHttp2Stream {
    if (this.closed.aborted || this.#session.closed) throw this.closed.reason ?? new Error('the session is closed');
    return this.#session.request(headers, options);
  }

  #keepAlive(): void {
    let answeredAt = Date.now();
    const timer = setInterval(() => {
      if (this.#session.destroyed) return clearInterval(timer);
      if (Date.now() - answeredAt > pingEveryMs + pingTimeoutMs) return this.#session.destroy();
      this.#session.ping((error) => {
        if (error === null) answeredAt = Date.now();
      });
    }, pingEveryMs);
    timer.unref();
    this.closed.addEventListener('abort', () => clearInterval(timer), { once: true });
  }
}
