import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { createHttpServer, renewCertificates } from '../api/server.ts';
import { EngineError, isErrno } from '../base/errors.ts';
import { type InheritedSocket, inheritedSockets } from './activation.ts';
import type { DaemonConfig } from './config.ts';
import type { Logger } from './log.ts';
import { listenOnSocket } from './socket.ts';
import { readCertificates } from './tls.ts';

type Places = Pick<DaemonConfig, 'socket' | 'dockerSocket' | 'group' | 'tcp' | 'tls'>;

/** How long requests may take to end once they have been told to, in milliseconds. */
const graceMs = 10_000;

/** Every place where the one application is served: unix sockets, sockets that systemd holds for us, and TCP with mutual TLS. */
export class Listeners {
  readonly #app: FastifyInstance;
  readonly #places: Places;
  readonly #log: Logger;
  readonly #closers: (() => Promise<void>)[] = [];
  readonly #tlsServers: TlsServer[] = [];

  constructor(app: FastifyInstance, places: Places, log: Logger) {
    this.#app = app;
    this.#places = places;
    this.#log = log;
  }

  /**
   * Begins to serve everywhere; answers where that is. Conflict `SOCKET_IN_USE` or `ADDRESS_IN_USE`, InvalidArgument `TLS_INVALID`. When it
   * fails, some may be open: `close` ends those.
   */
  async open(): Promise<string[]> {
    const { socket, dockerSocket, group, tcp, tls } = this.#places;
    const inherited = inheritedSockets(process.env);
    for (const each of inherited) await this.#inherit(each);
    const taken = inherited.map(({ path }) => path);
    const paths = [socket, dockerSocket].filter((path) => path !== undefined && !taken.includes(path)) as string[];
    for (const path of paths) {
      const server = this.#serve(path);
      // The name goes first, so that no client comes to a server that is closing.
      const remove = await listenOnSocket(server, path, group);
      this.#closers.push(async () => remove());
    }
    const addresses: string[] = [];
    if (tls !== undefined) for (const address of tcp) addresses.push(await this.#listenTcp(address));
    return [...inherited.map(({ path, fd }) => path ?? `fd ${fd}`), ...paths, ...addresses];
  }

  /** Reads the certificates again. InvalidArgument `TLS_INVALID`; the old ones then stay in use. */
  reload(): void {
    const { tls } = this.#places;
    if (tls === undefined || this.#tlsServers.length === 0) return;
    const certificates = readCertificates(tls);
    for (const server of this.#tlsServers) renewCertificates(server, certificates);
  }

  /** Takes no more connections and waits for requests under way, which were told to end; what does not within the time is cut. */
  async close(): Promise<void> {
    // Last come first: names vanish before their servers close.
    await Promise.all(
      this.#closers
        .splice(0)
        .reverse()
        .map((close) => close()),
    );
  }

  async #inherit({ fd, path }: InheritedSocket): Promise<void> {
    const server = path === undefined ? this.#serveTls(`fd ${fd}`) : this.#serve(path);
    server.listen({ fd });
    await once(server, 'listening');
  }

  async #listenTcp({ host, port }: { host: string; port: number }): Promise<string> {
    const shown = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const server = this.#serveTls(shown);
    server.listen({ host, port });
    try {
      await once(server, 'listening');
    } catch (cause) {
      if (isErrno(cause, 'EADDRINUSE')) {
        throw new EngineError('Conflict', 'ADDRESS_IN_USE', `tcp: another process is listening on ${shown}`, {
          hint: 'Stop it first, or choose another port.',
          cause,
        });
      }
      if (isErrno(cause, 'EADDRNOTAVAIL')) {
        throw new EngineError('InvalidArgument', 'ADDRESS_UNKNOWN', `tcp: this host has no address ${host}`, {
          hint: '"ip address" lists those it has; ":PORT" is all of them.',
          cause,
        });
      }
      throw cause;
    }
    const bound = server.address();
    return `tcp://${typeof bound === 'object' && bound !== null ? shown.replace(/\d+$/, String(bound.port)) : shown}`;
  }

  #serve(shown: string): Server {
    return this.#watch(createHttpServer(this.#app) as Server, shown);
  }

  #serveTls(shown: string): TlsServer {
    const { tls } = this.#places;
    if (tls === undefined) {
      throw new EngineError('InvalidArgument', 'TLS_REQUIRED', `systemd passed ${shown}, which is no unix socket, and there is no [tls]`, {
        hint: 'TCP is served with mutual TLS only: give tls.ca, tls.cert and tls.key (packaging/README.md shows how to make them).',
      });
    }
    const server = createHttpServer(this.#app, { tls: readCertificates(tls), headersTimeoutMs: 20_000 }) as TlsServer;
    server.on('tlsClientError', (error, socket) =>
      this.#log.debug({ err: error, peer: socket.remoteAddress, address: shown }, 'a client was turned away in the TLS handshake'),
    );
    this.#tlsServers.push(server);
    return this.#watch(server, shown);
  }

  /** Remembers how to close it. */
  #watch<S extends Server | TlsServer>(server: S, shown: string): S {
    const connections = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      connections.add(socket);
      socket.on('close', () => connections.delete(socket));
    });
    // Before it listens, an error is whoever opens it's to tell.
    server.once('listening', () =>
      server.on('error', (error: Error) => this.#log.error({ err: error, listener: shown }, 'the listener failed')),
    );
    this.#closers.push(() => closeServer(server, connections));
    return server;
  }
}

async function closeServer(server: Server | TlsServer, connections: ReadonlySet<Socket>): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  // A connection becomes idle when its last answer ends, which may be after this.
  const sweep = setInterval(() => server.closeIdleConnections(), 20);
  const cut = setTimeout(() => {
    for (const socket of connections) socket.destroy();
  }, graceMs);
  await closed;
  clearTimeout(cut);
  clearInterval(sweep);
}
