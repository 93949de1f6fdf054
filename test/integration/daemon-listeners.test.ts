import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, linkSync, lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type Agent, request } from 'node:http';
import { type Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type TLSSocket, connect as tlsConnect } from 'node:tls';
import Fastify, { type FastifyInstance } from 'fastify';
import { hijack } from '../../src/api/hijack.ts';
import { createHttpServer } from '../../src/api/server.ts';
import { Listeners } from '../../src/daemon/listeners.ts';
import { createLog } from '../../src/daemon/log.ts';
import { Certificates } from './daemon-certificates.ts';

const skip = process.getuid?.() !== 0 && 'needs root';
const folder = mkdtempSync(join(tmpdir(), 'slipway-listen-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const certificates = new Certificates(join(folder, 'certs'));
const files = { ca: certificates.file('ca.pem'), cert: certificates.file('server.pem'), key: certificates.file('server-key.pem') };

/** An application that answers, and that hands connections over as attach does. */
async function application(): Promise<FastifyInstance> {
  const app = Fastify();
  const shutdown = new AbortController().signal;
  app.get('/_ping', () => 'OK');
  app.post('/echo', async (request_, reply) => {
    const connection = hijack(request_, reply, { protocol: 'tcp', input: true, shutdown });
    let bytes = 0;
    for await (const chunk of connection.input()) {
      bytes += chunk.length;
      await connection.write(chunk);
    }
    // Said after the client has ended its side: the other one must still be open.
    await connection.write(Buffer.from(`|${bytes}`));
    connection.close();
  });
  await app.ready();
  return app;
}

type Given = Partial<ConstructorParameters<typeof Listeners>[1]>;
async function open(app: FastifyInstance, given: Given) {
  const log = createLog('error');
  const listeners = new Listeners(
    app,
    { socket: join(folder, 's.sock'), dockerSocket: undefined, group: 'no-such', tcp: [], tls: undefined, ...given },
    log,
  );
  try {
    return { listeners, addresses: await listeners.open() };
  } catch (error) {
    await listeners.close();
    throw error;
  }
}

const client = (name = 'client', authority = 'ca') => {
  const read = (file: string) => certificates.file(file);
  return { ca: read(`${authority}.pem`), cert: read(`${name}.pem`), key: read(`${name}-key.pem`) };
};
const pem = ({ ca, cert, key }: ReturnType<typeof client>) => ({ ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) });

function get(options: object, agent: Agent | TlsAgent | false = false): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const send = 'socketPath' in options ? request : tlsRequest;
    const sent = send({ path: '/_ping', agent, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    sent.on('error', reject);
    sent.end();
  });
}

