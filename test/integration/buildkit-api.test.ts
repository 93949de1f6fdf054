import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../src/buildkit/gen/health_pb.ts';
import { Channel } from '../../src/buildkit/grpc/channel.ts';
import { GrpcServer } from '../../src/buildkit/grpc/server.ts';
import type { BuildKit, SessionOffer } from '../../src/buildkit/port.ts';
import { Client, serve } from './api-serve.ts';

/** Health alone, and sessions that are told of and go on until they close. */
class Fake implements BuildKit {
  readonly offers: SessionOffer[] = [];
  readonly sockets: Socket[] = [];
  readonly #server = new GrpcServer((router) => router.service(Health, { check: async () => ({ status: ServingStatus.SERVING }) }));

  async attachSession(offer: SessionOffer, open: () => Promise<Socket>): Promise<void> {
    this.offers.push(offer);
    const socket = await open();
    this.sockets.push(socket);
    socket.resume();
    await once(socket, 'close');
  }

  async serve(socket: Socket): Promise<void> {
    this.#server.serve(socket);
  }

  async build(): Promise<never> {
    return assert.fail('no build is asked for');
  }

  async close(): Promise<void> {
    this.#server.close();
  }
}

/** Asks for a connection of its own and gives the socket once it has left HTTP/1. */
async function upgraded(path: string, request: string): Promise<{ socket: Socket; head: string }> {
  const socket = connect(path);
  socket.write(`${request}\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`);
  let bytes = Buffer.alloc(0);
  while (!bytes.includes('\r\n\r\n')) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
  }
  socket.pause();
  const end = bytes.indexOf('\r\n\r\n') + 4;
  if (bytes.length > end) socket.unshift(bytes.subarray(end));
  return { socket, head: bytes.subarray(0, end).toString() };
}

test('a connection becomes HTTP/2 on request, with and without a version', async (t) => {
  const buildkit = new Fake();
  const { path } = await serve(t, { buildkit });
  for (const address of ['/grpc', '/v1.47/grpc']) {
    const { socket, head } = await upgraded(path, `POST ${address} HTTP/1.1`);
    assert.match(head, /^HTTP\/1\.1 101 .*\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n/);
    const channel = new Channel(socket);
    assert.equal((await channel.client(Health).check({})).status, ServingStatus.SERVING);
    channel.close();
  }
  await buildkit.close();
});

test('a session is offered in headers; its client is gone when it ends its side', async (t) => {
  const buildkit = new Fake();
  const { path } = await serve(t, { buildkit });
  const headers = ['Uuid: id1', 'Name: builds', 'Sharedkey: folder', 'Grpc-Method: /a.B/C', 'Grpc-Method: /a.B/D'];
  const request = ['POST /session HTTP/1.1', ...headers.map((header) => `X-Docker-Expose-Session-${header}`)].join('\r\n');
  const { socket } = await upgraded(path, request);
  assert.deepEqual(buildkit.offers, [{ id: 'id1', name: 'builds', sharedKey: 'folder', methods: ['/a.B/C', '/a.B/D'] }]);
  const closed = once(buildkit.sockets[0] ?? assert.fail('no socket'), 'close');
  socket.end();
  await closed;
  await buildkit.close();
});

test('nothing changes without an upgrade, and other addresses ignore it', async (t) => {
  const buildkit = new Fake();
  const { path } = await serve(t, { buildkit });
  for (const [line, pattern] of [
    ['POST /session HTTP/1.1', /400 Bad Request[\s\S]*no upgrade proto in request/],
    ['POST /grpc HTTP/1.1', /400 Bad Request[\s\S]*no upgrade proto in request/],
    ['GET /_ping HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c', /200 OK[\s\S]*Builder-Version: 2/i],
  ] as const) {
    const client = new Client(path);
    client.send([line, 'Host: d', ...(line.includes('Upgrade') ? [] : ['Connection: close'])]);
    await client.until(line.startsWith('GET') ? 'OK\r\n' : 'upgrade');
    assert.match(client.received.toString(), pattern);
    client.socket.destroy();
  }
  await buildkit.close();
});
