import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { type ByteString, toBytes } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { digestOf, parseDigest, sha256 } from '../../src/oci/digest.ts';
import { type Entry, EntryType, type TreeRef } from '../../src/store/model.ts';
import type { Edit, KnownLayer, Store } from '../../src/store/port.ts';
import { ChunkedType, isChunked, isFallback } from '../../src/transport/chunked/port.ts';
import { StoreChunkedForm } from '../../src/transport/chunked/service.ts';
import type { FoundManifest } from '../../src/transport/registry/port.ts';
import { openStoreForTest } from '../support/store.ts';
import { MemoryRepository, makeLayer, noise, push } from './chunked-support.ts';

const path = (text: string) => toBytes(text);
const file = (name: string, data: string | Buffer, meta?: object): Edit => ({
  op: 'file',
  path: path(name),
  data: Buffer.from(data),
  ...(meta === undefined ? {} : { meta }),
});

async function treeOf(store: Store, edits: Edit[], base: TreeRef = store.trees.empty): Promise<TreeRef> {
  return store.trees.edit(base.id, edits);
}

/** A tree with one of everything, and enough small files for several directories, chunks and frames. */
async function someTree(store: Store): Promise<TreeRef> {
  const edits: Edit[] = [
    file('etc/empty', ''),
    file('etc/config', 'line 1\nline 2\n', { mode: 0o4755, uid: 12, gid: 34, mtimeSec: -5, mtimeNsec: 7 }),
    file('etc/capable', 'x', { xattrs: [['security.capability', '\x01\x00\x00\x02' as ByteString]] }),
    file('var/big', noise(3 << 20, 'big')),
    file('var/zeros', Buffer.alloc(1 << 20)),
    file('\xe4\xff name', 'not UTF-8 in a name'),
    { op: 'mkdir', path: path('empty/directory'), meta: { mode: 0o1777 } },
  ];
  for (let i = 0; i < 400; i++)
    edits.push(file(`app/${i % 20}/module-${i}.js`, `exports.value = ${i}; // ${noise(i * 3, `m${i}`).toString('hex')}`));
  const plain = await treeOf(store, edits);
  return withOthers(store, plain);
}

/** What edits cannot make: links, devices, hardlinks. */
async function withOthers(store: Store, base: TreeRef): Promise<TreeRef> {
  const folder = join(store.paths.tmp, 'others');
  mkdirSync(folder);
  const { execFileSync } = await import('node:child_process');
  execFileSync('sh', ['-c', 'ln -s ../etc/config link; echo shared > one; ln one two; mkdir d; ln one d/three; mkfifo fifo'], {
    cwd: folder,
  });
  if (process.getuid?.() === 0) execFileSync('mknod', ['device', 'c', '1', '3'], { cwd: folder });
  const others = await store.trees.ingest({ path: folder });
  return store.trees.merge(base.id, others.id);
}

async function entries(store: Store, tree: TreeRef, at = '' as ByteString): Promise<Entry[]> {
  const all: Entry[] = [];
  for (const entry of await store.trees.list(tree.id, at)) {
    all.push(entry);
    if (entry.type === EntryType.directory)
      all.push(...(await entries(store, tree, (at === '' ? entry.name : `${at}/${entry.name}`) as ByteString)));
  }
  return all;
}

/** Every file's bytes are here and are what the tree says. */
async function assertWhole(store: Store, tree: TreeRef): Promise<void> {
  for (const entry of await entries(store, tree)) {
    if (entry.type !== EntryType.file) continue;
    const bytes = readFileSync(join(store.paths.objects, entry.object.slice(0, 2), entry.object.slice(2)));
    assert.equal(sha256(bytes), entry.object);
    assert.equal(bytes.length, entry.size);
  }
}

type Made = { repository: MemoryRepository; layers: KnownLayer[]; tree: TreeRef; found: FoundManifest };

async function publish(store: Store, tree: TreeRef): Promise<Made> {
  const repository = new MemoryRepository();
  const layers = [await makeLayer(store, undefined, tree)];
  const { found } = await push(store, new StoreChunkedForm(store), repository, tree, layers);
  return { repository, layers, tree, found };
}

/** The next version over what was published, as an adaptive push has it. */
async function publishNext(store: Store, made: Made, tree: TreeRef): Promise<Made & { uploaded: number }> {
  const layers = [...made.layers, await makeLayer(store, made.tree, tree)];
  const { found, uploaded } = await push(store, new StoreChunkedForm(store), made.repository, tree, layers, made.found);
  made.repository.sentBytes = 0;
  made.repository.asked.length = 0;
  return { ...made, layers, tree, found, uploaded };
}

