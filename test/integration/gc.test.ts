import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { StoreCollector } from '../../src/gc/collector.ts';
import { History } from '../../src/gc/history.ts';
import { defaultPolicy, type GcPolicy } from '../../src/gc/policy.ts';
import type { GcRooms, PlannedItem, Surroundings } from '../../src/gc/port.ts';
import { type Hex, sha256 } from '../../src/oci/digest.ts';
import type { TreeRef } from '../../src/store/model.ts';
import type { ImageRecord, Store } from '../../src/store/port.ts';
import { openStoreForTest } from '../support/store.ts';

const eager: GcPolicy = {
  ...defaultPolicy,
  minAgeMs: 0,
  share: 1,
  images: { keepLast: 0, keepUsedWithinMs: 0, keep: [], keepLabels: [] },
  buildCache: { keepUsedWithinMs: 0 },
};
const nothing: Surroundings = { trees: [], images: [], items: [] };

test('a plan is done exactly, but for what was used since', async () => {
  await using store = await openStoreForTest();
  const collector = collectorOf(store);
  const [first, second] = [
    await image(store, 'one:1', { a: 'only in one', s: 'shared' }),
    await image(store, 'two:1', { b: 'two', s: 'shared' }),
  ];
  await image(store, 'three:1', { c: 'made after the plan' });
  const plan = await collector.plan({ wantedBytes: 1e15 });
  assert.deepEqual(names(plan.items), ['one:1', 'three:1', 'two:1']);
  assert.equal(plan.bytes, 4 * 4096, 'what two of them share is counted once');
  assert.ok(plan.missingBytes > 0);
  const late = await image(store, 'late:1', { d: 'not in the plan' });
  await store.uses.touch('image', second.id);

  const collection = await collector.run({ planId: plan.id, cause: 'asked' });
  assert.deepEqual(names(collection.removed), ['one:1', 'three:1']);
  assert.deepEqual(collection.left, [
    { kind: 'image', id: second.id, name: 'docker.io/library/two:1', reason: 'it was used since the plan was made' },
  ]);
  assert.equal(collection.sweep.objects, 2, 'the shared one stays with the second');
  await assert.rejects(store.images.resolve(first.id), code('IMAGE_NOT_FOUND'));
  for (const { tree } of [second, late])
    assert.equal((await store.trees.readFile(tree, (tree === second.tree ? 'b' : 'd') as ByteString)).length > 0, true);
  await assert.rejects(collector.run({ planId: plan.id, cause: 'asked' }), code('PLAN_NOT_FOUND'));
  assert.deepEqual(
    (await collector.history()).map(({ planId }) => planId),
    [plan.id],
  );
});

test('results of builds go with their keys; one that was hit since stays', async () => {
  await using store = await openStoreForTest();
  const collector = collectorOf(store);
  const keys = [sha256('a'), sha256('b')] as Hex[];
  for (const [index, key] of keys.entries()) {
    await using lease = await store.leases.acquire({ purpose: 'test' });
    await store.actions.put(key, { tree: await treeOf(store, { f: `result ${index}` }, lease), detail: { costMs: 1000 * (index + 1) } });
  }
  const plan = await collector.plan({ wantedBytes: 1e15 });
  assert.deepEqual(
    plan.items.map(({ kind, remake }) => [kind, remake]),
    [
      ['result', 'the step runs again'],
      ['result', 'the step runs again'],
    ],
  );
  await store.uses.touch('action', keys[0] as string);
  await store.images.list();
  const { removed, left } = await collector.run({ planId: plan.id, cause: 'asked' });
  assert.deepEqual([removed.length, left.length], [1, 1]);
  assert.notEqual(await store.actions.get(keys[0] as Hex), undefined);
  assert.equal(await store.actions.get(keys[1] as Hex), undefined);
});

test('what containers use stays, and a plan that cannot free enough says who holds the rest', async () => {
  await using store = await openStoreForTest();
  const used = await image(store, 'used:1', { a: 'x'.repeat(10_000) });
  await image(store, 'idle:1', { b: 'y' });
  const collector = collectorOf(store, { ...nothing, images: [{ id: used.id, by: 'container web' }] });
  const plan = await collector.plan({ wantedBytes: 1e15 });
  assert.deepEqual(names(plan.items), ['idle:1']);
  assert.deepEqual(
    plan.kept.map(({ name, bytes, reason }) => ({ name, bytes, reason })),
    [{ name: 'docker.io/library/used:1', bytes: 12_288, reason: 'container web uses it' }],
  );
});

