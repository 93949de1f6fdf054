import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { EngineError } from '../../src/base/errors.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import type { Store } from '../../src/store/port.ts';
import { ImagePuller, type ImagePullerOptions } from '../../src/transport/pull/puller.ts';
import { tarFile, writeTar } from '../contracts/tar.ts';
import { openStoreForTest } from '../support/store.ts';
import { digestOfBytes, FakeRepository, layer, pieces, putImage, request, visible } from './pull-support.ts';

const small = () => layer([tarFile('file', 'content')]);
const other = digestOfBytes(Buffer.from('another thing'));

type Expected = { code: string; kind?: string; message?: RegExp };

/** Pulls `:bad` and expects an error, no name, no blob but such as were there, and no partial file. */
async function refused(store: Store, repository: FakeRepository, expected: Expected, options: Partial<ImagePullerOptions> = {}) {
  const before = readdirSync(join(store.paths.blobs, 'sha256'));
  const puller = new ImagePuller({ store, ...options });
  await assert.rejects(puller.pull(repository, request('registry.example/team/web:bad')), (error: unknown) => {
    assert.ok(error instanceof EngineError, String(error));
    assert.equal(error.code, expected.code, error.message);
    if (expected.kind !== undefined) assert.equal(error.kind, expected.kind);
    if (expected.message !== undefined) assert.match(error.message, expected.message);
    return true;
  });
  assert.deepEqual(await visible(store), []);
  assert.deepEqual(readdirSync(join(store.paths.blobs, 'sha256')), before);
  const folder = join(store.paths.root, 'downloads');
  assert.deepEqual(existsSync(folder) ? readdirSync(folder) : [], []);
}

test('manifests that are not sound are refused before anything is fetched', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const { config, layers } = putImage(repository, [small()]);
  const good = { schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers };
  const cases: [string, object | Buffer, Expected, string?][] = [
    ['not JSON', Buffer.from('{"schemaVersion": 2'), { code: 'DOCUMENT_INVALID', kind: 'InvalidArgument' }],
    [
      'over the limit',
      Buffer.from(JSON.stringify({ ...good, annotations: { a: 'x'.repeat(4 * 1024 * 1024) } })),
      { code: 'DOCUMENT_INVALID', message: /at most 4194304/ },
    ],
    ['schema 1', { schemaVersion: 1, fsLayers: [], signatures: [] }, { code: 'MANIFEST_SCHEMA1', kind: 'Unsupported' }],
    [
      'both manifest and index (CVE-2021-41190)',
      { ...good, manifests: [config] },
      { code: 'DOCUMENT_INVALID', message: /both "manifests" and "layers"/ },
    ],
    ['a manifest announced as an index', good, { code: 'DOCUMENT_INVALID' }, MediaType.ociIndex],
    ['neither', { schemaVersion: 2 }, { code: 'DOCUMENT_INVALID' }],
    [
      'an artifact',
      { ...good, config: { ...config, mediaType: 'application/vnd.cncf.helm.config.v1+json' } },
      { code: 'NOT_AN_IMAGE', kind: 'Unsupported', message: /helm/ },
    ],
    [
      'a config over the limit',
      { ...good, config: { ...config, size: 9 * 1024 * 1024 } },
      { code: 'DOCUMENT_INVALID', message: /at most 8388608/ },
    ],
    ['a digest of another kind', { ...good, layers: [{ ...layers[0], digest: 'md5:00' }] }, { code: 'DOCUMENT_INVALID' }],
    ['a negative size', { ...good, layers: [{ ...layers[0], size: -1 }] }, { code: 'DOCUMENT_INVALID' }],
    ['a digest that leads elsewhere', { ...good, layers: [{ ...layers[0], digest: '../../../etc/passwd' }] }, { code: 'DOCUMENT_INVALID' }],
  ];
  for (const [name, document, expected, mediaType = MediaType.ociManifest] of cases) {
    repository.put(document, mediaType, 'bad');
    await refused(store, repository, expected).catch((error: unknown) => assert.fail(`${name}: ${error}`));
    assert.deepEqual(repository.reads(), [], name);
  }
});

test('configs and manifests that do not belong together are refused before a layer is fetched', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const rootfs = (...diff_ids: string[]) => ({ config: { rootfs: { type: 'layers', diff_ids } } });
  const { diffId } = small();
  const cases: [string, Parameters<typeof putImage>[2], Expected][] = [
    ['a missing diff_id', rootfs(), { code: 'LAYER_COUNT', message: /lists 1 layers, its config 0/ }],
    ['one too many', rootfs(diffId, diffId), { code: 'LAYER_COUNT', kind: 'InvalidArgument' }],
    ['no rootfs', { config: { rootfs: null } }, { code: 'LAYER_COUNT' }],
    ['a diff_id that is none', rootfs('sha256:zz'), { code: 'DIGEST_INVALID' }],
    ['rootfs of another type', { config: { rootfs: { type: 'base', diff_ids: [diffId] } } }, { code: 'DOCUMENT_INVALID' }],
    ['a config that is a list', { config: { config: [] } }, { code: 'DOCUMENT_INVALID' }],
  ];
  for (const [name, over, expected] of cases) {
    const { layers } = putImage(repository, [small()], { ...over, tag: 'bad' });
    await refused(store, repository, expected).catch((error: unknown) => assert.fail(`${name}: ${error}`));
    assert.deepEqual(repository.reads(layers[0]?.digest), [], name);
  }
});

