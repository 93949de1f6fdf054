import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheArtifactType } from '../../src/build/cache/document.ts';
import { FolderTarget } from '../../src/build/cache/targets/folder.ts';
import type { CacheTarget, TargetBlob } from '../../src/build/cache/targets/port.ts';
import { RegistryTarget } from '../../src/build/cache/targets/registry.ts';
import { S3Target } from '../../src/build/cache/targets/s3.ts';
import { digestOf, sha256 } from '../../src/oci/digest.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { startS3 } from '../support/s3-server.ts';

/** `open` gives further clients of one place. */
type Driver = { name: string; skip?: string | false; open: (t: TestContext) => Promise<() => CacheTarget>; removes: boolean };

const s3 = (conditions: boolean) => async (t: TestContext) => {
  const { endpoint, bucket, region, credentials } = await startS3(t, { conditions });
  return () => new S3Target({ bucket, prefix: 'ci/with space+', name: 'app', region, endpoint, credentials });
};

const drivers: Driver[] = [
  { name: 'a folder', removes: true, open: async (t) => inFolder(temporary(t)) },
  {
    name: 'a registry',
    removes: false,
    skip: needsRegistry.skip,
    open: async (t) => {
      const { address } = await startRegistry(t);
      const repository = () => new RegistryClient().repository({ domain: address, path: 'team/cache' }, { actions: 'pull,push' });
      return () => new RegistryTarget({ repository: repository(), tag: 'main' });
    },
  },
  { name: 'S3', removes: true, open: s3(true) },
  { name: 'S3 without conditional writes', removes: true, open: s3(false) },
];

for (const { name, open, removes, skip = false } of drivers) {
  const signal = new AbortController().signal;

  test(`${name}: what was written is read, whole and in parts`, { skip }, async (t) => {
    const target = (await open(t))();
    assert.equal(await target.read({ signal }), undefined);
    const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) & 0xff));
    const blob = blobOf(content);
    assert.equal(await target.has(blob, { signal }), false);
    await target.upload(blob, fileOf(t, content), { signal });
    assert.equal(await target.has(blob, { signal }), true);
    assert.deepEqual(Buffer.concat(await Array.fromAsync(target.blob(blob, { signal }))), content);
    const ranges = [
      { offset: 0, length: 10 },
      { offset: 10, length: 5 },
      { offset: 200_000, length: 1000 },
      { offset: 299_999, length: 1 },
    ];
    const parts = await Array.fromAsync(target.parts(blob, ranges, { signal }));
    assert.deepEqual(
      parts.map(({ offset, bytes }) => [offset, Buffer.from(bytes)]),
      ranges.map(({ offset, length }) => [offset, content.subarray(offset, offset + length)]),
    );
    const { manifest, blobs } = await manifestOf(t, target, [blob]);
    assert.equal(await target.write(manifest, { version: undefined, blobs, dropped: [] }, { signal }), true);
    assert.deepEqual((await target.read({ signal }))?.bytes, manifest);
  });

  test(`${name}: who writes over a version that is gone is told`, { skip }, async (t) => {
    const client = await open(t);
    const [one, two] = [client(), client()];
    const first = await manifestOf(t, one, [], 'first');
    const second = await manifestOf(t, two, [], 'second');
    assert.equal(await one.write(first.manifest, { version: undefined, blobs: first.blobs, dropped: [] }, { signal }), true);
    assert.equal(await two.write(second.manifest, { version: undefined, blobs: second.blobs, dropped: [] }, { signal }), false);
    const version = (await two.read({ signal }))?.version;
    assert.equal(await two.write(second.manifest, { version, blobs: second.blobs, dropped: first.blobs }, { signal }), true);
    assert.equal(await one.write(first.manifest, { version, blobs: first.blobs, dropped: [] }, { signal }), false);
    assert.deepEqual((await one.read({ signal }))?.bytes, second.manifest);
    for (const blob of second.blobs) assert.equal(await one.has(blob, { signal }), true);
    if (removes) assert.equal(await one.has(first.blobs[0] as TargetBlob, { signal }), false);
  });

  test(`${name}: a blob that is not there is NotFound, and an abort ends what is under way`, { skip }, async (t) => {
    const target = (await open(t))();
    const missing = blobOf(Buffer.from('nowhere'));
    await assert.rejects(Array.fromAsync(target.blob(missing, { signal })), { kind: 'NotFound' });
    await assert.rejects(Array.fromAsync(target.parts(missing, [{ offset: 0, length: 2 }], { signal })), { kind: 'NotFound' });
    const content = Buffer.from('there');
    await assert.rejects(target.upload(blobOf(content), fileOf(t, content), { signal: AbortSignal.abort() }));
    assert.equal(await target.has(blobOf(content), { signal }), false);
  });
}

test('a folder: what else an image layout holds stays, and other tags of the cache keep their blobs', async (t) => {
  const folder = temporary(t);
  const signal = new AbortController().signal;
  const [main, other] = [new FolderTarget({ path: folder }), new FolderTarget({ path: folder, tag: 'other' })];
  const first = await manifestOf(t, main, [], 'main');
  await main.write(first.manifest, { version: undefined, blobs: first.blobs, dropped: [] }, { signal });
  const second = await manifestOf(t, other, [], 'other');
  await other.write(second.manifest, { version: undefined, blobs: second.blobs, dropped: [] }, { signal });
  const third = await manifestOf(t, main, [], 'main again');
  await main.write(third.manifest, { version: (await main.read())?.version, blobs: third.blobs, dropped: first.blobs }, { signal });
  assert.deepEqual((await other.read())?.bytes, second.manifest);
  for (const blob of [...second.blobs, ...third.blobs]) assert.equal(await main.has(blob), true);
  assert.equal(await main.has(first.blobs[0] as TargetBlob), false);
  assert.deepEqual(readdirSync(folder).sort(), ['blobs', 'index.json', 'oci-layout']);
});

test('S3: wrong credentials are Denied, a server that is gone is Unavailable', async (t) => {
  const { endpoint, bucket, region } = await startS3(t);
  const signal = new AbortController().signal;
  const options = { bucket, prefix: '', name: 'x', region, endpoint };
  const wrong = new S3Target({ ...options, credentials: { accessKeyId: 'AKTEST', secretAccessKey: 'guessed' } });
  await assert.rejects(wrong.read({ signal }), { kind: 'Denied', message: /SignatureDoesNotMatch/ });
  const gone = new S3Target({ ...options, endpoint: 'http://127.0.0.1:1', credentials: { accessKeyId: 'a', secretAccessKey: 'b' } });
  await assert.rejects(gone.read({ signal }), { kind: 'Unavailable' });
});

function inFolder(path: string): () => CacheTarget {
  return () => new FolderTarget({ path });
}

async function manifestOf(t: TestContext, target: CacheTarget, layers: readonly TargetBlob[], mark = 'config') {
  const config = Buffer.from(mark);
  const descriptor = { ...blobOf(config), mediaType: 'application/vnd.slipway.build.cache.entries.v1+zstd' };
  await target.upload(descriptor, fileOf(t, config), {});
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const document = { schemaVersion: 2, mediaType, artifactType: cacheArtifactType, config: descriptor, layers };
  return { manifest: Buffer.from(JSON.stringify(document)), blobs: [descriptor, ...layers] };
}

function blobOf(content: Buffer): TargetBlob {
  return { digest: digestOf(sha256(content)), size: content.length, mediaType: 'application/octet-stream' };
}

function fileOf(t: TestContext, content: Buffer): string {
  const path = join(temporary(t), 'blob');
  writeFileSync(path, content);
  return path;
}

function temporary(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'slipway-targets-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