const leftOvers = (store: Store) => readdirSync(store.paths.tmp).filter((name) => name !== 'others');
const fails = (code: string) => (error: unknown) => {
  assert.ok(error instanceof EngineError, String(error));
  assert.equal(error.code, code, error.message);
  return true;
};

test('a pull by chunks brings the tree and all its content', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const { repository, found, tree } = await publish(there, await someTree(there));
  const form = new StoreChunkedForm(here);
  const pulled = await form.pull(repository, found);
  assert.deepEqual(pulled.tree, tree);
  assert.deepEqual(await entries(here, pulled.tree), await entries(there, tree));
  assert.deepEqual((await here.trees.get(tree.id)).hardlinks, (await there.trees.get(tree.id)).hardlinks);
  await assertWhole(here, pulled.tree);
  assert.equal(pulled.bytesReceived, repository.sentBytes);
  assert.equal(sha256(pulled.config), parseDigest(pulled.manifest.config.digest).slice(7));
  assert.deepEqual(leftOvers(here), []);
  assert.deepEqual(readdirSync(join(here.paths.root, 'parts')), []);

  repository.sentBytes = 0;
  assert.deepEqual((await form.pull(repository, found)).tree, tree);
  assert.equal(repository.sentBytes, 0, 'what is here is not fetched again');
});

test('one changed line costs a few kilobytes each way, wherever it is', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const first = await publish(there, await someTree(there));
  await new StoreChunkedForm(here).pull(first.repository, first.found);
  for (const [name, near] of [
    ['app/7/module-7.js', [first.tree.id]],
    ['zz', [first.tree.id]],
  ] as const) {
    const next = await publishNext(there, first, await treeOf(there, [file(name, 'changed')], first.tree));
    assert.ok(next.uploaded < 20_000, `${next.uploaded} bytes were new to the registry`);
    const pulled = await new StoreChunkedForm(here).pull(first.repository, next.found, { near });
    assert.deepEqual(pulled.tree, next.tree);
    assert.ok(pulled.bytesReceived < 20_000, `${pulled.bytesReceived} bytes came`);
    const [base] = first.layers;
    assert.ok(!first.repository.asked.includes(base?.digest ?? '') && !first.repository.asked.includes(base?.table?.digest ?? ''));
    await assertWhole(here, pulled.tree);
  }
});

test('of a large file only the chunks that changed are fetched', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const content = noise(6 << 20, 'large');
  const first = await publish(there, await treeOf(there, [file('data', content)]));
  await new StoreChunkedForm(here).pull(first.repository, first.found);
  const changed = Buffer.concat([content.subarray(0, 3 << 20), Buffer.from('some bytes more'), content.subarray(3 << 20)]);
  // At another path there is no delta: the chunks are found wherever they are.
  const next = await publishNext(there, first, await treeOf(there, [file('moved', changed)]));
  const pulled = await new StoreChunkedForm(here).pull(first.repository, next.found, { near: [first.tree.id] });
  assert.deepEqual(pulled.tree, next.tree);
  assert.ok(pulled.bytesReceived < 700_000, `${pulled.bytesReceived} bytes came`);
  await assertWhole(here, pulled.tree);
});

test('a large file that changed all over comes as a delta to the old one, and without the old one as it is', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  await using fresh = await openStoreForTest();
  const content = noise(12 << 20, 'binary');
  const changed = Buffer.from(content);
  for (let at = 0; at < changed.length; at += 30_000) changed.write('other', at);
  const first = await publish(there, await treeOf(there, [file('program', content)]));
  await new StoreChunkedForm(here).pull(first.repository, first.found);
  const next = await publishNext(there, first, await treeOf(there, [file('program', changed)]));
  const pulled = await new StoreChunkedForm(here).pull(first.repository, next.found, { near: [first.tree.id] });
  assert.deepEqual(pulled.tree, next.tree);
  assert.ok(pulled.bytesReceived < 100_000, `${pulled.bytesReceived} bytes came`);
  await assertWhole(here, pulled.tree);

  const whole = await new StoreChunkedForm(fresh).pull(first.repository, next.found);
  assert.deepEqual(whole.tree, next.tree);
  await assertWhole(fresh, whole.tree);
});

