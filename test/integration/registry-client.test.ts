import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Digest, digestOf, sha256 } from '../../src/oci/digest.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import type { BlobSource, Repository } from '../../src/transport/registry/port.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';

const options = { ...needsRegistry, timeout: 60_000 };
const megabyte = 1024 * 1024;

function sourceOf(bytes: Buffer): BlobSource {
  return {
    async *read(offset) {
      for (let at = offset; at < bytes.length; at += 256 * 1024) yield bytes.subarray(at, at + 256 * 1024);
    },
  };
}

function blobOf(bytes: Buffer): { digest: Digest; size: number } {
  return { digest: digestOf(sha256(bytes)), size: bytes.length };
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function putImage(repository: Repository, tag: string, layer = randomBytes(1000)): Promise<{ digest: Digest; bytes: Buffer }> {
  const config = Buffer.from(JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } }));
  for (const blob of [config, layer]) await repository.upload(blobOf(blob), sourceOf(blob));
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MediaType.ociManifest,
      config: { mediaType: MediaType.ociConfig, ...blobOf(config) },
      layers: [{ mediaType: MediaType.ociLayer, ...blobOf(layer) }],
    }),
  );
  await repository.putManifest(tag, bytes, MediaType.ociManifest);
  return { digest: digestOf(sha256(bytes)), bytes };
}

test('what is uploaded and put is there for everybody to read, in one piece and in parts', options, async (t) => {
  const { address } = await startRegistry(t);
  const client = new RegistryClient();
  const repository = client.repository({ domain: address, path: 'team/web' }, { actions: 'pull,push' });
  assert.equal(repository.name, `${address}/team/web`);
  assert.equal(await repository.head('one'), undefined);
  assert.equal(await repository.hasBlob(digestOf(sha256('none'))), false);

  const large = randomBytes(20 * megabyte + 12_345);
  let counted = 0;
  assert.equal(await repository.upload(blobOf(large), sourceOf(large), { onBytes: (count) => (counted += count) }), 'uploaded');
  assert.equal(counted, large.length);
  assert.equal(await repository.upload(blobOf(large), sourceOf(large)), 'present');

  const reader = client.repository({ domain: address, path: 'team/web' });
  counted = 0;
  const whole = await readAll(reader.blob(blobOf(large), { onBytes: (count) => (counted += count) }));
  assert.ok(whole.equals(large));
  assert.equal(counted, large.length);
  assert.ok((await readAll(reader.blob(blobOf(large), { offset: 5_000_001 }))).equals(large.subarray(5_000_001)));

  const image = await putImage(repository, 'one');
  assert.deepEqual(await reader.head('one'), { mediaType: MediaType.ociManifest, digest: image.digest, size: image.bytes.length });
  const found = await reader.manifest(image.digest);
  assert.deepEqual(found, { descriptor: await reader.head(image.digest), bytes: image.bytes });
  assert.deepEqual((await reader.manifest('one')).descriptor, found.descriptor);
  await putImage(repository, 'two');
  assert.deepEqual((await reader.tags()).sort(), ['one', 'two']);
  await repository.deleteManifest(image.digest);
  await assert.rejects(reader.manifest('one'), {
    kind: 'NotFound',
    code: 'MANIFEST_UNKNOWN',
    message: `manifest for ${address}/team/web:one not found: manifest unknown: manifest unknown`,
  });
});

