import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { blobOf, json, noisy, repositoryAt, serve, sourceOf } from '../../../test/support/fake-registry.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';

/** A registry that keeps uploads as the specification has it: what came of a piece that was cut is there. */
async function serveUploads(t: TestContext, fail: (request: IncomingMessage, had: number) => 'cut' | 'forget' | number | undefined) {
  const state = { had: Buffer.alloc(0), committed: undefined as Buffer | undefined, beginnings: 0, forgotten: false, log: [] as string[] };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '', 'http://x');
    const { method = '', socket } = request;
    if (url.pathname === '/v2/') return response.end('{}');
    const failure = fail(request, state.had.length);
    state.log.push(`${method} ${request.headers['content-range'] ?? ''}`.trim());
    let room = failure === 'cut' ? 5_000_000 : Number.POSITIVE_INFINITY;
    const start = state.had.length;
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) {
      chunks.push(chunk.subarray(0, room));
      room -= chunk.length;
      if (room <= 0) break;
    }
    const range = /^(\d+)-/.exec(request.headers['content-range'] ?? '');
    if (method === 'PATCH' && typeof failure !== 'number') {
      if (range?.[1] !== undefined && Number(range[1]) !== start)
        return response.writeHead(416, { Range: `0-${start - 1}`, Location: '/upload' }).end();
      state.had = Buffer.concat([state.had, ...chunks]);
    }
    if (failure === 'cut') return socket.destroy();
    if (failure === 'forget') state.forgotten = true;
    if (state.forgotten && url.pathname === '/upload')
      return json(response, 404, { errors: [{ code: 'BLOB_UPLOAD_UNKNOWN', message: 'blob upload unknown to registry' }] });
    if (typeof failure === 'number') return response.writeHead(failure).end();
    const where = { Location: '/upload?state=a%2Bb', Range: `0-${Math.max(0, state.had.length - 1)}` };
    if (method === 'HEAD') return response.writeHead(state.committed === undefined ? 404 : 200).end();
    if (method === 'POST') {
      state.beginnings += 1;
      state.forgotten = false;
      state.had = Buffer.alloc(0);
      return response.writeHead(202, where).end();
    }
    if (url.searchParams.get('state') !== 'a+b') return response.writeHead(400).end();
    if (method === 'PATCH') return response.writeHead(202, where).end();
    if (method === 'GET') return response.writeHead(204, where).end();
    const whole = Buffer.concat([state.had, ...chunks]);
    if (digestOf(sha256(whole)) !== url.searchParams.get('digest'))
      return json(response, 400, { errors: [{ code: 'DIGEST_INVALID', message: 'provided digest did not match' }] });
    state.committed = whole;
    return response.writeHead(201).end();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { state, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test('an upload that is cut goes on from what the registry has', async (t) => {
  const bytes = noisy(40_000_000);
  let cuts = 0;
  const server = await serveUploads(t, ({ method }) => (method === 'PATCH' && cuts++ < 2 ? 'cut' : undefined));
  let counted = 0;
  const result = await repositoryAt(server).upload(blobOf(bytes), sourceOf(bytes), { onBytes: (count) => (counted += count) });
  assert.equal(result, 'uploaded');
  assert.ok(server.state.committed?.equals(bytes));
  assert.equal(counted, bytes.length);
  assert.equal(server.state.beginnings, 1);
  assert.deepEqual(
    server.state.log.filter((line) => line.startsWith('PATCH')),
    ['PATCH 0-16777215', 'PATCH 5000000-21777215', 'PATCH 10000000-26777215', 'PATCH 26777216-39999999'],
  );
});

test('an upload whose session is lost begins anew; one whose answer is lost is there', async (t) => {
  const bytes = noisy(20_000_000);
  let forgotten = 0;
  const forgetful = await serveUploads(t, ({ method }, had) => (method === 'PATCH' && had > 0 && forgotten++ === 0 ? 'forget' : undefined));
  assert.equal(await repositoryAt(forgetful).upload(blobOf(bytes), sourceOf(bytes)), 'uploaded');
  assert.ok(forgetful.state.committed?.equals(bytes));
  assert.equal(forgetful.state.beginnings, 2);

  const always = await serveUploads(t, ({ method }, had) => (method === 'PATCH' && had > 0 ? 'forget' : undefined));
  await assert.rejects(repositoryAt(always).upload(blobOf(bytes), sourceOf(bytes)), {
    code: 'REGISTRY_FAILED',
    message: /lost the upload 8 times/,
  });

  const whole = await serveUploads(t, ({ method }) => (method === 'PATCH' ? 405 : undefined));
  assert.equal(await repositoryAt(whole).upload(blobOf(bytes), sourceOf(bytes)), 'uploaded');
  assert.ok(whole.state.committed?.equals(bytes));

  let puts = 0;
  const lost = await serveUploads(t, ({ method }) => (method === 'PUT' && puts++ === 0 ? 504 : undefined));
  const small = noisy(1000);
  assert.equal(await repositoryAt(lost).upload(blobOf(small), sourceOf(small)), 'uploaded');
  assert.ok(lost.state.committed?.equals(small));
});

test('a source that is not what its digest says, ends early or breaks, is told', async (t) => {
  const bytes = noisy(100_000);
  const server = await serveUploads(t, () => undefined);
  const repository = repositoryAt(server);
  await assert.rejects(repository.upload({ digest: digestOf(sha256('other')), size: bytes.length }, sourceOf(bytes)), {
    kind: 'DataLoss',
    code: 'BLOB_DIGEST_MISMATCH',
  });
  await assert.rejects(repository.upload({ ...blobOf(bytes), size: bytes.length + 1 }, sourceOf(bytes)), { code: 'BLOB_SOURCE_SHORT' });
  const broken = {
    async *read() {
      yield bytes.subarray(0, 10);
      throw new Error('the disk is gone');
    },
  };
  await assert.rejects(repository.upload(blobOf(bytes), broken), { message: 'the disk is gone' });
  assert.equal(server.state.committed, undefined);
});

test('a blob is mounted with a token for both repositories, from three at most', async (t) => {
  const bytes = noisy(100);
  const scopes: string[][] = [];
  const tokens = await serve(t, (request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    scopes.push(url.searchParams.getAll('scope'));
    json(response, 200, { token: `t${scopes.length}`, expires_in: 300 });
  });
  const mounts: string[] = [];
  const server = await serve(
    t,
    (request, response) => {
      const url = new URL(request.url ?? '', 'http://x');
      if (request.headers.authorization === undefined) {
        return response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="http://${tokens.address}/token",service="s"` }).end();
      }
      if (request.method === 'HEAD') return response.writeHead(404).end();
      if (request.method === 'POST') {
        const from = url.searchParams.get('from');
        if (from !== null) mounts.push(from);
        return response.writeHead(from === 'third' ? 201 : 202, { Location: '/upload' }).end();
      }
      response.writeHead(201).end();
    },
    true,
  );
  const repository = repositoryAt(server);
  assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes), { mountFrom: ['first', 'team/web', 'second', 'third'] }), 'mounted');
  assert.deepEqual(mounts, ['first', 'second', 'third']);
  assert.deepEqual(scopes[1], ['repository:first:pull', 'repository:team/web:pull,push']);
  mounts.length = 0;
  assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes), { mountFrom: ['a', 'b', 'c', 'third'] }), 'uploaded');
  assert.deepEqual(mounts, ['a', 'b', 'c']);
});

test('an upload that is refused while it is sent ends at once, and its connection is not used again', async (t) => {
  const open = new Set<unknown>();
  const server = createServer((request, response) => {
    if (request.method === 'HEAD') return response.writeHead(404).end();
    if (request.method === 'POST') return response.writeHead(202, { Location: '/upload' }).end();
    if (request.url === '/v2/') return response.end('{}');
    json(response, 413, { errors: [{ code: 'SIZE_INVALID', message: 'too large for us' }] });
  });
  server.on('connection', (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const bytes = noisy(20_000_000);
  let given = 0;
  const slow = {
    async *read(offset: number) {
      for (let at = offset; at < bytes.length; at += 100_000) {
        given += 100_000;
        yield bytes.subarray(at, at + 100_000);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
  };
  await assert.rejects(repositoryAt({ address }).upload(blobOf(bytes), slow), {
    code: 'REGISTRY_REFUSED',
    message: `${blobOf(bytes).digest} of ${address}/team/web: ${address} answered 413 Payload Too Large: size invalid: too large for us`,
  });
  assert.ok(given < bytes.length, `${given} bytes were read`);
  for (let waited = 0; open.size > 1 && waited < 1000; waited += 10) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(open.size <= 1, `${open.size} connections`);
});