test('of a lock file that changed here and there the changes come, and not the chunks around them', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const lines = Array.from({ length: 6_000 }, (_, at) => `package-${at}: ${noise(24, `hash ${at}`).toString('base64')}`);
  const first = await publish(there, await treeOf(there, [file('lock', lines.join('\n'))]));
  await new StoreChunkedForm(here).pull(first.repository, first.found);
  for (let at = 0; at < lines.length; at += 500) lines[at] = `package-${at}: another one`;
  const next = await publishNext(there, first, await treeOf(there, [file('lock', lines.join('\n'))]));
  const pulled = await new StoreChunkedForm(here).pull(first.repository, next.found, { near: [first.tree.id] });
  assert.deepEqual(pulled.tree, next.tree);
  assert.ok(pulled.bytesReceived < 10_000, `${pulled.bytesReceived} bytes came`);
  await assertWhole(here, pulled.tree);
});

test('a layer that was made elsewhere has no table: it is fetched whole and unpacked', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const repository = new MemoryRepository();
  const tree = await someTree(there);
  const { table: _table, ...foreign } = await makeLayer(there, undefined, tree);
  const changed = await treeOf(there, [file('etc/config', 'changed')], tree);
  repository.blobs.set(foreign.digest, readFileSync(there.blobs.path(foreign.digest)));
  const { found } = await push(there, new StoreChunkedForm(there), repository, changed, [foreign, await makeLayer(there, tree, changed)]);
  const pulled = await new StoreChunkedForm(here).pull(repository, found);
  assert.deepEqual(pulled.tree, changed);
  await assertWhole(here, pulled.tree);
});

test('damaged content is never visible, names the blob, and the next pull is whole', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const { repository, found, layers, tree } = await publish(there, await someTree(there));
  const form = new StoreChunkedForm(here);
  const digest = layers[0]?.digest ?? '';
  repository.spoil = (of, bytes) => {
    if (of === digest) bytes[Math.floor(bytes.length / 2)] = (bytes[Math.floor(bytes.length / 2)] ?? 0) ^ 1;
    return bytes;
  };
  await assert.rejects(form.pull(repository, found), (error) => {
    assert.ok(!isFallback(error), 'the ordinary layers are the same blobs');
    assert.match(String(error), new RegExp(digest));
    return fails('CHUNKED_DAMAGED')(error);
  });
  await assert.rejects(here.trees.get(tree.id));
  assert.deepEqual(leftOvers(here), []);
  repository.spoil = (_digest, bytes) => bytes;
  assert.deepEqual((await form.pull(repository, found)).tree, tree);
  await assertWhole(here, tree);
});

test('a pull that was cut off goes on from what it had', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const { repository, found, layers, tree } = await publish(there, await treeOf(there, [file('data', noise(9 << 20, 'cut'))]));
  const form = new StoreChunkedForm(here);
  let parts = 0;
  repository.spoil = (of, bytes) => {
    if (of === layers[0]?.digest && ++parts > 5) throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'the connection broke');
    return bytes;
  };
  await assert.rejects(form.pull(repository, found), fails('REGISTRY_UNREACHABLE'));
  const before = repository.sentBytes;
  assert.ok(before > 4 << 20, `${before} bytes came before the cut`);
  repository.spoil = (_digest, bytes) => bytes;
  assert.deepEqual((await form.pull(repository, found)).tree, tree);
  assert.ok(repository.sentBytes - before < 5 << 20, `${repository.sentBytes - before} bytes came again`);
});

test('a cancelled pull ends at once and leaves nothing but what the next one goes on from', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const { repository, found, layers, tree } = await publish(there, await treeOf(there, [file('data', noise(4 << 20, 'cancel'))]));
  const form = new StoreChunkedForm(here);
  const abort = new AbortController();
  repository.spoil = (of, bytes) => {
    if (of === layers[0]?.digest) abort.abort();
    return bytes;
  };
  await assert.rejects(form.pull(repository, found, { signal: abort.signal }));
  assert.deepEqual(leftOvers(here), []);
  assert.deepEqual((await form.pull(repository, found)).tree, tree);
});

