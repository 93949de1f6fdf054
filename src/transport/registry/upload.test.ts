import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { blobOf, json, noisy, repositoryAt, serve, sourceOf } from '../../../test/support/fake-registry.ts';
import { serveUploads } from '../../../test/support/upload-registry.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';

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
