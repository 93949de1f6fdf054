import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Hex } from '../../src/oci/digest.ts';
import { EntryType, type TreeId, type TreeRef } from '../../src/store/model.ts';
import { objectPath } from '../../src/store/paths.ts';
import type { ImageRecord, Lease, Store } from '../../src/store/port.ts';
import { openStoreForTest } from '../support/store.ts';

test('what nothing refers to goes, what something refers to stays', async () => {
  await using store = await openStoreForTest();
  using folder = temporary({ 'a/one': 'one', 'a/two': 'two', 'b/shared': 'shared' });
  using other = temporary({ 'c/three': 'three', 'b/shared': 'shared' });
  const first = await image(store, folder.path, 'first:1');
  const second = await image(store, other.path, 'second:1');
  const before = objects(store).length;
  assert.equal((await store.sweeper.sweep()).objects, 0, 'both are images');

  await store.images.remove(first.id, { force: true });
  const swept = await store.sweeper.sweep();
  assert.equal(swept.trees, 1);
  assert.equal(swept.objects, 2, 'what they share stays');
  assert.ok(swept.bytes >= 2 * 512);
  assert.equal(objects(store).length, before - 2);
  await assertWhole(store, second.tree);
  await assert.rejects(store.trees.get(first.tree), code('TREE_NOT_FOUND'));
});

test('leases, results of builds, layers and given trees keep what they name', async () => {
  await using store = await openStoreForTest();
  using folder = temporary({ file: 'x' });
  await using lease = await store.leases.acquire({ purpose: 'test' });
  const leased = await ingest(store, folder.path, lease);
  writeFileSync(join(folder.path, 'file'), 'y');
  const kept = await inLease(store, (own) => ingest(store, folder.path, own));
  writeFileSync(join(folder.path, 'file'), 'z');
  const result = await inLease(store, (own) => ingest(store, folder.path, own));
  await store.actions.put('ab'.repeat(32) as Hex, { tree: result });

  const swept = await store.sweeper.sweep({ kept: async () => [kept.id] });
  assert.deepEqual({ trees: swept.trees, objects: swept.objects }, { trees: 0, objects: 0 });
  for (const tree of [leased, kept, result]) await assertWhole(store, tree.id);

  await lease.release();
  assert.equal((await store.sweeper.sweep()).trees, 2, 'the leased and the given one');
  await assertWhole(store, result.id);
});

test('a lease on an image keeps its tree when the image is removed', async () => {
  await using store = await openStoreForTest();
  using folder = temporary({ file: 'x' });
  const record = await image(store, folder.path, 'a:1');
  await using lease = await store.leases.acquire({ purpose: 'push' });
  await lease.add('image', record.id);
  await store.images.remove(record.id, { force: true });
  assert.equal((await store.sweeper.sweep()).trees, 0);
  await assertWhole(store, record.tree);
});

test('a tree that is gone cannot be leased', async () => {
  await using store = await openStoreForTest();
  using folder = temporary({ file: 'x' });
  const tree = await inLease(store, (own) => ingest(store, folder.path, own));
  await store.sweeper.sweep();
  await using lease = await store.leases.acquire({ purpose: 'test' });
  await assert.rejects(lease.add('tree', tree.id), code('TREE_NOT_FOUND'));
});

test('a hidden object that a collection left is there again', async () => {
  await using store = await openStoreForTest();
  using folder = temporary({ file: 'x' });
  const record = await image(store, folder.path, 'a:1');
  const entry = await store.trees.lookup(record.tree, 'file' as ByteString);
  assert.equal(entry?.type, EntryType.file);
  const { renameSync } = await import('node:fs');
  const path = objectPath(store.paths, (entry as { object: Hex }).object);
  renameSync(path, `${path}.gone`);
  await store.sweeper.sweep();
  await assertWhole(store, record.tree);
});

test('sweeps beside builds: nothing that is referred to is missing, and nothing else stays', async () => {
  await using store = await openStoreForTest({ maxJobs: 3 });
  const ended = new AbortController();
  let sweeps = 0;
  const sweeping = (async () => {
    while (!ended.signal.aborted) {
      await store.sweeper.sweep();
      sweeps++;
    }
  })();
  const builder = async (name: string) => {
    using folder = temporary({});
    for (let round = 0; round < 8 || sweeps < 4; round++) {
      fill(folder.path, name, round);
      const record = await image(store, folder.path, `${name}:latest`);
      await assertWhole(store, record.tree);
      if (round % 3 === 0) await store.images.remove(record.id, { force: true }).catch(ignoreGone);
    }
  };
  await Promise.all(['a', 'b', 'c'].map(builder));
  ended.abort();
  await sweeping;
  for (const { record } of await store.images.list()) await assertWhole(store, record.tree);
  for (const { record } of await store.images.list()) await store.images.remove(record.id, { force: true });
  await store.sweeper.sweep();
  assert.deepEqual(objects(store), []);
  assert.deepEqual(await store.sweeper.sweep(), { trees: 0, nodes: 0, objects: 0, blobs: 0, bytes: 0 });
});

/** Some files that others have too, some that come and go. */
function fill(folder: string, name: string, round: number): void {
  for (let i = 0; i < 40; i++) {
    const directory = join(folder, `d${i % 7}`, `e${(i + round) % 3}`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `f${i}`), `${(i * 7 + round) % 30} of all`);
  }
  writeFileSync(join(folder, 'own'), `${name} ${round % 4}`);
}

function ignoreGone(error: unknown): void {
  if (!(error instanceof EngineError) || error.code !== 'IMAGE_NOT_FOUND') throw error;
}

async function image(store: Store, path: string, tag: string): Promise<ImageRecord> {
  return inLease(store, async (lease) => {
    const tree = await ingest(store, path, lease);
    const record = await store.images.create({ config: { os: 'linux', architecture: 'amd64' }, tree });
    await store.images.tag(tag, record.id).catch(ignoreGone);
    return record;
  });
}

async function inLease<T>(store: Store, work: (lease: Lease) => Promise<T>): Promise<T> {
  await using lease = await store.leases.acquire({ purpose: 'test' });
  return await work(lease);
}

async function ingest(store: Store, path: string, lease: Lease): Promise<TreeRef> {
  const { id, content } = await store.trees.ingest({ path }, { lease });
  return { id, content };
}

/** Every node and every object of the tree is there. */
async function assertWhole(store: Store, tree: TreeId): Promise<void> {
  const walk = async (path: string): Promise<void> => {
    for (const entry of await store.trees.list(tree, path as ByteString)) {
      if (entry.type === EntryType.directory) await walk(path === '' ? entry.name : `${path}/${entry.name}`);
      if (entry.type === EntryType.file) assert.equal(statSync(objectPath(store.paths, entry.object)).size, entry.size);
    }
  };
  await walk('');
}

function objects(store: Store): string[] {
  return readdirSync(store.paths.objects).flatMap((prefix) => readdirSync(join(store.paths.objects, prefix)));
}

function temporary(files: Record<string, string>): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), 'slipway-sweep-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, '..'), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

function code(expected: string) {
  return (error: unknown) => error instanceof EngineError && error.code === expected;
}
