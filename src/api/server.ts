import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';

/** Protocols that a request may switch to; any other Upgrade header (curl's h2c) is ignored as HTTP allows. */
const protocols = ['tcp', 'slipway-run', 'slipway-agent', 'websocket'];
/** Where h2c is meant: BuildKit's protocol. */
const h2cPaths = /^(\/v[0-9.]+)?\/(session|grpc)(\?|$)/;

/** PEM. Only clients whose certificate comes from `ca` get through the handshake. */
export type MutualTls = { ca: Buffer; cert: Buffer; key: Buffer };

type Options = {
  tls?: MutualTls | undefined;
  /** How long a client may take to send the head of a request, and over TLS to shake hands. */
  headersTimeoutMs?: number | undefined;
};

/**
 * An HTTP server in front of the application; with `tls` an HTTPS one. A request that asks for one of our protocols is routed like any other, body
 * included; its handler takes the connection over (hijack.ts) or answers it in HTTP, after which the connection closes.
 */
export function createHttpServer(app: FastifyInstance, options: Options = {}): Server | TlsServer {
  const headersTimeout = options.headersTimeoutMs ?? 60_000;
  const common = {
    // A build context may take as long as it takes; headers may not.
    requestTimeout: 0,
    headersTimeout,
    connectionsCheckingInterval: Math.min(headersTimeout, 10_000),
    // Go clients keep connections for minutes; a close of ours may cross a request of theirs.
    keepAliveTimeout: 600_000,
    shouldUpgradeCallback: ({ headers, url }: IncomingMessage) => {
      const protocol = String(headers.upgrade).toLowerCase();
      return protocols.includes(protocol) || (protocol === 'h2c' && h2cPaths.test(url ?? ''));
    },
  };
  const route = (request: IncomingMessage, response: ServerResponse) => {
    // HTTP/0.9 has neither headers nor a status; Node lets it in.
    if (request.httpVersionMajor < 1) refuse(request.socket);
    else app.routing(request, response);
  };
  const server = options.tls === undefined ? createServer(common, route) : createTlsServer({ ...common, ...mutual(options.tls) }, route);
  // Attach and exec end one direction before the other. Not from the start: a peer that left during the handshake would be waited for.
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.allowHalfOpen = true;
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => routeUpgrade(app, request, socket, head));
  server.on('clientError', (_error: Error, socket: Duplex) => refuse(socket));
  return server;
}

function mutual(tls: MutualTls) {
  return {
    ...tls,
    minVersion: 'TLSv1.2' as const,
    requestCert: true,
    rejectUnauthorized: true,
    // Before it, a client may do nothing, so it may not take long either.
    handshakeTimeout: 10_000,
  };
}

/** Takes new certificates into use for connections from now on. Throws what OpenSSL says when they do not fit together; then nothing changes. */
export function renewCertificates(server: TlsServer, tls: MutualTls): void {
  server.setSecureContext({ ...tls, minVersion: 'TLSv1.2' });
}

function routeUpgrade(app: FastifyInstance, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  if (head.length > 0) socket.unshift(head);
  socket.on('error', () => socket.destroy());
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(request.socket);
  response.on('finish', () => {
    response.detachSocket(request.socket);
    request.socket.destroySoon();
  });
  socket.on('close', () => response.destroy());
  app.routing(request, response);
}

function refuse(socket: Duplex): void {
  // A handshake that failed leaves nobody who could read an answer.
  if (!socket.writable || ('encrypted' in socket && !(socket as TLSSocket).authorized)) {
    socket.destroy();
    return;
  }
  const body = JSON.stringify({ message: 'the request is not HTTP', code: 'REQUEST_MALFORMED' });
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
