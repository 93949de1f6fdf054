import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';

/** Protocols that a request may switch to; any other Upgrade header (curl's h2c, a browser's websocket) is ignored as HTTP allows. */
const protocols = ['tcp', 'slipway-run'];

/**
 * An HTTP server in front of the application. A request that asks for one of our protocols is routed like any other, body included; its handler
 * takes the connection over (hijack.ts) or answers it in HTTP, after which the connection closes.
 */
export function createHttpServer(app: FastifyInstance): Server {
  const server = createServer(
    {
      // A build context may take as long as it takes; headers may not.
      requestTimeout: 0,
      headersTimeout: 60_000,
      // Go clients keep connections for minutes; a close of ours may cross a request of theirs.
      keepAliveTimeout: 600_000,
      shouldUpgradeCallback: (request: IncomingMessage) => protocols.includes(String(request.headers.upgrade).toLowerCase()),
    },
    (request, response) => app.routing(request, response),
  );
  server.on('upgrade', (request, socket, head) => routeUpgrade(app, request, socket, head));
  server.on('clientError', (_error, socket) => refuse(socket));
  return server;
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
  if (!socket.writable) return;
  const body = JSON.stringify({ message: 'the request is not HTTP', code: 'REQUEST_MALFORMED' });
  socket.end(
    `HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
