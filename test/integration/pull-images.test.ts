import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { hexOf } from '../../src/oci/digest.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import type { Store } from '../../src/store/port.ts';
import { ImagePuller } from '../../src/transport/pull/puller.ts';
import { tarFile, tarMember } from '../contracts/tar.ts';
import { openStoreForTest } from '../support/store.ts';
import { FakeRepository, layer, pieces, putImage, recorder, request, visible } from './pull-support.ts';

const noise = (bytes: number, seed = 1): Buffer => {
  const made = Buffer.alloc(bytes);
  let state = seed;
  for (let at = 0; at < bytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    made.writeUInt32LE(state, at);
  }
  return made;
};
const base = () => layer([tarFile('etc/os', 'debian'), tarFile('bin/sh', noise(200_000), { mode: 0o755 })]);
const app = () => layer([tarFile('app/main', 'v1'), tarFile('etc/.wh.os', '')], zstdCompressSync, MediaType.ociLayerZstd);
const downloads = (store: Store) => {
  const folder = join(store.paths.root, 'downloads');
  return existsSync(folder) ? readdirSync(folder).sort() : [];
};
const names = async (store: Store, tree: Parameters<Store['trees']['list']>[0], path: string) =>
  (await store.trees.list(tree, path as ByteString)).map(({ name }) => name);

test('an image comes with its files, names, documents and layers, and is up to date the next time', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const image = putImage(repository, [base(), app()], { tag: '1' });
  const puller = new ImagePuller({ store });
  const told = recorder();
  const pulled = await puller.pull(repository, request('registry.example/team/web:1'), told);
  assert.equal(pulled.changed, true);
  assert.equal(pulled.digest, image.manifest.digest);
  assert.equal(
    pulled.bytesReceived,
    [...image.layers, image.config].reduce((sum, { size }) => sum + size, 0),
  );
  assert.deepEqual(await names(store, pulled.image.tree, ''), ['app', 'bin', 'etc']);
  assert.deepEqual(await names(store, pulled.image.tree, 'etc'), []);
  assert.deepEqual(pulled.image.config.config?.Cmd, ['/bin/sh']);
  assert.deepEqual(await store.images.references(pulled.image.id), [
    'registry.example/team/web:1',
    `registry.example/team/web@${image.manifest.digest}`,
  ]);
  const { origin } = pulled.image;
  assert.equal(origin?.manifestDigest, image.manifest.digest);
  assert.equal(origin?.index, undefined);
  for (const { digest, mediaType } of image.layers) {
    assert.equal(await store.blobs.has(digest), true);
    assert.equal((await store.layers.get(digest))?.mediaType, mediaType);
    assert.deepEqual(await store.layers.sources(digest), ['registry.example/team/web']);
  }
  assert.deepEqual(downloads(store), []);
  const [first] = image.layers;
  const statuses = [...new Set(told.statuses(first?.digest.slice(7, 19)))].filter((status) => status !== 'Extracting');
  assert.deepEqual(statuses, ['Pulling fs layer', 'Downloading', 'Verifying Checksum', 'Download complete', 'Pull complete']);

  repository.asked.length = 0;
  const again = recorder();
  const same = await puller.pull(repository, request('registry.example/team/web:1'), again);
  assert.equal(same.changed, false);
  assert.equal(same.image.id, pulled.image.id);
  assert.deepEqual(repository.asked, ['manifest 1']);
  assert.deepEqual(again.said, []);
});

test('a layer that is known is not fetched again, for another image or after its image was removed', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const first = putImage(repository, [base(), app()], { tag: '1' });
  const puller = new ImagePuller({ store });
  const pulled = await puller.pull(repository, request('registry.example/team/web:1'));
  const changed = layer([tarFile('app/main', 'v2')]);
  const second = putImage(repository, [base(), changed], { tag: '2' });
  repository.asked.length = 0;
  const told = recorder();
  await puller.pull(repository, request('registry.example/team/web:2'), told);
  assert.deepEqual(repository.reads(), [`blob ${second.config.digest} from 0`, `blob ${second.layers[1]?.digest} from 0`]);
  assert.deepEqual(told.statuses(second.layers[0]?.digest.slice(7, 19)), ['Already exists']);

  await store.images.remove(pulled.image.id, { force: true });
  repository.asked.length = 0;
  await puller.pull(repository, request('registry.example/team/web:1'));
  assert.deepEqual(repository.reads(), []);
  assert.equal((await store.images.resolve('registry.example/team/web:1')).origin?.manifestDigest, first.manifest.digest);
});