test('whatever is odd in the form itself asks for the ordinary manifest', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const { repository, found } = await publish(there, await someTree(there));
  const form = new StoreChunkedForm(here);
  const manifest = JSON.parse(found.bytes.toString());
  const changed = (change: (document: typeof manifest) => void): FoundManifest => {
    const document = structuredClone(manifest);
    change(document);
    const bytes = Buffer.from(JSON.stringify(document));
    return { bytes, descriptor: { ...found.descriptor, digest: digestOf(sha256(bytes)), size: bytes.length } };
  };
  const withHead = (bytes: Buffer): FoundManifest => {
    const digest = digestOf(sha256(bytes));
    repository.blobs.set(digest, bytes);
    return changed(({ layers }) => Object.assign(layers[0], { digest, size: bytes.length }));
  };
  const odd: Record<string, FoundManifest> = {
    'a later version': changed((document) => Object.assign(document, { artifactType: 'application/vnd.slipway.image.chunked.v2' })),
    'no head': changed(({ layers }) => layers.shift()),
    'a blob twice': changed(({ layers }) => layers.push(layers[1])),
    'a head of an earlier version': withHead(zstdCompressSync(Buffer.from('SWH\x01'))),
    'a head of a later version': withHead(zstdCompressSync(Buffer.from('SWH\x03'))),
    'a head that is noise': withHead(noise(500, 'head')),
    'a head that ends early': withHead(zstdCompressSync(Buffer.from('SWH\x02\x01'))),
    'a bomb of a head': withHead(zstdCompressSync(Buffer.alloc(300 << 20))),
    'not JSON': { ...found, bytes: Buffer.from('{') },
  };
  for (const [name, one] of Object.entries(odd)) {
    await assert.rejects(form.pull(repository, one), (error) => isFallback(error), name);
  }
  for (const type of [ChunkedType.head, ChunkedType.stream, ChunkedType.table]) {
    const { digest } = manifest.layers.find(({ mediaType }: { mediaType: string }) => mediaType === type);
    const blob = repository.blobs.get(digest) ?? Buffer.alloc(0);
    repository.blobs.delete(digest);
    await assert.rejects(form.pull(repository, found), (error) => isFallback(error), `${type} is missing`);
    repository.blobs.set(digest, Buffer.concat([blob.subarray(0, 100), noise(blob.length - 100, 'x')]));
    await assert.rejects(form.pull(repository, found), (error) => isFallback(error), `${type} is damaged`);
    repository.blobs.set(digest, blob);
  }
  assert.ok((await form.pull(repository, found)).tree);
});

test('a fresh machine learns of the layers from the head, and takes none of their files for present', async () => {
  await using there = await openStoreForTest();
  await using fresh = await openStoreForTest();
  const base = await someTree(there);
  const first = await publish(there, base);
  const next = await publishNext(
    there,
    first,
    await treeOf(there, [file('etc/config', 'new'), { op: 'remove', path: path('var/big') }], base),
  );
  // Built anew on the fresh machine: most files are there.
  const built = await treeOf(fresh, [file('etc/config', 'new'), file('etc/empty', '')]);
  const form = new StoreChunkedForm(fresh);
  const layers = await form.layersOf(first.repository, next.found);
  assert.deepEqual(
    layers.map(({ digest, diffId, sizeBytes, table, implied }) => ({ digest, diffId, sizeBytes, table, implied })),
    next.layers.map(({ digest, diffId, sizeBytes, table, implied }) => ({ digest, diffId, sizeBytes, table, implied })),
  );
  assert.deepEqual(
    layers.map(({ whole }) => whole),
    [false, true],
    'the upper layer has only what was built here',
  );
  for (const layer of layers) await assertWhole(fresh, { id: layer.tree, content: layer.tree });
  assert.equal(layers[1]?.tree, next.layers[1]?.tree);
  const [lower] = layers;
  assert.ok(lower);
  const real = await entries(there, { id: next.layers[0]?.tree ?? base.id, content: base.content });
  const told = await entries(fresh, { id: lower.tree, content: base.content });
  assert.deepEqual(
    told.map(({ name, type, mode, uid }) => ({ name, type, mode, uid })),
    real.map(({ name, type, mode, uid }) => ({ name, type, mode, uid })),
  );
  assert.equal(first.repository.asked.filter((digest) => digest === next.layers[0]?.digest).length, 0);
  await assertWhole(fresh, built);

  // From there it pushes on: the old layer is told as the old head told it.
  const third = await fresh.trees.edit(built.id, [file('etc/more', 'nowhere else')]);
  const over = await makeLayer(fresh, built, third);
  const pushed = await push(fresh, form, first.repository, third, [...layers, over], next.found);
  const again = await new StoreChunkedForm(there).layersOf(first.repository, pushed.found);
  assert.deepEqual(
    again.map(({ digest, whole }) => ({ digest, whole })),
    [...next.layers.map(({ digest }) => ({ digest, whole: true })), { digest: over.digest, whole: false }],
  );
  assert.deepEqual(
    again.slice(0, 2).map(({ tree }) => tree),
    next.layers.map(({ tree }) => tree),
  );
  assert.notEqual(again[2]?.tree, over.tree, 'a tree without its content has a name of its own');

  // With the content at hand the same layer has its own name.
  await new StoreChunkedForm(there).pull(first.repository, (await push(fresh, form, first.repository, third, [])).found);
  const known = await new StoreChunkedForm(there).layersOf(first.repository, pushed.found);
  assert.deepEqual([known[2]?.tree, known[2]?.whole], [over.tree, true]);
});