describe('where the daemon listens', { skip, timeout: 60_000 }, () => {
  let app: FastifyInstance;
  before(async () => {
    app = await application();
  });
  after(() => app.close());

  test('sockets are 0660 and go with the listeners; a stale one is replaced, a live one refused', async () => {
    const path = join(folder, 's.sock');
    const second = join(folder, 'docker.sock');
    // A socket that nobody listens on, as a killed daemon leaves it.
    const dead = createServer().listen(join(folder, 'dead.sock'));
    await once(dead, 'listening');
    linkSync(join(folder, 'dead.sock'), path);
    await new Promise((resolve) => dead.close(resolve));
    const { listeners, addresses } = await open(app, { dockerSocket: second });
    assert.deepEqual(addresses, [path, second]);
    for (const each of [path, second]) {
      assert.equal(lstatSync(each).mode & 0o777, 0o660);
      assert.deepEqual(await get({ socketPath: each }), { status: 200, text: 'OK' });
    }
    await assert.rejects(open(app, { dockerSocket: undefined }), { code: 'SOCKET_IN_USE', message: /another process is listening on/ });
    assert.ok(existsSync(path), 'the refused one left the other alone');
    await listeners.close();
    assert.deepEqual([existsSync(path), existsSync(second)], [false, false]);
    writeFileSync(path, 'precious');
    await assert.rejects(open(app, {}), { code: 'SOCKET_PATH_TAKEN' });
    rmSync(path);
  });

  test('TCP wants a certificate of the right authority, and TLS 1.2 or later', async () => {
    certificates.authority('other-ca');
    certificates.issue('stranger', 'other-ca', 'clientAuth');
    const { listeners, addresses } = await open(app, { tcp: [{ host: '127.0.0.1', port: 0 }], tls: files });
    const port = Number(addresses.at(-1)?.split(':').at(-1));
    assert.match(addresses.at(-1) ?? '', /^tcp:\/\/127\.0\.0\.1:\d+$/);
    const at = { host: '127.0.0.1', port };
    try {
      const own = pem(client());
      assert.deepEqual(await get({ ...at, ...own }), { status: 200, text: 'OK' });
      assert.deepEqual(await get({ ...at, ...own, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }), { status: 200, text: 'OK' });
      const { ca } = own;
      await assert.rejects(get({ ...at, ca }), 'no certificate');
      const stranger = pem(client('stranger'));
      await assert.rejects(get({ ...at, ...stranger, ca }), 'a certificate of somebody else');
      await assert.rejects(get({ ...at, ...own, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
      assert.equal(await answerTo(port, 'GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n'), '', 'nothing in the clear');
    } finally {
      await listeners.close();
    }
  });

  test('a connection that is handed over ends each direction by itself, over TLS as on a socket', async () => {
    const { listeners, addresses } = await open(app, { tcp: [{ host: '127.0.0.1', port: 0 }], tls: files });
    const port = Number(addresses.at(-1)?.split(':').at(-1));
    const own = pem(client());
    // As tls.connect takes it, and as @types/node does not know.
    const halfOpen: { allowHalfOpen: boolean } = { allowHalfOpen: true };
    const secure = { host: '127.0.0.1', port, ...own, ...halfOpen };
    const open_: (() => Socket | TLSSocket)[] = [
      () => connect({ path: join(folder, 's.sock'), allowHalfOpen: true }),
      () => tlsConnect(secure),
      () => tlsConnect({ ...secure, maxVersion: 'TLSv1.2' }),
    ];
    try {
      for (const dial of open_) {
        const data = Buffer.alloc(2_000_000, 'x');
        // With an upgrade as the docker command line asks for it, and without as old clients do.
        for (const head of ['Connection: Upgrade\r\nUpgrade: tcp\r\n', '']) {
          const socket = dial();
          const pieces: Buffer[] = [];
          socket.on('data', (piece: Buffer) => pieces.push(piece));
          const ended = once(socket, 'end');
          socket.write(`POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n${head}\r\n`);
          await once(socket, 'data');
          socket.end(data);
          await ended;
          const all = Buffer.concat(pieces);
          const body = all.subarray(all.indexOf('\r\n\r\n') + 4);
          assert.equal(body.toString('latin1', body.length - 8), '|2000000');
          assert.equal(body.length, 2_000_000 + 8);
          socket.destroy();
        }
      }
    } finally {
      await listeners.close();
    }
  });

  test('new certificates are used after a reload; bad ones leave the old in use', async () => {
    const place = { ca: join(folder, 'live-ca.pem'), cert: join(folder, 'live-cert.pem'), key: join(folder, 'live-key.pem') };
    const install = (authority: string, server: string) => {
      copyFileSync(certificates.file(`${authority}.pem`), place.ca);
      copyFileSync(certificates.file(`${server}.pem`), place.cert);
      copyFileSync(certificates.file(`${server}-key.pem`), place.key);
    };
    install('ca', 'server');
    const { listeners, addresses } = await open(app, { tcp: [{ host: '127.0.0.1', port: 0 }], tls: place });
    const at = { host: '127.0.0.1', port: Number(addresses.at(-1)?.split(':').at(-1)) };
    try {
      certificates.authority('next-ca');
      certificates.issue('next-server', 'next-ca', 'serverAuth', 'subjectAltName=IP:127.0.0.1\n');
      certificates.issue('next-client', 'next-ca', 'clientAuth');
      copyFileSync(certificates.file('next-server.pem'), place.cert);
      assert.throws(() => listeners.reload(), { code: 'TLS_INVALID' }, 'the key is of another certificate');
      assert.equal((await get({ ...at, ...pem(client()) })).status, 200);
      install('next-ca', 'next-server');
      listeners.reload();
      await assert.rejects(get({ ...at, ...pem(client()) }));
      assert.equal((await get({ ...at, ...pem(client('next-client', 'next-ca')) })).status, 200);
    } finally {
      await listeners.close();
    }
  });

  test('files that do not serve, and addresses that are taken, are named', async () => {
    const tcp = [{ host: '127.0.0.1', port: 0 }];
    const refused = (tls: typeof files, message: RegExp) => assert.rejects(open(app, { tcp, tls }), { code: 'TLS_INVALID', message });
    await refused({ ...files, ca: '/nonexistent.pem' }, /tls\.ca \(\/nonexistent\.pem\): there is no such file/);
    await refused({ ...files, key: certificates.file('client-key.pem') }, /do not serve: .*mismatch/);
    const open_ = join(folder, 'open-key.pem');
    copyFileSync(files.key, open_);
    chmodSync(open_, 0o644);
    await refused({ ...files, key: open_ }, /everybody on this host/);
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    await assert.rejects(open(app, { tcp: [{ host: '127.0.0.1', port }], tls: files }), { code: 'ADDRESS_IN_USE' });
    holder.close();
    await assert.rejects(open(app, { tcp: [{ host: '192.0.2.1', port: 1 }], tls: files }), { code: 'ADDRESS_UNKNOWN' });
    assert.equal(existsSync(join(folder, 's.sock')), false, 'what had been opened is closed again');
  });

  test('a client that takes too long over its head is cut off', async () => {
    const server = createHttpServer(app, { headersTimeoutMs: 200 });
    server.listen(join(folder, 'slow.sock'));
    await once(server, 'listening');
    const socket = connect(join(folder, 'slow.sock'));
    socket.on('data', () => {});
    socket.write('GET /_ping HTTP/1.1\r\nHo');
    const begun = performance.now();
    await once(socket, 'close');
    assert.ok(performance.now() - begun < 20_000);
    server.close();
  });
});

/** Everything that comes back until the connection closes. */
async function answerTo(port: number, text: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  let answer = '';
  socket.on('data', (piece: Buffer) => {
    answer += piece.toString('latin1');
  });
  socket.on('error', () => {});
  socket.write(text);
  await once(socket, 'close');
  // A TLS alert is bytes, and none of HTTP.
  return answer.includes('HTTP') ? answer : '';
}