test('the same content under another compression is not fetched', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const members = [tarFile('a', noise(50_000))];
  putImage(repository, [layer(members)], { tag: '1' });
  const puller = new ImagePuller({ store });
  const one = await puller.pull(repository, request('registry.example/team/web:1'));
  const zstd = putImage(repository, [layer(members, zstdCompressSync, MediaType.ociLayerZstd)], { tag: '2' });
  const two = await puller.pull(repository, request('registry.example/team/web:2'));
  assert.deepEqual(repository.reads(zstd.layers[0]?.digest), []);
  assert.equal(two.image.id, one.image.id);
  // Pushed on, it has the digest that was pulled last.
  const kept = await store.images.resolve('registry.example/team/web:2');
  assert.equal(kept.origin?.manifestDigest, zstd.manifest.digest);
  assert.equal((await store.images.references(kept.id)).length, 4);
  assert.equal(await store.layers.get(zstd.layers[0]?.digest ?? one.digest), undefined, 'nobody has read that blob');
});

test('a hard link to a layer below makes an image too', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const linking = layer([{ member: tarMember('usr/sh', { type: 'link', linkTarget: 'bin/sh' as ByteString }) }]);
  const image = putImage(repository, [base(), linking, app()], { tag: 'latest' });
  const puller = new ImagePuller({ store });
  const { image: record } = await puller.pull(repository, request('registry.example/team/web'));
  const root = await store.trees.get(record.tree);
  assert.deepEqual(root.hardlinks, [['bin/sh', 'usr/sh']]);
  assert.deepEqual(await names(store, record.tree, ''), ['app', 'bin', 'etc', 'usr']);
  // Its blob is here, so the next image with it fetches nothing either.
  repository.asked.length = 0;
  putImage(repository, [base(), linking], { tag: 'other' });
  await puller.pull(repository, request('registry.example/team/web:other'));
  assert.deepEqual(repository.reads(image.layers[1]?.digest), []);
});

test('a pull that is cut off leaves its bytes, and the next one goes on from there', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const big = layer([tarFile('big', noise(3_000_000))]);
  const image = putImage(repository, [big], { tag: '1' });
  const digest = image.layers[0]?.digest ?? image.manifest.digest;
  repository.faults.set(digest, [
    async function* (bytes) {
      yield* pieces(bytes.subarray(0, 1_700_000));
      throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'registry.example cannot be reached');
    },
  ]);
  const puller = new ImagePuller({ store });
  await assert.rejects(puller.pull(repository, request('registry.example/team/web:1')), { code: 'REGISTRY_UNREACHABLE' });
  assert.deepEqual(await visible(store), []);
  assert.deepEqual(downloads(store), [hexOf(digest)]);
  assert.equal(statSync(join(store.paths.root, 'downloads', hexOf(digest))).size, 1_700_000);
  assert.equal(await store.blobs.has(digest), false);
  assert.equal(await store.layers.get(digest), undefined);
  const pulled = await puller.pull(repository, request('registry.example/team/web:1'));
  assert.deepEqual(repository.reads(digest), [`blob ${digest} from 0`, `blob ${digest} from 1700000`]);
  assert.equal(pulled.bytesReceived, big.blob.length - 1_700_000 + image.config.size);
  assert.deepEqual(downloads(store), []);
});

test('what a crash left of a download is gone on with; what is wrong in it is fetched once more from its start', async () => {
  const root = mkdtempSync(join(tmpdir(), 'slipway-pull-'));
  try {
    const repository = new FakeRepository();
    const big = layer([tarFile('big', noise(900_000))]);
    const image = putImage(repository, [big], { tag: '1' });
    const digest = image.layers[0]?.digest ?? image.manifest.digest;
    const path = join(root, 'downloads', hexOf(digest));
    {
      await using store = await openStoreForTest({ root });
      repository.faults.set(digest, [
        async function* (bytes) {
          yield* pieces(bytes.subarray(0, 400_000));
          throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'gone');
        },
      ]);
      await assert.rejects(new ImagePuller({ store }).pull(repository, request('registry.example/team/web:1')));
    }
    // A power cut may leave zeros where the bytes were.
    writeFileSync(path, Buffer.concat([big.blob.subarray(0, 300_000), Buffer.alloc(100_000)]));
    await using store = await openStoreForTest({ root });
    repository.asked.length = 0;
    const pulled = await new ImagePuller({ store }).pull(repository, request('registry.example/team/web:1'));
    assert.deepEqual(repository.reads(digest), [`blob ${digest} from 400000`, `blob ${digest} from 0`]);
    assert.deepEqual(await names(store, pulled.image.tree, ''), ['big']);
    assert.deepEqual(downloads(store), []);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('a partial file that is too long, or whole already, is no trouble', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const one = layer([tarFile('one', noise(100_000))]);
  const two = layer([tarFile('two', noise(100_000, 7))]);
  const image = putImage(repository, [one, two], { tag: '1' });
  const puller = new ImagePuller({ store });
  repository.faults.set(image.layers[0]?.digest ?? '', [failing]);
  await assert.rejects(puller.pull(repository, request('registry.example/team/web:1')));
  const [first, second] = image.layers.map(({ digest }) => join(store.paths.root, 'downloads', hexOf(digest)));
  writeFileSync(first ?? '', Buffer.concat([one.blob, Buffer.alloc(10)]));
  writeFileSync(second ?? '', two.blob);
  repository.asked.length = 0;
  await puller.pull(repository, request('registry.example/team/web:1'));
  assert.deepEqual(repository.reads(image.layers[0]?.digest), [`blob ${image.layers[0]?.digest} from 0`]);
  assert.deepEqual(repository.reads(image.layers[1]?.digest), []);
});

async function* failing(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(0);
  throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'gone');
}