test('layers that this engine cannot unpack are named, and not fetched', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  for (const mediaType of [
    'application/vnd.oci.image.layer.v1.tar+gzip+encrypted',
    'application/vnd.oci.image.layer.v1.tar+lz4',
    'application/vnd.oci.image.layer.v1.squashfs',
    'application/octet-stream',
    'application/vnd.in-toto+json',
  ]) {
    const { layers } = putImage(repository, [{ ...small(), mediaType }], { tag: 'bad' });
    await refused(store, repository, {
      code: 'LAYER_TYPE',
      kind: 'Unsupported',
      message: /^layer 1 of registry\.example\/team\/web:bad is of type /,
    });
    assert.deepEqual(repository.reads(layers[0]?.digest), []);
  }
});

test('indexes that point at themselves, at what is not theirs or at nothing are refused', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const platform = { os: 'linux', architecture: 'amd64' };
  const { manifest } = putImage(repository, [small()]);
  const index = (manifests: object[]) =>
    repository.put(
      { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: manifests.map((each) => ({ ...each, platform })) },
      MediaType.ociIndex,
      'bad',
    );
  // A registry that answers with another document than the one asked for makes the only loop there can be.
  const looping = index([{ mediaType: MediaType.ociIndex, digest: other, size: 10 }]);
  repository.manifests.set(other, repository.manifests.get('bad') ?? assert.fail());
  await refused(store, repository, { code: 'MANIFEST_DIGEST_MISMATCH', kind: 'DataLoss' });
  assert.ok(looping.size > 10);
  index([{ ...manifest, size: manifest.size + 1 }]);
  await refused(store, repository, { code: 'DOCUMENT_INVALID', message: /the index says/ });
  index([{ ...manifest, size: 2 ** 40 }]);
  await refused(store, repository, { code: 'DOCUMENT_INVALID', message: /at most/ });
  index([{ ...manifest, mediaType: MediaType.ociIndex }]);
  await refused(store, repository, { code: 'DOCUMENT_INVALID', message: /announced as/ });
  index([{ ...manifest, digest: digestOfBytes(Buffer.from('nowhere')) }]);
  await refused(store, repository, { code: 'MANIFEST_UNKNOWN', kind: 'NotFound' });
  index([]);
  await refused(store, repository, { code: 'PLATFORM_UNKNOWN', kind: 'NotFound' });
  assert.deepEqual(repository.reads(), []);
});

test('blobs that are not what their digest says are fetched once more, then refused', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const image = putImage(repository, [layer([tarFile('file', Buffer.alloc(300_000, 'abc'))], (tar) => gzipSync(tar, { level: 0 }))], {
    tag: 'bad',
  });
  const [{ digest, size } = assert.fail()] = image.layers;
  const bent = async function* (bytes: Buffer) {
    const wrong = Buffer.from(bytes);
    wrong[150_000] = (wrong[150_000] ?? 0) ^ 1;
    yield* pieces(wrong);
  };
  repository.faults.set(digest, [bent, bent]);
  await refused(store, repository, {
    code: 'BLOB_DAMAGED',
    kind: 'DataLoss',
    message: /layer 1 of registry\.example\/team\/web:bad is damaged/,
  });
  assert.equal(repository.reads(digest).length, 2);
  const longer = async function* (bytes: Buffer) {
    yield* pieces(Buffer.concat([bytes, Buffer.alloc(10)]));
  };
  repository.faults.set(digest, [longer, longer]);
  await refused(store, repository, { code: 'BLOB_SIZE_MISMATCH', message: new RegExp(`has ${size} bytes`) });
  const config = image.config.digest;
  repository.faults.set(config, [
    async function* (bytes: Buffer) {
      yield bytes.subarray(1);
    },
  ]);
  await refused(store, repository, { code: 'BLOB_DIGEST_MISMATCH', message: /the config of/ });
  // It passes by itself: the next pull is right, and a blob that was bent once is too.
  repository.faults.set(digest, [bent]);
  const pulled = await new ImagePuller({ store }).pull(repository, request('registry.example/team/web:bad'));
  assert.equal(pulled.changed, true);
});