test('the manifest is of its own kind, lists every blob, and no annotation', async () => {
  await using there = await openStoreForTest();
  const { found, repository, layers } = await publish(there, await someTree(there));
  const document = JSON.parse(found.bytes.toString());
  assert.ok(isChunked(document));
  assert.equal(document.annotations, undefined);
  for (const { digest, size } of document.layers) assert.equal(repository.blobs.get(digest)?.length, size);
  const listed = document.layers.map(({ digest }: { digest: string }) => digest);
  for (const { digest, table } of layers) assert.ok(listed.includes(digest) && listed.includes(table?.digest));
  assert.deepEqual(found.descriptor.platform, { architecture: 'unknown', os: 'unknown' });
});

test('a damaged cache of streams is thrown away', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const first = await publish(there, await someTree(there));
  await new StoreChunkedForm(here).pull(first.repository, first.found);
  const cached = join(here.paths.root, 'streams', first.tree.id);
  const bytes = readFileSync(cached);
  for (const at of [10, 30, 200, bytes.length - 40]) {
    const spoiled = Buffer.from(bytes);
    spoiled[at] = (spoiled[at] ?? 0) ^ 4;
    writeFileSync(cached, spoiled);
    const next = await publishNext(there, first, await treeOf(there, [file('etc/config', `changed ${at}`)], first.tree));
    const pulled = await new StoreChunkedForm(here).pull(first.repository, next.found, { near: [first.tree.id] });
    assert.deepEqual(pulled.tree, next.tree);
    await assertWhole(here, pulled.tree);
  }
  writeFileSync(cached, bytes.subarray(0, 100));
  const next = await publishNext(there, first, await treeOf(there, [file('etc/config', 'cut')], first.tree));
  assert.deepEqual((await new StoreChunkedForm(here).pull(first.repository, next.found, { near: [first.tree.id] })).tree, next.tree);
  assert.ok(existsSync(cached), 'it is made anew');
});

test('pulls of the same blobs at the same time do not disturb each other', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const first = await publish(there, await someTree(there));
  const next = await publishNext(there, first, await treeOf(there, [file('etc/config', 'other')], first.tree));
  const form = new StoreChunkedForm(here);
  const pulled = await Promise.all([first, next, first, next].map(({ found }) => form.pull(first.repository, found)));
  assert.deepEqual(
    pulled.map(({ tree }) => tree),
    [first.tree, next.tree, first.tree, next.tree],
  );
  await assertWhole(here, next.tree);
  assert.deepEqual(readdirSync(join(here.paths.root, 'parts')), []);
});

test('parts that a killed engine was writing are gone on from', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const { repository, found, layers, tree } = await publish(there, await treeOf(there, [file('data', noise(5 << 20, 'killed'))]));
  repository.spoil = (of, bytes) => {
    if (of === layers[0]?.digest && repository.sentBytes > 3 << 20) throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'cut');
    return bytes;
  };
  await assert.rejects(new StoreChunkedForm(here).pull(repository, found));
  // As a kill leaves them: under the names of a job.
  const folder = join(here.paths.root, 'parts');
  const hex = layers[0]?.digest.slice(7) ?? '';
  for (const end of ['', '.ranges']) renameSync(join(folder, `${hex}${end}`), join(folder, `${hex}.dead.job${end}`));
  repository.spoil = (_digest, bytes) => bytes;
  repository.sentBytes = 0;
  assert.deepEqual((await new StoreChunkedForm(here).pull(repository, found)).tree, tree);
  assert.ok(repository.sentBytes < 3 << 20, `${repository.sentBytes} bytes came again`);
  assert.deepEqual(readdirSync(folder), []);
});