test('partial files that are old, or too many, are forgotten', async () => {
  await using store = await openStoreForTest();
  const folder = join(store.paths.root, 'downloads');
  const puller = new ImagePuller({ store, partials: { maxAgeMs: 60_000, maxBytes: 2500 } });
  assert.deepEqual(await puller.sweep(), { files: 0, bytes: 0 });
  const repository = new FakeRepository();
  const image = putImage(repository, [base()], { tag: '1' });
  repository.faults.set(image.layers[0]?.digest ?? '', [failing]);
  await assert.rejects(puller.pull(repository, request('registry.example/team/web:1')));
  for (const name of readdirSync(folder)) rmSync(join(folder, name));
  for (const [index, age] of [1, 2, 3, 90].entries()) {
    const path = join(folder, `${index}`.repeat(64));
    writeFileSync(path, Buffer.alloc(1000));
    const at = Date.now() / 1000 - age;
    utimesSync(path, at, at);
  }
  assert.deepEqual(await puller.sweep(), { files: 2, bytes: 2000 });
  assert.deepEqual(downloads(store), ['0'.repeat(64), '1'.repeat(64)]);
});

test('two pulls of the same layer fetch it once, and one that is cancelled does not take it from the other', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const shared = layer([tarFile('shared', noise(1_500_000))]);
  const one = putImage(repository, [shared], { tag: '1' });
  const own = putImage(repository, [shared, app()], { tag: '2' }).layers[1]?.digest ?? '';
  const digest = one.layers[0]?.digest ?? one.manifest.digest;
  const begun = Promise.withResolvers<void>();
  const rest = Promise.withResolvers<void>();
  repository.faults.set(digest, [
    async function* (bytes) {
      yield* pieces(bytes.subarray(0, 700_000));
      begun.resolve();
      await rest.promise;
      yield* pieces(bytes.subarray(700_000));
    },
  ]);
  const puller = new ImagePuller({ store });
  const stop = new AbortController();
  const first = puller.pull(repository, request('registry.example/team/web:1'), { signal: stop.signal });
  const second = puller.pull(repository, request('registry.example/team/web:2'));
  await begun.promise;
  // The second asks for its layers together.
  while (repository.reads(own).length === 0) await sleep(5);
  await sleep(50);
  stop.abort();
  await assert.rejects(first, { name: 'AbortError' });
  rest.resolve();
  const { image } = await second;
  assert.deepEqual(repository.reads(digest), [`blob ${digest} from 0`]);
  assert.deepEqual(await names(store, image.tree, ''), ['app', 'shared']);
  await assert.rejects(store.images.resolve('registry.example/team/web:1'), { code: 'IMAGE_NOT_FOUND' });
});