test('layers whose content is not what the config says, or no tar, leave nothing', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const cases: [string, { blob: Buffer; diffId: ReturnType<typeof digestOfBytes> }, Expected][] = [
    ['another content', { ...small(), diffId: other }, { code: 'LAYER_DAMAGED', kind: 'DataLoss' }],
    ['no tar', { blob: gzipSync(Buffer.alloc(2000, 'x')), diffId: digestOfBytes(Buffer.alloc(2000, 'x')) }, { code: 'TAR_INVALID' }],
    [
      'not even gzip',
      { blob: Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, ...Buffer.alloc(100, 0xff)]), diffId: other },
      { code: 'ARCHIVE_DAMAGED' },
    ],
    [
      'a way out',
      { blob: writeTar([tarFile('../../etc/passwd', 'x')]), diffId: digestOfBytes(writeTar([tarFile('../../etc/passwd', 'x')])) },
      { code: 'TAR_UNSAFE', message: /\.\./ },
    ],
  ];
  for (const [name, bad, expected] of cases) {
    putImage(repository, [{ mediaType: MediaType.ociLayerGzip, ...bad }], { tag: 'bad' });
    await refused(store, repository, expected).catch((error: unknown) => assert.fail(`${name}: ${error}`));
  }
});

test('a bomb is not unpacked', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  putImage(repository, [layer([tarFile('zeros', Buffer.alloc(64 * 1024 * 1024))])], { tag: 'bad' });
  await refused(
    store,
    repository,
    { code: 'LAYER_TOO_LARGE', kind: 'InvalidArgument', message: /^layer 1 of/ },
    { maxPlainBytes: 8 * 1024 * 1024 },
  );
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('one bad layer stops the others, and they are gone on with when it is mended', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const many = Array.from({ length: 8 }, (_, index) => layer([tarFile(`file${index}`, Buffer.alloc(50_000, index))]));
  const image = putImage(repository, many, { tag: '1' });
  const bad = image.layers[2]?.digest ?? '';
  repository.faults.set(bad, [
    // biome-ignore lint/correctness/useYield: it fails at once
    async function* () {
      throw new EngineError('Denied', 'DENIED', 'not for you');
    },
  ]);
  const puller = new ImagePuller({ store });
  await assert.rejects(puller.pull(repository, request('registry.example/team/web:1')), { code: 'DENIED' });
  assert.deepEqual(await visible(store), []);
  assert.equal(existsSync(join(store.paths.root, 'downloads', bad.slice('sha256:'.length))), false);
  const { image: record } = await puller.pull(repository, request('registry.example/team/web:1'));
  assert.equal((await store.trees.stat(record.tree)).files, 8);
});

test('a layer that comes damaged is told with its image, and the next pull asks for nothing else', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  const image = putImage(repository, [small(), layer([tarFile('second', Buffer.alloc(50_000, 2))])], { tag: '1' });
  const [first = assert.fail(), second = assert.fail()] = image.layers;
  const damaged = async function* (bytes: Buffer) {
    // Not before the other one has come.
    while (!(await store.blobs.has(first.digest))) await new Promise((resolve) => setTimeout(resolve, 5));
    yield bytes.subarray(0, 100);
    throw new EngineError('DataLoss', 'BLOB_DIGEST_MISMATCH', 'what r gives for sha256:… is not that');
  };
  repository.faults.set(second.digest, [damaged, damaged]);
  const puller = new ImagePuller({ store });
  await assert.rejects(puller.pull(repository, request('registry.example/team/web:1')), (error: EngineError) => {
    assert.equal(error.code, 'BLOB_DIGEST_MISMATCH');
    assert.match(error.message, /^layer 2 of registry\.example\/team\/web:1 from registry\.example\/team\/web is damaged: /);
    assert.match(error.hint ?? '', /Pull again/);
    return true;
  });
  assert.equal(repository.reads(second.digest).length, 2);
  repository.asked.length = 0;
  await puller.pull(repository, request('registry.example/team/web:1'));
  assert.deepEqual([repository.reads(first.digest).length, repository.reads(second.digest)], [0, [`blob ${second.digest} from 0`]]);
});

test('what was pulled is made ready to run, unless it is for another platform; the pull does not depend on it', async () => {
  await using store = await openStoreForTest();
  const repository = new FakeRepository();
  putImage(repository, [small()], { tag: '1' });
  putImage(repository, [layer([tarFile('file', 'other')])], { tag: 'far', config: { architecture: 's390x' } });
  const projected: string[] = [];
  const failures: string[] = [];
  const puller = new ImagePuller({
    store,
    project: async (tree) => {
      projected.push(tree);
      throw new Error('no space for it');
    },
    onError: (error, what) => failures.push(`${what}: ${(error as Error).message}`),
  });
  const { image } = await puller.pull(repository, request('registry.example/team/web:1'));
  assert.deepEqual([projected, failures], [[image.tree], ['registry.example/team/web:1: no space for it']]);
  await puller.pull(repository, request('registry.example/team/web:far'));
  assert.equal(projected.length, 1);
});