test('parts come in order, and what lies between them is left out', options, async (t) => {
  const { address } = await startRegistry(t);
  const proxy = await startFaultProxy(t, { target: address });
  const repository = new RegistryClient().repository({ domain: proxy.address, path: 'web' }, { actions: 'pull,push' });
  const bytes = randomBytes(8 * megabyte);
  await repository.upload(blobOf(bytes), sourceOf(bytes));
  const ranges = [
    { offset: 0, length: 1 },
    { offset: 100_000, length: 50_000 },
    { offset: 2_000_000, length: 0 },
    { offset: 3_000_000, length: 1_000_000 },
    { offset: 7_000_000, length: bytes.length - 7_000_000 },
  ];
  proxy.reset();
  let received = 0;
  const parts: { offset: number; bytes: Buffer }[] = [];
  for await (const part of repository.parts(blobOf(bytes), ranges, { onBytes: (count) => (received += count) })) parts.push(part);
  assert.deepEqual(
    parts.map(({ offset, bytes: { length } }) => ({ offset, length })),
    ranges,
  );
  for (const part of parts)
    assert.ok(part.bytes.equals(bytes.subarray(part.offset, part.offset + part.bytes.length)), `part at ${part.offset}`);
  assert.equal(received, 50_001 + 1_000_000 + bytes.length - 7_000_000);
  assert.ok(proxy.bytesOut < received + 1000, `${proxy.bytesOut} bytes`);

  // Most of it: one request.
  proxy.reset();
  const most = Array.from({ length: 8 }, (_, index) => ({ offset: index * megabyte, length: megabyte - 200_000 }));
  let index = 0;
  for await (const part of repository.parts(blobOf(bytes), most)) {
    const range = most[index++];
    assert.equal(part.offset, range?.offset);
    assert.ok(part.bytes.equals(bytes.subarray(part.offset, part.offset + megabyte - 200_000)));
  }
  assert.equal(index, 8);
  assert.equal(proxy.requests.length, 1);
  for (const wrong of [
    [{ offset: -1, length: 2 }],
    [{ offset: 0, length: bytes.length + 1 }],
    [
      { offset: 5, length: 5 },
      { offset: 9, length: 1 },
    ],
  ]) {
    await assert.rejects(
      async () => {
        for await (const _ of repository.parts(blobOf(bytes), wrong));
      },
      { code: 'RANGE_INVALID' },
    );
  }
});

test('a blob is mounted from another repository, or uploaded where it is not there', options, async (t) => {
  const { address } = await startRegistry(t);
  const client = new RegistryClient();
  const bytes = randomBytes(100_000);
  const base = client.repository({ domain: address, path: 'base' }, { actions: 'pull,push' });
  const app = client.repository({ domain: address, path: 'team/app' }, { actions: 'pull,push' });
  await base.upload(blobOf(bytes), sourceOf(bytes));
  const never: BlobSource = {
    // biome-ignore lint/correctness/useYield: it must not be read
    async *read() {
      throw new Error('read');
    },
  };
  assert.equal(await app.upload(blobOf(bytes), never, { mountFrom: ['none', `${address}/base`] }), 'mounted');
  assert.ok((await readAll(app.blob(blobOf(bytes)))).equals(bytes));
  const other = randomBytes(100_000);
  assert.equal(await app.upload(blobOf(other), sourceOf(other), { mountFrom: ['base', 'none', 'other.example:5000/base'] }), 'uploaded');
});

test('a password is asked for, used, and in no error', options, async (t) => {
  const { address } = await startRegistry(t, { users: { me: 'se-cret' } });
  const reference = { domain: address, path: 'web' };
  const client = new RegistryClient();
  const mine = client.repository(reference, { auth: { username: 'me', password: 'se-cret' }, actions: 'pull,push' });
  await putImage(mine, 'latest');
  assert.ok(await mine.head('latest'));
  for (const auth of [undefined, { username: 'me', password: 'wrong-one' }]) {
    const error = await client
      .repository(reference, { auth })
      .manifest('latest')
      .then(
        () => undefined,
        (caught) => caught,
      );
    assert.equal(error.code, 'UNAUTHORIZED');
    assert.equal(
      error.message,
      `pull access denied for ${address}/web, repository does not exist or may require 'docker login': unauthorized: authentication required`,
    );
    assert.ok(!JSON.stringify([error.message, error.hint, error.stack]).includes('wrong-one'));
  }
  const unknown = await client.repository(reference, { auth: { username: 'me', password: 'wrong-one' }, actions: 'pull,push' });
  await assert.rejects(putImage(unknown, 'x'), { kind: 'Denied', code: 'UNAUTHORIZED' });
});