test('a cancelled pull leaves partial files and nothing else', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const image = putImage(repository, [layer([tarFile('big', noise(2_000_000))]), app()], { tag: '1' });
  const digest = image.layers[0]?.digest ?? image.manifest.digest;
  const stop = new AbortController();
  repository.faults.set(digest, [
    async function* (bytes, _offset, signal) {
      yield* pieces(bytes.subarray(0, 1_200_000));
      setTimeout(() => stop.abort(), 20);
      await sleep(60_000, undefined, { signal }).catch(() => {});
      signal?.throwIfAborted();
    },
  ]);
  await assert.rejects(new ImagePuller({ store }).pull(repository, request('registry.example/team/web:1'), { signal: stop.signal }), {
    name: 'AbortError',
  });
  assert.deepEqual(await visible(store), []);
  assert.equal(statSync(join(store.paths.root, 'downloads', hexOf(digest))).size, 1_200_000);
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('the platform of an index is chosen as containerd does, through nested indexes, and is up to date then', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const of = (architecture: string, variant?: string) =>
    putImage(repository, [layer([tarFile(`${architecture}${variant ?? ''}`, 'x')])], {
      config: { architecture, ...(variant === undefined ? {} : { variant }) },
    }).manifest;
  const entry = (architecture: string, variant?: string) => ({
    ...of(architecture, variant),
    platform: { os: 'linux', architecture, ...(variant === undefined ? {} : { variant }) },
  });
  const attestation = {
    ...repository.put({ schemaVersion: 2, config: of('amd64'), layers: [] }, MediaType.ociManifest),
    platform: { os: 'unknown', architecture: 'unknown' },
  };
  const index = (manifests: object[], tag?: string) =>
    repository.put({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests }, MediaType.ociIndex, tag);
  const top = index(
    [attestation, entry('arm', 'v6'), entry('arm', 'v7'), entry('arm64', 'v8'), entry('amd64'), entry('amd64', 'v3')],
    'all',
  );
  const puller = new ImagePuller({ store });
  const file = async (platform: { architecture: string; variant?: string }) => {
    const pulled = await puller.pull(repository, request('registry.example/team/web:all', { platform: { os: 'linux', ...platform } }));
    assert.equal(pulled.digest, top.digest);
    assert.equal(pulled.image.origin?.index?.digest, top.digest);
    return (await names(store, pulled.image.tree, ''))[0];
  };
  assert.equal(await file({ architecture: 'amd64' }), 'amd64');
  assert.equal(await file({ architecture: 'amd64', variant: 'v4' }), 'amd64v3');
  assert.equal(await file({ architecture: 'arm64' }), 'arm64v8');
  assert.equal(await file({ architecture: 'arm', variant: 'v7' }), 'armv7');
  assert.equal(await file({ architecture: 'arm', variant: 'v6' }), 'armv6');
  await assert.rejects(file({ architecture: 's390x' }), { code: 'PLATFORM_UNKNOWN', kind: 'NotFound' });
  let nested = entry('amd64') as object;
  for (let depth = 0; depth < 4; depth++) nested = { ...index([nested]), platform: { os: 'linux', architecture: 'amd64' } };
  const { digest } = nested as { digest: string };
  const pulled = await puller.pull(
    repository,
    request(`registry.example/team/web@${digest}`, { platform: { os: 'linux', architecture: 'amd64' } }),
  );
  assert.ok((await store.images.references(pulled.image.id)).includes(`registry.example/team/web@${digest}`));
  index([{ ...nested, platform: { os: 'linux', architecture: 'amd64' } }], 'deep');
  await assert.rejects(
    puller.pull(repository, request('registry.example/team/web:deep', { platform: { os: 'linux', architecture: 'amd64' } })),
    { code: 'INDEX_DEPTH' },
  );
});

test('whoever admits images is asked for the index and the manifest, before anything of it is read', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const { manifest } = putImage(repository, [base()], { tag: 'plain' });
  const entry = { ...manifest, platform: { os: 'linux', architecture: 'amd64' } };
  const index = repository.put({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [entry] }, MediaType.ociIndex, 'all');
  const asked: string[] = [];
  let refused: string | undefined;
  const puller = new ImagePuller({
    store,
    admission: async ({ digest, bytes, reference, mediaType }) => {
      asked.push(digest);
      assert.equal(reference.tag, 'all');
      assert.match(mediaType, /json$/);
      assert.ok(bytes.length > 0);
      if (digest === refused) throw new EngineError('Denied', 'IMAGE_REFUSED', 'no signature');
    },
  });
  const platform = { os: 'linux', architecture: 'amd64' };
  for (refused of [index.digest, manifest.digest]) {
    await assert.rejects(puller.pull(repository, request('registry.example/team/web:all', { platform })), { code: 'IMAGE_REFUSED' });
    assert.deepEqual(repository.reads(), []);
    assert.deepEqual(await visible(store), []);
  }
  refused = undefined;
  asked.length = 0;
  await puller.pull(repository, request('registry.example/team/web:all', { platform }));
  assert.deepEqual(asked, [index.digest, manifest.digest]);
});

test('an empty layer that an image has many times is fetched once', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const empty = layer([], gzipSync);
  const image = putImage(repository, [base(), empty, app(), empty, empty], { tag: '1' });
  const { image: record } = await new ImagePuller({ store }).pull(repository, request('registry.example/team/web:1'));
  assert.equal(repository.reads(image.layers[1]?.digest).length, 1);
  assert.equal(record.origin?.layers.length, 5);
});
