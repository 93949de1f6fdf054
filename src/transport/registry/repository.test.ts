import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type Digest, digestOf, sha256 } from '../../oci/digest.ts';
import { MediaType } from '../../oci/media-types.ts';
import { RegistryClient, type RegistryClientOptions } from './client.ts';
import type { ByteRange, Repository } from './port.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => unknown;
type Served = { address: string; asked: string[] };

/** A server on this host; answers its address and what it was asked. `/v2/` is answered unless `all` says that the handler does. */
async function serve(t: TestContext, handle: Handler, all = false): Promise<Served> {
  const asked: string[] = [];
  const server = createServer({ maxHeaderSize: 64 * 1024 }, async (request, response) => {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      if (!all && request.url === '/v2/') return response.end('{}');
      asked.push([request.method, request.url, request.headers.range, request.headers.authorization].filter(Boolean).join(' '));
      await handle(request, response, Buffer.concat(chunks));
    } catch {
      response.destroy();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const quick: RegistryClientOptions = { retries: { baseMs: 1, capMs: 5 } };
function repositoryAt({ address }: Pick<Served, 'address'>, options: RegistryClientOptions = quick): Repository {
  return new RegistryClient(options).repository({ domain: address, path: 'team/web' }, { actions: 'pull,push' });
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function readParts(repository: Repository, bytes: Buffer, ranges: ByteRange[]): Promise<void> {
  let index = 0;
  for await (const part of repository.parts(blobOf(bytes), ranges)) {
    const range = ranges[index++];
    assert.equal(part.offset, range?.offset);
    assert.ok(part.bytes.equals(bytes.subarray(part.offset, part.offset + (range?.length ?? 0))));
  }
  assert.equal(index, ranges.length);
}

const blobOf = (bytes: Buffer): { digest: Digest; size: number } => ({ digest: digestOf(sha256(bytes)), size: bytes.length });
const sourceOf = (bytes: Buffer) => ({
  async *read(offset: number) {
    for (let at = offset; at < bytes.length; at += 300_000) yield bytes.subarray(at, at + 300_000);
  },
});
const json = (response: ServerResponse, status: number, value: unknown, headers = {}) =>
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
const noisy = (length: number) => Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 2_654_435_761) >>> 13));

/** Answers a range as asked, as S3 and docker-registry do. */
function sendRange(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const [, from = '', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  if (from === '') return void response.writeHead(200, { 'Content-Length': bytes.length }).end(bytes);
  const end = to === '' ? bytes.length : Number(to) + 1;
  const range = `bytes ${from}-${end - 1}/${bytes.length}`;
  response.writeHead(206, { 'Content-Range': range, 'Content-Length': end - Number(from) }).end(bytes.subarray(Number(from), end));
}

test('a blob that is cut goes on where it was, and begins anew where ranges are not done', async (t) => {
  const bytes = noisy(1_000_000);
  for (const ranges of [true, false]) {
    let cuts = 0;
    const server = await serve(t, (request, response) => {
      if (ranges && cuts >= 3) return sendRange(request, response, bytes);
      const from = ranges ? Number(/\d+/.exec(request.headers.range ?? '0')?.[0]) : 0;
      const rest = bytes.subarray(from);
      const headers = from > 0 ? { 'Content-Range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
      response.writeHead(from > 0 ? 206 : 200, { 'Content-Length': rest.length, ...headers });
      if (cuts++ >= 3) return response.end(rest);
      response.write(rest.subarray(0, 200_000 + cuts * 10_000), () => response.destroy());
    });
    const counts: number[] = [];
    const read = await readAll(repositoryAt(server).blob(blobOf(bytes), { onBytes: (count) => counts.push(count) }));
    assert.ok(read.equals(bytes));
    assert.equal(
      counts.reduce((sum, count) => sum + count),
      bytes.length,
    );
    assert.equal(server.asked.length, 4);
    assert.match(server.asked[1] ?? '', /bytes=\d+-$/);
  }
});

test('a blob that is not what its digest says, is too long, too short or endless, is refused', async (t) => {
  const bytes = noisy(300_000);
  const wrong = Buffer.from(bytes);
  wrong[150_000] = (wrong[150_000] ?? 0) ^ 1;
  const answers: [Handler, RegExp][] = [
    [(_, response) => response.end(wrong), /its bytes are sha256:/],
    [(_, response) => response.writeHead(200, { 'Content-Length': 400_000 }).end(Buffer.alloc(400_000)), /has 400000 bytes, not 300000/],
    [(_, response) => response.writeHead(200, { 'Content-Length': 10 }).end('0123456789'), /has 10 bytes, not 300000/],
    [(_, response) => setInterval(() => response.write(bytes.subarray(0, 100_000)), 1).unref(), /more than its 300000 bytes/],
  ];
  for (const [handler, message] of answers) {
    const server = await serve(t, handler);
    let seen = 0;
    const reading = async () => {
      for await (const chunk of repositoryAt(server).blob(blobOf(bytes))) seen += chunk.length;
    };
    await assert.rejects(reading, { kind: 'DataLoss', code: 'BLOB_DIGEST_MISMATCH', message });
    assert.ok(seen <= bytes.length);
  }
  const missing = await serve(t, (_, response) =>
    json(response, 404, { errors: [{ code: 'BLOB_UNKNOWN', message: 'blob unknown to registry' }] }),
  );
  await assert.rejects(readAll(repositoryAt(missing).blob(blobOf(bytes))), {
    code: 'BLOB_UNKNOWN',
    message: `blob ${blobOf(bytes).digest} of ${missing.address}/team/web not found: blob unknown: blob unknown to registry`,
  });
});

test('no credentials go where a blob is redirected to, and what is signed is in no error', async (t) => {
  const bytes = noisy(1000);
  let broken = false;
  const storage = await serve(t, (request, response) => (broken ? response.writeHead(418).end() : sendRange(request, response, bytes)));
  const registry = await serve(t, (_, response) =>
    response.writeHead(307, { Location: `http://${storage.address}/data?signature=very-secret` }).end(),
  );
  const client = new RegistryClient(quick);
  const repository = client.repository({ domain: registry.address, path: 'web' }, { auth: { registrytoken: 'se-cret' } });
  assert.ok((await readAll(repository.blob(blobOf(bytes)))).equals(bytes));
  assert.match(registry.asked[0] ?? '', /Bearer se-cret$/);
  assert.deepEqual(storage.asked, ['GET /data?signature=very-secret']);
  broken = true;
  const error = await readAll(repository.blob(blobOf(bytes))).then(
    () => undefined,
    (caught) => caught,
  );
  assert.equal(error.code, 'REGISTRY_REFUSED');
  assert.doesNotMatch(`${error.message} ${error.hint} ${error.stack}`, /secret|se-cret/);
  const loop = await serve(t, (_, response) => response.writeHead(302, { Location: '/again' }).end());
  await assert.rejects(readAll(repositoryAt(loop).blob(blobOf(bytes))), { message: /redirects more than 5 times/ });
  const nowhere = await serve(t, (_, response) => response.writeHead(302, { Location: 'file:///etc/passwd' }).end());
  await assert.rejects(readAll(repositoryAt(nowhere).blob(blobOf(bytes))), { message: /no web address/ });
});

test('parts are asked for by single ranges, and come from the whole where those are refused', async (t) => {
  const bytes = noisy(6_000_000);
  const ranges = [
    { offset: 10, length: 1000 },
    { offset: 1_000_000, length: 100_000 },
    { offset: 1_200_000, length: 50_000 },
    { offset: 5_999_999, length: 1 },
  ];
  const exact = await serve(t, (request, response) => sendRange(request, response, bytes));
  await readParts(repositoryAt(exact), bytes, ranges);
  assert.deepEqual(exact.asked.map((line) => line.split(' ')[2]).sort(), [
    'bytes=10-1009',
    'bytes=1000000-1249999',
    'bytes=5999999-5999999',
  ]);

  const refusals: Handler[] = [
    (_, response) => response.writeHead(200, { 'Content-Length': bytes.length }).end(bytes),
    (request, response) => (request.headers.range === undefined ? response.end(bytes) : response.writeHead(416).end()),
    (request, response) => (request.headers.range === undefined ? response.end(bytes) : response.writeHead(400).end()),
    (request, response) => (request.headers.range === undefined ? response.end(bytes) : response.writeHead(501).end()),
    // A range, but another.
    (request, response) =>
      request.headers.range === undefined
        ? response.end(bytes)
        : response.writeHead(206, { 'Content-Range': `bytes 0-9/${bytes.length}` }).end(bytes.subarray(0, 10)),
    // Parts in parts.
    (request, response) =>
      request.headers.range === undefined
        ? response.end(bytes)
        : response.writeHead(206, { 'Content-Type': 'multipart/byteranges; boundary=x' }).end('--x--'),
  ];
  for (const handler of refusals) {
    const server = await serve(t, handler);
    const repository = repositoryAt(server);
    await readParts(repository, bytes, ranges);
    const before = server.asked.length;
    await readParts(repository, bytes, ranges);
    assert.deepEqual(
      server.asked.slice(before).map((line) => line.split(' ')[2]),
      [undefined],
      'it is remembered',
    );
  }
});

test('a part that is cut goes on where it was, and one that is not there is told', async (t) => {
  const bytes = noisy(3_000_000);
  let cuts = 0;
  const server = await serve(t, (request, response) => {
    if (cuts++ % 2 === 1) return sendRange(request, response, bytes);
    const [, from = 0, to = 0] = (/(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? []).map(Number);
    response.writeHead(206, { 'Content-Range': `bytes ${from}-${to}/${bytes.length}`, 'Content-Length': to - from + 1 });
    response.write(bytes.subarray(from, from + 100_000), () => response.destroy());
  });
  await readParts(repositoryAt(server), bytes, [
    { offset: 0, length: 300_000 },
    { offset: 1_000_000, length: 400_000 },
  ]);
  const missing = await serve(t, (_, response) => response.writeHead(404).end());
  await assert.rejects(readParts(repositoryAt(missing), bytes, [{ offset: 0, length: 1 }]), { code: 'BLOB_UNKNOWN' });
});

test('what may pass is tried again, not before Retry-After says, and not for ever', async (t) => {
  const manifest = Buffer.from('{"schemaVersion":2,"layers":[]}');
  for (const retryAfterOf of [() => '1', () => new Date(Date.now() + 2000).toUTCString()]) {
    const retryAfter = retryAfterOf();
    let refusals = 0;
    const server = await serve(t, (_, response) => {
      if (refusals++ === 0) return response.writeHead(429, { 'Retry-After': retryAfter }).end();
      response.writeHead(200, { 'Content-Type': MediaType.ociManifest }).end(manifest);
    });
    const started = performance.now();
    await repositoryAt(server).manifest('latest');
    const waited = performance.now() - started;
    assert.ok(waited > 500 && waited < 10_000, `${waited} ms`);
  }
  const limited = await serve(t, (_, response) =>
    json(response, 429, { errors: [{ code: 'TOOMANYREQUESTS', message: 'You have reached your limit.\u001b[31m' }] }),
  );
  await assert.rejects(repositoryAt(limited).manifest('latest'), {
    kind: 'Unavailable',
    code: 'RATE_LIMITED',
    message: `${limited.address}/team/web: toomanyrequests: You have reached your limit. [31m`,
  });
  assert.equal(limited.asked.length, 8);
  const long = await serve(t, (_, response) => response.writeHead(503, { 'Retry-After': '86400' }).end());
  await assert.rejects(repositoryAt(long, { retries: { ...quick.retries, totalMs: 1000 } }).manifest('latest'), {
    code: 'REGISTRY_FAILED',
    message: `${long.address}/team/web:latest: ${long.address} answered 503 Service Unavailable`,
  });
  assert.equal(long.asked.length, 1);
  const cut = await serve(t, (_, response) => response.destroy());
  await assert.rejects(repositoryAt(cut).manifest('latest'), { code: 'REGISTRY_UNREACHABLE' });
  assert.ok(cut.asked.length >= 8);
  const refused = await serve(t, (_, response) => json(response, 403, { errors: [{ code: 'DENIED', message: 'no' }] }));
  await assert.rejects(repositoryAt(refused).manifest('latest'), {
    kind: 'Denied',
    code: 'DENIED',
    message: `push access denied for ${refused.address}/team/web: denied: no`,
  });
  assert.equal(refused.asked.length, 1);
});

test('a registry that says nothing is not waited for without end', async (t) => {
  const silent = await serve(t, () => {});
  const timeouts = { connectMs: 200, answerMs: 50, stallMs: 50 };
  const retries = { baseMs: 1, attempts: 2 };
  await assert.rejects(repositoryAt(silent, { timeouts, retries }).manifest('latest'), {
    code: 'REGISTRY_UNREACHABLE',
    message: /no answer within 0\.05 seconds/,
  });
  const stalling = await serve(t, (_, response) => response.writeHead(200, { 'Content-Length': 1000 }).write('x'));
  await assert.rejects(readAll(repositoryAt(stalling, { timeouts, retries }).blob(blobOf(noisy(1000)))), {
    message: /nothing came within/,
  });
  const header = await serve(t, (_, response) => response.writeHead(200, { 'X-Long': 'x'.repeat(40_000) }).end());
  await assert.rejects(repositoryAt(header, { retries }).manifest('latest'), { code: 'REGISTRY_UNREACHABLE', message: /Header overflow/i });
  assert.equal(header.asked.length, 1);
});

test('a manifest is checked: its digest, its size, and what it is called', async (t) => {
  const bytes = Buffer.from('{"schemaVersion":2,"manifests":[]}');
  const digest = digestOf(sha256(bytes));
  const other = digestOf(sha256('other'));
  const send = (headers: Record<string, string>) => serve(t, (_, response) => response.writeHead(200, headers).end(bytes));
  const named = repositoryAt(
    await send({ 'Content-Type': `${MediaType.dockerManifestList}; charset=utf-8`, 'Docker-Content-Digest': digest }),
  );
  assert.deepEqual(await named.manifest('latest'), {
    descriptor: { mediaType: MediaType.dockerManifestList, digest, size: bytes.length },
    bytes,
  });
  await assert.rejects(named.manifest(other), { kind: 'DataLoss', code: 'MANIFEST_DIGEST_MISMATCH' });
  assert.equal((await repositoryAt(await send({})).manifest('latest')).descriptor.mediaType, MediaType.ociIndex);
  assert.deepEqual(
    await repositoryAt(await send({})).head('latest'),
    { mediaType: MediaType.ociIndex, digest, size: bytes.length },
    'of a HEAD that says too little',
  );
  const lying = repositoryAt(await send({ 'Content-Type': MediaType.ociIndex, 'Docker-Content-Digest': other }));
  await assert.rejects(lying.manifest('latest'), { code: 'MANIFEST_DIGEST_MISMATCH' });
  const endless = await serve(t, (_, response) => setInterval(() => response.write(Buffer.alloc(1024 * 1024)), 1).unref());
  await assert.rejects(repositoryAt(endless).manifest('latest'), { code: 'DOCUMENT_INVALID', message: /more than 4194304 bytes/ });
  const huge = await serve(t, (_, response) => response.writeHead(200, { 'Content-Length': 5_000_000 }).end(Buffer.alloc(5_000_000)));
  await assert.rejects(repositoryAt(huge).manifest('latest'), { code: 'DOCUMENT_INVALID' });
});

test('tags come page by page, within this registry and without end never', async (t) => {
  const paged = await serve(t, (request, response) => {
    const last = Number(new URL(request.url ?? '', 'http://x').searchParams.get('last') ?? 0);
    const link = last < 3 ? { Link: `</v2/team/web/tags/list?n=2&last=${last + 1}>; rel="next"` } : {};
    json(response, 200, { name: 'team/web', tags: last === 3 ? null : [`v${last}a`, `v${last}b`, '../evil', 5] }, link);
  });
  assert.deepEqual(await repositoryAt(paged).tags(), ['v0a', 'v0b', 'v1a', 'v1b', 'v2a', 'v2b']);
  const round = await serve(t, (_, response) =>
    json(response, 200, { tags: ['a'] }, { Link: '</v2/team/web/tags/list?last=a>; rel="next"' }),
  );
  await assert.rejects(repositoryAt(round).tags(), { code: 'REGISTRY_ANSWER_INVALID', message: /leads back/ });
  const away = await serve(t, (_, response) => json(response, 200, { tags: ['a'] }, { Link: '<http://other.example/>; rel="next"' }));
  await assert.rejects(repositoryAt(away).tags(), { message: /leads elsewhere/ });
  const unknown = await serve(t, (_, response) =>
    json(response, 404, { errors: [{ code: 'NAME_UNKNOWN', message: 'repository name not known to registry' }] }),
  );
  await assert.rejects(repositoryAt(unknown).tags(), {
    kind: 'NotFound',
    code: 'REPOSITORY_UNKNOWN',
    message: `repository ${unknown.address}/team/web not found: name unknown: repository name not known to registry`,
  });
});

test('the referrers API is used where there is one, and filtered', async (t) => {
  const digest = digestOf(sha256('image'));
  const entry = (artifactType: string) => ({
    mediaType: MediaType.ociManifest,
    digest: digestOf(sha256(artifactType)),
    size: 5,
    artifactType,
  });
  const server = await serve(t, (_, response) =>
    json(
      response,
      200,
      { schemaVersion: 2, manifests: [entry('a'), entry('b'), { digest: 'bad' }, null] },
      { 'Content-Type': MediaType.ociIndex },
    ),
  );
  assert.deepEqual(await repositoryAt(server).referrers(digest), [entry('a'), entry('b')]);
  assert.deepEqual(await repositoryAt(server).referrers(digest, { artifactType: 'b' }), [entry('b')]);
  assert.match(server.asked[1] ?? '', /referrers\/sha256:[0-9a-f]{64}\?artifactType=b$/);
});

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

test('a mirror below a path is asked there, without the password, and not again at once when it is gone', async (t) => {
  const manifest = Buffer.from('{"schemaVersion":2,"layers":[]}');
  const answer: Handler = (_, response) => response.writeHead(200, { 'Content-Type': MediaType.ociManifest }).end(manifest);
  const mirror = await serve(t, answer);
  const registry = await serve(t, answer);
  const auth = { registrytoken: 'se-cret' };
  const at = (mirrors: string[]) => new RegistryClient({ ...quick, hosts: { [registry.address]: { mirrors, insecure: false } } });
  await at([`http://${mirror.address}/hub`])
    .repository({ domain: registry.address, path: 'team/web' }, { auth })
    .manifest('latest');
  assert.deepEqual([mirror.asked, registry.asked], [['GET /v2/hub/team/web/manifests/latest'], []]);

  let probes = 0;
  const gone = createNetServer((socket) => {
    probes += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(gone, 'listening');
  t.after(() => gone.close());
  const repository = at([`127.0.0.1:${(gone.address() as AddressInfo).port}`]).repository(
    { domain: registry.address, path: 'team/web' },
    { auth },
  );
  await repository.manifest('latest');
  const before = probes;
  assert.ok(before > 0);
  await repository.manifest('latest');
  assert.equal(probes, before);
  assert.deepEqual(registry.asked, [
    'GET /v2/team/web/manifests/latest Bearer se-cret',
    'GET /v2/team/web/manifests/latest Bearer se-cret',
  ]);
});