test('blobs that nothing names go, those of images stay, and one that somebody just looked for stays too', async () => {
  const root = mkdtempSync(join(tmpdir(), 'slipway-gc-'));
  try {
    const [named, unnamed] = await inStore(root, async (store) => {
      const put = async (text: string) => (await store.blobs.put(chunks(text))).digest;
      const digests = [await put('named'), await put('unnamed')] as const;
      const [manifest] = digests;
      const record = await image(store, 'a:1', { f: 'x' });
      await store.images.setOrigin(record.id, { manifestDigest: manifest, manifestMediaType: 'm', configDigest: manifest, layers: [] });
      assert.equal((await store.sweeper.sweep()).blobs, 0, 'both were put just now');
      const hourAgo = Date.now() / 1000 - 3600;
      for (const digest of digests) utimesSync(store.blobs.path(digest), hourAgo, hourAgo);
      assert.equal((await store.sweeper.sweep()).blobs, 0, 'somebody may be about to name them');
      return digests;
    });
    await inStore(root, async (store) => {
      assert.equal((await store.sweeper.sweep()).blobs, 1);
      assert.deepEqual([await store.blobs.has(named), await store.blobs.has(unnamed)], [true, false]);
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('the trees of each platform, and all that an index names, live with their image', async () => {
  const root = mkdtempSync(join(tmpdir(), 'slipway-gc-'));
  try {
    const { trees, layer } = await inStore(root, async (store) => {
      const put = async (document: unknown) => (await store.blobs.put(chunks(JSON.stringify(document)))).digest;
      const made: TreeRef[] = [];
      await using lease = await store.leases.acquire({ purpose: 'test' });
      for (const name of ['amd64', 'arm64']) made.push(await treeOf(store, { f: name }, lease));
      const [own, foreign] = made as [TreeRef, TreeRef];
      const statement = await put({ statement: 'about it' });
      const config = await put({ os: 'linux' });
      const manifest = await put({ config: { digest: config }, layers: [{ digest: statement }] });
      const index = await put({ manifests: [{ digest: manifest }] });
      const platform = await store.images.describe({ config: { os: 'linux', architecture: 'arm64' }, tree: foreign });
      await store.images.create({
        config: { os: 'linux', architecture: 'amd64' },
        tree: own,
        origin: {
          manifestDigest: manifest,
          manifestMediaType: 'm',
          configDigest: config,
          layers: [],
          index: { digest: index, mediaType: 'i' },
        },
        platforms: [platform],
      });
      const hourAgo = Date.now() / 1000 - 3600;
      for (const digest of [statement, config, manifest, index]) utimesSync(store.blobs.path(digest), hourAgo, hourAgo);
      return { trees: made, layer: statement };
    });
    await inStore(root, async (store) => {
      assert.deepEqual(await store.sweeper.sweep(), { trees: 0, nodes: 0, objects: 0, blobs: 0, bytes: 0 });
      for (const { id } of trees) assert.ok((await store.trees.readFile(id, 'f' as ByteString)).length > 0);
      assert.equal(await store.blobs.has(layer), true);
      const plan = await collectorOf(store).plan({ wantedBytes: 1e15 });
      assert.deepEqual(
        plan.items.map(({ kind }) => kind),
        ['image'],
      );
      assert.equal(plan.bytes, 6 * 4096, 'two files and four documents');
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

async function inStore<T>(root: string, work: (store: Store) => Promise<T>): Promise<T> {
  await using store = await openStoreForTest({ root });
  return await work(store);
}

function collectorOf(store: Store, surroundings: Surroundings = nothing): StoreCollector {
  const rooms: GcRooms = { surroundings: async () => surroundings, remove: async (item: PlannedItem) => `no ${item.kind} was expected` };
  return new StoreCollector({ store, rooms, policy: eager, history: new History(join(store.paths.root, 'gc/history.ndjson')) });
}

async function image(store: Store, tag: string, files: Record<string, string>): Promise<ImageRecord> {
  await using lease = await store.leases.acquire({ purpose: 'test' });
  const record = await store.images.create({ config: { os: 'linux', architecture: 'amd64' }, tree: await treeOf(store, files, lease) });
  await store.images.tag(tag, record.id);
  return record;
}

async function treeOf(
  store: Store,
  files: Record<string, string>,
  lease: Awaited<ReturnType<Store['leases']['acquire']>>,
): Promise<TreeRef> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-gc-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    const { id, content } = await store.trees.ingest({ path: folder }, { lease });
    return { id, content };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function* chunks(text: string): AsyncIterable<Uint8Array> {
  yield Buffer.from(text);
}

function names(items: readonly { kind: string; name: string }[]): string[] {
  return items
    .filter(({ kind }) => kind === 'image')
    .map(({ name }) => name.replace('docker.io/library/', ''))
    .sort();
}

function code(expected: string) {
  return (error: unknown) => error instanceof EngineError && error.code === expected;
}