test('what refers to a manifest is found by its tag where the registry has no referrers API', options, async (t) => {
  const { address } = await startRegistry(t);
  const repository = new RegistryClient().repository({ domain: address, path: 'web' }, { actions: 'pull,push' });
  const image = await putImage(repository, 'latest');
  assert.deepEqual(await repository.referrers(image.digest), []);
  const empty = Buffer.from('{}');
  await repository.upload(blobOf(empty), sourceOf(empty));
  const digests: Digest[] = [];
  for (const artifactType of ['application/vnd.example.signature', 'application/vnd.example.sbom']) {
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MediaType.ociManifest,
        artifactType,
        config: { mediaType: 'application/vnd.oci.empty.v1+json', ...blobOf(empty) },
        layers: [],
        subject: { mediaType: MediaType.ociManifest, digest: image.digest, size: image.bytes.length },
        annotations: { 'org.example.of': artifactType },
      }),
    );
    digests.push(digestOf(sha256(bytes)));
    await repository.putManifest(digests.at(-1) ?? '', bytes, MediaType.ociManifest);
    await repository.putManifest(digests.at(-1) ?? '', bytes, MediaType.ociManifest);
  }
  const found = await repository.referrers(image.digest);
  assert.deepEqual(
    found.map(({ digest }) => digest),
    digests,
  );
  assert.deepEqual(
    (await repository.referrers(image.digest, { artifactType: 'application/vnd.example.sbom' })).map(({ digest }) => digest),
    [digests[1]],
  );
  assert.deepEqual(found[0]?.annotations, { 'org.example.of': 'application/vnd.example.signature' });
});

test('an upload and a download go on when the registry was killed in the middle', options, async (t) => {
  const registry = await startRegistry(t);
  const proxy = await startFaultProxy(t, { target: registry.address });
  const client = new RegistryClient({ retries: { baseMs: 50 } });
  const repository = client.repository({ domain: proxy.address, path: 'web' }, { actions: 'pull,push' });
  const bytes = randomBytes(40 * megabyte);
  let sent = 0;
  let killed = false;
  const killOnce = () => {
    if (killed) return;
    killed = true;
    registry.kill().then(() => registry.start());
  };
  const result = await repository.upload(blobOf(bytes), sourceOf(bytes), {
    onBytes(count) {
      sent += count;
      if (sent > 20 * megabyte) killOnce();
    },
  });
  assert.deepEqual([result, killed, sent], ['uploaded', true, bytes.length]);
  killed = false;
  const hash = createHash('sha256');
  let seen = 0;
  for await (const chunk of repository.blob(blobOf(bytes))) {
    hash.update(chunk);
    seen += chunk.length;
    if (seen > 10 * megabyte) killOnce();
  }
  assert.equal(hash.digest('hex'), sha256(bytes));
  assert.equal(killed, true);
});

test('a mirror is asked first, and the registry when it fails or lies', options, async (t) => {
  const registry = await startRegistry(t);
  const hub = await startFaultProxy(t, { target: registry.address });
  const mirror = await startFaultProxy(t, { target: registry.address });
  const client = new RegistryClient({
    hosts: { [hub.address]: { mirrors: [`http://${mirror.address}`], insecure: false } },
    retries: { baseMs: 10 },
  });
  const bytes = randomBytes(3 * megabyte);
  const { digest } = await putImage(client.repository({ domain: hub.address, path: 'web' }, { actions: 'pull,push' }), 'latest', bytes);
  assert.deepEqual(mirror.requests, []);
  hub.reset();
  const repository = client.repository({ domain: hub.address, path: 'web' });
  assert.equal((await repository.manifest('latest')).descriptor.digest, digest);
  assert.ok((await readAll(repository.blob(blobOf(bytes)))).equals(bytes));
  assert.deepEqual(hub.requests, []);

  mirror.setFaults({ cut: 1 });
  assert.ok((await readAll(repository.blob(blobOf(bytes)))).equals(bytes));
  assert.equal((await repository.manifest('latest')).descriptor.digest, digest);
  mirror.setFaults({ status: { 404: 1 } });
  assert.equal((await repository.head('latest'))?.digest, digest);
  mirror.setFaults({ flip: 1 });
  await assert.rejects(readAll(repository.blob(blobOf(bytes))), { code: 'BLOB_DIGEST_MISMATCH' });
  // From then on that blob comes from elsewhere.
  assert.ok((await readAll(repository.blob(blobOf(bytes)))).equals(bytes));
});

