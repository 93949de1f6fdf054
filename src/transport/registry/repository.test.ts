import assert from 'node:assert/strict';
import dns from 'node:dns';
import { once } from 'node:events';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import { test } from 'node:test';
import { blobOf, type Handler, json, noisy, quick, readAll, repositoryAt, sendRange, serve } from '../../../test/support/fake-registry.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';
import { MediaType } from '../../oci/media-types.ts';
import { RegistryClient } from './client.ts';
import type { ByteRange, Repository } from './port.ts';

async function readParts(repository: Repository, bytes: Buffer, ranges: ByteRange[]): Promise<void> {
  let index = 0;
  for await (const part of repository.parts(blobOf(bytes), ranges)) {
    const range = ranges[index++];
    assert.equal(part.offset, range?.offset);
    assert.ok(part.bytes.equals(bytes.subarray(part.offset, part.offset + (range?.length ?? 0))));
  }
  assert.equal(index, ranges.length);
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
    { offset: 1_105_000, length: 50_000 },
    { offset: 5_999_999, length: 1 },
  ];
  const exact = await serve(t, (request, response) => sendRange(request, response, bytes));
  await readParts(repositoryAt(exact), bytes, ranges);
  assert.deepEqual(exact.asked.map((line) => line.split(' ')[2]).sort(), [
    'bytes=10-1009',
    'bytes=1000000-1154999',
    'bytes=5999999-5999999',
  ]);
  // Apart they would be more requests than run at once: larger gaps are read over then.
  const many = await serve(t, (request, response) => sendRange(request, response, bytes));
  await readParts(
    repositoryAt(many),
    bytes,
    Array.from({ length: 10 }, (_, at) => ({ offset: at * 100_000 + (at < 5 ? 0 : 1_000_000), length: 10 })),
  );
  assert.deepEqual(many.asked.map((line) => line.split(' ')[2]).sort(), ['bytes=0-400009', 'bytes=1500000-1900009']);

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

test('where parts are redirected to is asked directly, until it says no', async (t) => {
  const bytes = noisy(40_000_000);
  let signature = 1;
  let uses = 0;
  const storage = await serve(t, (request, response) => {
    uses += 1;
    if (uses === 15) signature += 1;
    if (request.url !== `/data?signature=${signature}`) response.writeHead(403).end();
    else sendRange(request, response, bytes);
  });
  const registry = await serve(t, (_, response) =>
    response.writeHead(307, { Location: `http://${storage.address}/data?signature=${signature}` }).end(),
  );
  const ranges = Array.from({ length: 40 }, (_, index) => ({ offset: index * 1_000_000, length: 1000 }));
  await readParts(
    repositoryAt(registry, { ...quick, hosts: { [registry.address]: { mirrors: [], insecure: false, maxRequests: 2 } } }),
    bytes,
    ranges,
  );
  assert.ok(registry.asked.length >= 2 && registry.asked.length <= 8, `the registry was asked ${registry.asked.length} times`);
  assert.ok(storage.asked.length >= 40);
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

test('where nobody ever was, that is told at once; a lookup that fails is tried twice more', { timeout: 20_000 }, async (t) => {
  // Whoever waits before he asks again does not come back in time.
  const retries = { baseMs: 3_600_000, capMs: 3_600_000, totalMs: 3_600_000 };
  await assert.rejects(repositoryAt({ address: '127.0.0.1:9' }, { retries }).manifest('latest'), {
    code: 'REGISTRY_UNREACHABLE',
    message: /connect: connection refused/,
  });

  const lookups = t.mock.method(dns, 'lookup', (...[, , done]: [string, unknown, (error: Error) => void]) =>
    done(Object.assign(new Error('getaddrinfo EAI_AGAIN'), { code: 'EAI_AGAIN' })),
  );
  const nowhere = new RegistryClient({ retries: { baseMs: 1 } }).repository(
    { domain: 'registry.invalid', path: 'web' },
    { actions: 'pull' },
  );
  await assert.rejects(nowhere.manifest('latest'), { code: 'REGISTRY_UNREACHABLE', message: /no such host/ });
  assert.equal(lookups.mock.callCount(), 3);
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

test('a blob that is no longer given says which registry it is, and to log in', async (t) => {
  const bytes = noisy(1000);
  const server = await serve(t, (_, response) => response.writeHead(401).end());
  const repository = new RegistryClient(quick).repository({ domain: server.address, path: 'team/web' });
  await assert.rejects(readAll(repository.blob(blobOf(bytes))), {
    kind: 'Denied',
    code: 'UNAUTHORIZED',
    message: `${server.address} gave the manifest of ${server.address}/team/web but does not give blob ${blobOf(bytes).digest} of it: unauthorized: the registry gives no reason`,
    hint: `The credentials may have ended meanwhile. Log in with "slipway login ${server.address}" and pull again: it goes on from what is here.`,
  });
});
