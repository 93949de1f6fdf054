import { createServer, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';

/** Requests have options and paths in them, never files. */
const maxMessageBytes = 4 * 1024 * 1024;

/** A gRPC server without a listener: connections are handed to it. */
export class GrpcServer {
  readonly #server: Http2Server;
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor(routes: (router: ConnectRouter) => void) {
    const handler = connectNodeAdapter({
      routes,
      grpc: true,
      grpcWeb: false,
      connect: false,
      readMaxBytes: maxMessageBytes,
      writeMaxBytes: 64 * 1024 * 1024,
      // An answer is never compressed: the peer is on this host, or its TLS costs more.
      acceptCompression: [],
    });
    this.#server = createServer({ settings: { maxConcurrentStreams: 100 }, maxSessionInvalidFrames: 100 }, handler);
    this.#server.on('session', (session) => {
      this.#sessions.add(session);
      session.on('error', () => session.destroy());
      session.on('close', () => this.#sessions.delete(session));
    });
    this.#server.on('sessionError', () => undefined);
  }

  serve(socket: Socket): void {
    this.#server.emit('connection', socket);
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }
}