test('a transfer that is given up leaves no connection and no file', options, async (t) => {
  const { address, folder } = await startRegistry(t);
  const client = new RegistryClient();
  const repository = client.repository({ domain: address, path: 'web' }, { actions: 'pull,push' });
  const bytes = randomBytes(5 * megabyte);
  await repository.upload(blobOf(bytes), sourceOf(bytes));
  const controller = new AbortController();
  await assert.rejects(
    async () => {
      for await (const _ of repository.blob(blobOf(bytes), { signal: controller.signal })) controller.abort(new Error('enough'));
    },
    { message: 'enough' },
  );
  const second = new AbortController();
  const other = randomBytes(5 * megabyte);
  let closed = false;
  const slow: BlobSource = {
    async *read() {
      try {
        yield other.subarray(0, megabyte);
        second.abort(new Error('enough'));
        yield other.subarray(megabyte);
      } finally {
        closed = true;
      }
    },
  };
  await assert.rejects(repository.upload(blobOf(other), slow, { signal: second.signal }), { message: 'enough' });
  assert.equal(closed, true);
  assert.equal(existsSync(join(folder, 'docker/registry/v2/blobs/sha256', sha256(other).slice(0, 2), sha256(other))), false);
});

test('an upload goes on between its pieces', options, async (t) => {
  const { address } = await startRegistry(t);
  const proxy = await startFaultProxy(t, { target: address });
  const repository = new RegistryClient({ retries: { baseMs: 5 } }).repository(
    { domain: proxy.address, path: 'web' },
    { actions: 'pull,push' },
  );
  const bytes = randomBytes(40 * megabyte);
  let pieces = 0;
  proxy.setFaults({ status: { 503: 1 }, spare: (method) => method !== 'PATCH' || pieces++ !== 1 });
  assert.equal(await repository.upload(blobOf(bytes), sourceOf(bytes)), 'uploaded');
  assert.equal(proxy.requests.filter((line) => line.startsWith('POST')).length, 1);
  assert.deepEqual([...proxy.dealt], [['503', 1]]);
  assert.ok((await readAll(repository.blob(blobOf(bytes)))).equals(bytes));
});

test('many copies inside one registry do not wait for each other', options, async (t) => {
  const { address } = await startRegistry(t);
  const client = new RegistryClient({ hosts: { [address]: { mirrors: [], insecure: false, maxRequests: 2 } } });
  const [from, to] = ['from', 'to'].map((path) => client.repository({ domain: address, path }, { actions: 'pull,push' }));
  assert.ok(from !== undefined && to !== undefined);
  const blobs = Array.from({ length: 12 }, () => randomBytes(2 * megabyte));
  await Promise.all(blobs.map((bytes) => from.upload(blobOf(bytes), sourceOf(bytes))));
  const copies = blobs.map((bytes) => to.upload(blobOf(bytes), { read: (offset) => from.blob(blobOf(bytes), { offset }) }));
  assert.deepEqual(new Set(await Promise.all(copies)), new Set(['uploaded']));
});

test('a pull-through cache serves as a mirror', options, async (t) => {
  const registry = await startRegistry(t);
  const bytes = randomBytes(2 * megabyte);
  const { digest } = await putImage(
    new RegistryClient().repository({ domain: registry.address, path: 'web' }, { actions: 'pull,push' }),
    'latest',
    bytes,
  );
  const cache = await startRegistry(t, { proxyOf: `http://${registry.address}` });
  const proxy = await startFaultProxy(t, { target: registry.address });
  const client = new RegistryClient({ hosts: { [proxy.address]: { mirrors: [`http://${cache.address}`], insecure: false } } });
  const repository = client.repository({ domain: proxy.address, path: 'web' });
  assert.equal((await repository.manifest('latest')).descriptor.digest, digest);
  assert.ok((await readAll(repository.blob(blobOf(bytes)))).equals(bytes));
  assert.deepEqual(proxy.requests, []);
});
