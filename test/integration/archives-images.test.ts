import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { type ByteString, toBytes } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Store } from '../../src/store/port.ts';
import { ArchiveService } from '../../src/transport/archives/service.ts';
import { readTar, tarFile, tarMember, writeTar } from '../contracts/tar.ts';
import { openStoreForTest } from '../support/store.ts';
import { transportParts } from '../support/transport.ts';

const skip = process.getuid?.() !== 0 && 'needs root';
const hex = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const digest = (bytes: Uint8Array) => `sha256:${hex(bytes)}`;
const json = (value: unknown) => Buffer.from(JSON.stringify(value));

let folder = '';
let store: Store;
let archives: ArchiveService;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-images-'));
  store = await openStoreForTest();
  archives = new ArchiveService(transportParts(store));
});
after(async () => {
  await store[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** Two layers: the second changes, adds and deletes. */
const lower = writeTar([
  { member: tarMember('etc/', { type: 'directory', mode: 0o755 }) },
  tarFile('etc/motd', 'one\n'),
  tarFile('etc/gone', ''),
  tarFile('bin', 'binary', { mode: 0o755, mtimeNsec: 5 }),
  { member: tarMember('bin2', { type: 'link', linkTarget: 'bin' as ByteString }) },
]);
const upper = writeTar([tarFile('etc/motd', 'two\n'), tarFile('etc/.wh.gone', '')]);
const merged = ['./', 'bin', 'bin2', 'etc/', 'etc/motd'];

function configOf(layers: Buffer[], over = {}): Buffer {
  return json({
    architecture: 'amd64',
    os: 'linux',
    created: '2024-01-02T03:04:05Z',
    config: { Cmd: ['/bin'], Env: ['A=1'], Labels: { x: 'y' } },
    rootfs: { type: 'layers', diff_ids: layers.map(digest) },
    history: [{ created_by: 'first' }, { created_by: 'nothing', empty_layer: true }, { created_by: 'second' }],
    extra: { kept: 'in the blob' },
    ...over,
  });
}

/** As `docker save` wrote it before 25: a folder a layer, one of them only a link. */
function oldDockerArchive(tag: string, layers = [lower, upper], config = configOf(layers)): Buffer {
  const ids = layers.map((layer) => hex(Buffer.concat([layer, Buffer.from('id')])));
  const members = layers.flatMap((layer, index) => [
    { member: tarMember(`${ids[index]}/`, { type: 'directory', mode: 0o755 }) },
    tarFile(`${ids[index]}/VERSION`, '1.0'),
    tarFile(`${ids[index]}/layer.tar`, layer),
  ]);
  const linked = 'f'.repeat(64);
  return writeTar([
    ...members,
    { member: tarMember(`${linked}/layer.tar`, { type: 'symlink', linkTarget: `../${ids[0]}/layer.tar` as ByteString }) },
    tarFile(`${hex(config)}.json`, config),
    tarFile(
      'manifest.json',
      json([
        { Config: `${hex(config)}.json`, RepoTags: [tag], Layers: [`${linked}/layer.tar`, ...ids.slice(1).map((id) => `${id}/layer.tar`)] },
      ]),
    ),
    tarFile('repositories', json({})),
  ]);
}

type OciLayer = { bytes: Buffer; mediaType: string };
function ociArchive(layers: OciLayer[], config: Buffer, annotations: Record<string, string>): { tar: Buffer; manifest: Buffer } {
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digest(config), size: config.length },
    layers: layers.map(({ bytes, mediaType }) => ({ mediaType, digest: digest(bytes), size: bytes.length })),
    annotations: { 'org.example.kept': 'yes' },
  });
  const platform = { os: 'linux', architecture: 'amd64' };
  const entry = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digest(manifest), size: manifest.length };
  const other = { ...entry, digest: `sha256:${'9'.repeat(64)}`, platform: { os: 'linux', architecture: 's390x' } };
  const nested = json({ schemaVersion: 2, manifests: [other, { ...entry, platform }] });
  const index = json({
    schemaVersion: 2,
    manifests: [{ mediaType: 'application/vnd.oci.image.index.v1+json', digest: digest(nested), size: nested.length, annotations }],
  });
  const blobs = [manifest, nested, config, ...layers.map(({ bytes }) => bytes)];
  const tar = writeTar([
    tarFile('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    tarFile('index.json', index),
    ...blobs.map((blob) => tarFile(`blobs/sha256/${hex(blob)}`, blob)),
  ]);
  return { tar, manifest };
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

async function exported(tree: string): Promise<string[]> {
  return readTar(await collect(archives.exportTree(tree))).map(({ member }) => member.name);
}

function filesOf(tar: Buffer): Map<string, Buffer> {
  return new Map(readTar(tar).map(({ member, content }) => [member.name, content]));
}

test('a docker archive of the old layout loads, merged into one tree, named, with its history', async () => {
  const [loaded] = await archives.load(file('old.tar', oldDockerArchive('web:1')));
  assert.deepEqual(loaded?.references, ['web:1']);
  const image = await store.images.resolve('web:1');
  assert.equal(image.id, loaded?.image.id);
  assert.deepEqual(image.config.config, { Cmd: ['/bin'], Env: ['A=1'], Labels: { x: 'y' } });
  assert.equal(image.history.length, 3);
  assert.deepEqual(await exported(image.tree), merged);
  assert.equal((await store.trees.readFile(image.tree, toBytes('etc/motd'))).toString(), 'two\n');
});

test('what was loaded is saved again with the same config, layers and manifest', async () => {
  const config = configOf([lower, upper]);
  await archives.load(file('first.tar', oldDockerArchive('again:1')));
  const saved = await collect(archives.save(['again:1'], { format: 'docker' }));
  const files = filesOf(saved);
  const [entry] = JSON.parse(files.get('manifest.json')?.toString() ?? '');
  assert.equal(entry.Config, `blobs/sha256/${hex(config)}`);
  assert.deepEqual(entry.RepoTags, ['again:1']);
  assert.deepEqual(
    entry.Layers,
    [lower, upper].map((layer) => `blobs/sha256/${hex(layer)}`),
  );
  assert.ok(files.get(entry.Config)?.equals(config));
  await archives.load(file('second.tar', saved));
  assert.ok((await collect(archives.save(['again:1'], { format: 'docker' }))).equals(saved), 'a round trip changes no byte');
});

for (const [name, outer] of [
  ['plain', (tar: Buffer) => tar],
  ['gzip', gzipSync],
  ['zstd', zstdCompressSync],
] as const) {
  test(`an OCI archive (${name}) with gzip and zstd layers and a nested index keeps its manifest digest`, async () => {
    const config = configOf([lower, upper], { author: name });
    const { tar, manifest } = ociArchive(
      [
        { bytes: gzipSync(lower), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' },
        { bytes: zstdCompressSync(upper), mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd' },
      ],
      config,
      { 'io.containerd.image.name': `ghcr.io/acme/${name}:7`, 'org.opencontainers.image.ref.name': '7' },
    );
    const [loaded] = await archives.load(file(`oci-${name}`, outer(tar)));
    assert.deepEqual(loaded?.references, [`ghcr.io/acme/${name}:7`]);
    assert.equal(loaded?.image.origin?.manifestDigest, digest(manifest));
    assert.deepEqual(await exported(loaded?.image.tree ?? ''), merged);
    const files = filesOf(await collect(archives.save([`ghcr.io/acme/${name}:7`], { format: 'oci' })));
    assert.ok(files.get(`blobs/sha256/${hex(manifest)}`)?.equals(manifest));
    assert.equal(JSON.parse(files.get('index.json')?.toString() ?? '').manifests[0].digest, digest(manifest));
    assert.ok(!files.has('manifest.json'));
  });
}

test('several images in one archive share their blobs, and an image with two names has both', async () => {
  await archives.load(file('a.tar', oldDockerArchive('share/a:1')));
  await archives.load(file('b.tar', oldDockerArchive('share/b:1', [lower], configOf([lower], { history: [{ created_by: 'x' }] }))));
  await store.images.tag('share/c:2', (await store.images.resolve('share/a:1')).id);
  const saved = await collect(archives.save(['share/a:1', 'share/b:1', 'share/c:2'], { format: 'docker' }));
  const names = readTar(saved).map(({ member }) => member.name as string);
  assert.equal(names.filter((name) => name === `blobs/sha256/${hex(lower)}`).length, 1);
  const entries = JSON.parse(filesOf(saved).get('manifest.json')?.toString() ?? '');
  assert.deepEqual(
    entries.map((entry: { RepoTags: string[] }) => entry.RepoTags),
    [['share/a:1', 'share/c:2'], ['share/b:1']],
  );
  const loaded = await archives.load(file('both.tar', saved));
  assert.deepEqual(
    loaded.map(({ references }) => references),
    [['share/a:1', 'share/c:2'], ['share/b:1']],
  );
});

test('an image by its id is saved without a name', async () => {
  await archives.load(file('id.tar', oldDockerArchive('byid:1')));
  const { id } = await store.images.resolve('byid:1');
  const files = filesOf(await collect(archives.save([id], { format: 'docker' })));
  assert.equal(JSON.parse(files.get('manifest.json')?.toString() ?? '')[0].RepoTags, null);
  await assert.rejects(collect(archives.save(['missing:1'], { format: 'docker' })), { code: 'IMAGE_NOT_FOUND' });
});

test('an imported root is an image; saved, it is one layer, the same bytes each time', async () => {
  const root = writeTar([{ member: tarMember('./', { type: 'directory', mode: 0o755 }) }, tarFile('./hello', 'hi', { mode: 0o755 })]);
  const image = await archives.importRoot(file('root.tar.gz', gzipSync(root)), {
    reference: 'imported',
    changes: ['CMD ["/hello"]', 'ENV B=2'],
    message: 'by hand',
  });
  assert.equal((await store.images.resolve('imported:latest')).id, image.id);
  assert.deepEqual(image.config.config?.Cmd, ['/hello']);
  assert.equal(image.history[0]?.comment, 'by hand');
  const saved = await collect(archives.save(['imported'], { format: 'docker' }));
  assert.ok((await collect(archives.save(['imported'], { format: 'docker' }))).equals(saved));
  const files = filesOf(saved);
  const [entry] = JSON.parse(files.get('manifest.json')?.toString() ?? '');
  const config = JSON.parse(files.get(entry.Config)?.toString() ?? '');
  assert.deepEqual(config.rootfs.diff_ids.length, 1);
  assert.equal(config.history.filter((item: { empty_layer?: boolean }) => item.empty_layer !== true).length, 1);
  const [back] = await archives.load(file('imported.tar', saved));
  assert.equal(back?.image.tree, image.tree);
  await assert.rejects(archives.importRoot(file('r2', root), { changes: ['RUN x'] }), { code: 'CHANGE_INVALID' });
  await assert.rejects(archives.importRoot(file('r3', root), { reference: 'Bad:name' }), { code: 'REFERENCE_INVALID' });
});

test('damaged, truncated and strange archives are refused, and nothing of them stays', async () => {
  const imagesBefore = (await store.images.list()).length;
  const sound = oldDockerArchive('damaged:1');
  const flip = (needle: Buffer) => {
    const copy = Buffer.from(sound);
    const at = copy.indexOf(needle);
    assert.ok(at > 0);
    copy[at] = 'X'.charCodeAt(0);
    return copy;
  };
  const config = configOf([lower, upper]);
  const oci = (over: Record<string, unknown>, blob = Buffer.alloc(0)) =>
    writeTar([
      tarFile(`blobs/sha256/${hex(blob)}`, blob),
      tarFile('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
      tarFile('index.json', json({ schemaVersion: 2, manifests: [], ...over })),
    ]);
  const stored = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digest(json({})), size: 2, bytes: json({}) };
  const missing = { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: `sha256:${'1'.repeat(64)}`, size: 10 };
  const cases: [name: string, bytes: Buffer, code: string, why: RegExp][] = [
    ['cut', sound.subarray(0, sound.length - 3000), 'TAR_TRUNCATED', /ends|end marker/],
    ['cut-gz', gzipSync(sound).subarray(0, 500), 'ARCHIVE_TRUNCATED', /ends too early/],
    ['text', Buffer.from('hello, this is not a tar at all'.repeat(50)), 'TAR_INVALID', /not a tar/],
    ['empty', Buffer.alloc(0), 'TAR_TRUNCATED', /empty/],
    ['root-tar', lower, 'ARCHIVE_INVALID', /neither manifest\.json/],
    ['layer', flip(Buffer.from('two\n')), 'LAYER_DAMAGED', /layer 2 of damaged:1 is damaged: expected sha256:.* read sha256:/],
    ['layer-header', flip(Buffer.from('etc/motd')), 'BLOB_DAMAGED', /layer 1 of damaged:1 is damaged: expected sha256:.* read sha256:/],
    ['config', flip(Buffer.from('"Labels":{"x"').subarray(0, 9)), 'BLOB_DAMAGED', /config of damaged:1/],
    ['manifest', writeTar([tarFile('manifest.json', '{"a"')]), 'DOCUMENT_INVALID', /manifest\.json of the archive is not JSON/],
    [
      'no-config',
      writeTar([tarFile('manifest.json', json([{ Config: 'x.json', RepoTags: [], Layers: [] }]))]),
      'ARCHIVE_INVALID',
      /"x\.json" is missing/,
    ],
    [
      'count',
      writeTar([tarFile('c.json', config), tarFile('manifest.json', json([{ Config: 'c.json', RepoTags: ['x:1'], Layers: ['c.json'] }]))]),
      'ARCHIVE_INVALID',
      /lists 1 layers, but its config 2/,
    ],
    ['oci-none', oci({}), 'ARCHIVE_INVALID', /no image/],
    ['oci-size', oci({ manifests: [{ ...stored, size: 10 }] }, stored.bytes), 'ARCHIVE_INVALID', /has 2 bytes, its descriptor says 10/],
    ['oci-missing', oci({ manifests: [missing] }), 'ARCHIVE_INVALID', /blobs\/sha256\/1111.* is missing/],
    ['oci-both', oci({ layers: [] }), 'DOCUMENT_INVALID', /different images/],
    ['bad-tag', oldDockerArchive('UPPER:1'), 'REFERENCE_INVALID', /lower case/],
  ];
  for (const [name, bytes, code, why] of cases) {
    await assert.rejects(archives.load(file(name, bytes)), (error: unknown) => {
      assert.ok(error instanceof EngineError, `${name}: ${error}`);
      assert.equal(error.code, code, `${name}: ${error.message}`);
      assert.match(error.message, why);
      return true;
    });
  }
  assert.equal((await store.images.list()).length, imagesBefore);
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('a cancelled load, save and export leave no temporary files', async () => {
  const cancel = new AbortController();
  const big = writeTar([tarFile('big', Buffer.alloc(30_000_000, 'x'))]);
  const archive = file('big.tar', oldDockerArchive('big:1', [big], configOf([big], { history: [] })));
  const loading = archives.load(archive, { signal: cancel.signal, onProgress: () => cancel.abort() });
  await assert.rejects(loading, { code: 'CANCELLED' });
  await assert.rejects(store.images.resolve('big:1'), { code: 'IMAGE_NOT_FOUND' });
  assert.deepEqual(readdirSync(store.paths.tmp), []);

  const [loaded] = await archives.load(archive);
  const tree = loaded?.image.tree ?? '';
  for await (const chunk of archives.exportTree(tree)) {
    assert.ok(chunk.length > 0);
    break; // the reader goes away in the middle
  }
  assert.deepEqual(readdirSync(store.paths.tmp), []);
  const signal = AbortSignal.timeout(20);
  await assert.rejects(async () => {
    for await (const _ of archives.exportTree(tree, { signal })) await new Promise((resolve) => setTimeout(resolve, 10));
  });
  for await (const _ of archives.save(['big:1'], { format: 'docker' })) break;
  assert.deepEqual(readdirSync(store.paths.tmp), []);
  await assert.rejects(collect(archives.exportTree('0'.repeat(64))), { code: 'TREE_NOT_FOUND' });
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('skopeo and umoci read what is saved, and what skopeo writes loads', { skip }, async () => {
  await archives.load(file('interop.tar', oldDockerArchive('interop:1')));
  const imported = await archives.importRoot(file('interop-root.tar', lower), { reference: 'interop:root', changes: ['CMD ["/bin"]'] });
  for (const name of ['interop:1', 'interop:root']) {
    const saved = file('saved.tar', await collect(archives.save([name], { format: 'docker' })));
    const run = (command: string, ...args: string[]) =>
      execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    const inspected = JSON.parse(run('skopeo', 'inspect', `docker-archive:${saved}`));
    assert.equal(inspected.Os, 'linux');
    const layout = join(folder, `layout-${name.replace(':', '-')}`);
    run('skopeo', 'copy', '-q', `docker-archive:${saved}`, `oci:${layout}:x`);
    const bundle = `${layout}-bundle`;
    run('umoci', 'unpack', '--image', `${layout}:x`, bundle);
    const rootfs = join(bundle, 'rootfs');
    assert.equal(readFileSync(join(rootfs, 'etc/motd'), 'utf8'), name === 'interop:1' ? 'two\n' : 'one\n');
    assert.equal(existsSync(join(rootfs, 'etc/gone')), name !== 'interop:1');
    run('skopeo', 'inspect', `oci-archive:${file('saved-oci.tar', await collect(archives.save([name], { format: 'oci' })))}`);

    mkdirSync(join(folder, 'skopeo'), { recursive: true });
    for (const [transport, loadedName] of [
      ['docker-archive', 'from-skopeo:1'],
      ['oci-archive', 'from-skopeo:2'],
    ] as const) {
      const target = join(folder, 'skopeo', `${transport}.tar`);
      rmSync(target, { force: true });
      run('skopeo', 'copy', '-q', `docker-archive:${saved}`, `${transport}:${target}:${loadedName}`);
      const [loaded] = await archives.load(target);
      assert.deepEqual(loaded?.references, [loadedName]);
      assert.equal(loaded?.image.tree, (await store.images.resolve(name)).tree, `${name} through ${transport}`);
    }
  }
  assert.ok(imported.id);
});

test('an untar through the service is a tree in the store', async () => {
  const ref = await archives.untar(file('app.tgz', gzipSync(lower)), {
    what: 'app.tgz',
    base: store.trees.empty.id,
    at: toBytes('srv/app'),
  });
  assert.equal((await store.trees.readFile(ref.id, toBytes('srv/app/etc/motd'))).toString(), 'one\n');
  assert.ok(gunzipSync(gzipSync(lower)).equals(lower));
});
