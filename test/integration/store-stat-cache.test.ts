import assert from 'node:assert/strict';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { toBytes } from '../../src/base/bytes.ts';
import { setXattr } from '../../src/kernel/xattr.ts';
import type { Store } from '../../src/store/port.ts';
import { temporaryFolder } from '../support/filesystem.ts';
import { openStoreForTest } from '../support/store.ts';

function makeTree(top: string): void {
  for (const folder of ['a/b', 'c', 'd/e/f']) mkdirSync(join(top, folder), { recursive: true });
  for (const path of ['a/1', 'a/2', 'a/b/3', 'c/4', 'd/e/f/5', 'top']) writeFileSync(join(top, path), `content of ${path}`);
  symlinkSync('1', join(top, 'a/link'));
}

/** Ingests with the cache and without; both must say the same. Gives how many files the cached one read. */
async function ingestBoth(store: Store, path: string, options: object = {}): Promise<{ hashed: number; id: string }> {
  const cached = await store.trees.ingest({ path, statCache: path, ...options });
  const { id } = await store.trees.ingest({ path, ...options });
  assert.equal(cached.id, id);
  return { hashed: cached.hashedFiles, id };
}

/** Past the tick in which a file's times cannot tell a second write. */
const settle = () => sleep(60);

const changes: [name: string, change: (top: string) => void, hashed: number][] = [
  ['nothing', () => {}, 0],
  ['a file of the same size', (top) => writeFileSync(join(top, 'a/1'), 'CONTENT of a/1'), 1],
  [
    'a file of the same size whose mtime was put back',
    (top) => {
      const { atime, mtime } = statSync(join(top, 'a/1'));
      writeFileSync(join(top, 'a/1'), 'CONTENT of a/1');
      utimesSync(join(top, 'a/1'), atime, mtime);
    },
    1,
  ],
  ['only a time', (top) => utimesSync(join(top, 'c/4'), new Date(0), new Date(1000)), 1],
  ['only a mode', (top) => chmodSync(join(top, 'c/4'), 0o600), 1],
  ['only a mode of a folder', (top) => chmodSync(join(top, 'c'), 0o700), 0],
  ['only an attribute', (top) => setXattr(join(top, 'c/4'), 'user.a', toBytes('1')), 1],
  ['only an attribute of a folder', (top) => setXattr(join(top, 'd/e'), 'user.a', toBytes('1')), 0],
  ['a new file', (top) => writeFileSync(join(top, 'd/e/f/6'), 'six'), 1],
  ['a new empty folder', (top) => mkdirSync(join(top, 'd/new')), 0],
  ['a file gone', (top) => rmSync(join(top, 'd/e/f/5')), 0],
  ['a folder gone', (top) => rmSync(join(top, 'd/e'), { recursive: true }), 0],
  ['a renamed file', (top) => renameSync(join(top, 'a/1'), join(top, 'a/0')), 1],
  ['a renamed folder', (top) => renameSync(join(top, 'd/e'), join(top, 'd/g')), 1],
  [
    'a file replaced by another inode',
    (top) => {
      writeFileSync(join(top, 'new'), 'content of top');
      renameSync(join(top, 'new'), join(top, 'top'));
    },
    1,
  ],
  [
    'two files exchanged',
    (top) => {
      renameSync(join(top, 'a/1'), join(top, 'x'));
      renameSync(join(top, 'a/2'), join(top, 'a/1'));
      renameSync(join(top, 'x'), join(top, 'a/2'));
    },
    2,
  ],
  [
    'a file replaced by a folder and a folder by a file',
    (top) => {
      rmSync(join(top, 'top'));
      mkdirSync(join(top, 'top'));
      rmSync(join(top, 'c'), { recursive: true });
      writeFileSync(join(top, 'c'), 'file');
    },
    1,
  ],
  [
    'another link target',
    (top) => {
      rmSync(join(top, 'a/link'));
      symlinkSync('2', join(top, 'a/link'));
    },
    0,
  ],
  ['a second name of a file', (top) => linkSync(join(top, 'a/1'), join(top, 'c/one')), 1],
];

let store: Store;
before(async () => {
  store = await openStoreForTest();
});
after(() => store[Symbol.asyncDispose]());

for (const [name, change, hashed] of changes) {
  test(`with the cache as without it after: ${name}`, async () => {
    using source = temporaryFolder();
    makeTree(source.path);
    await settle();
    await ingestBoth(store, source.path);
    await settle();
    change(source.path);
    await settle();
    assert.equal((await ingestBoth(store, source.path)).hashed, hashed);
    assert.equal((await ingestBoth(store, source.path)).hashed, 0);
  });
}

test('a file written just before the ingest is read again, though its times and size say nothing changed', async () => {
  using source = temporaryFolder();
  for (let round = 0; round < 20; round++) {
    writeFileSync(join(source.path, 'racy'), `round ${round % 10}`);
    const { id } = await store.trees.ingest({ path: source.path, statCache: 'racy' });
    assert.equal((await store.trees.readFile(id, toBytes('racy'))).toString(), `round ${round % 10}`);
  }
});

test('another option makes another cache', async () => {
  using source = temporaryFolder();
  makeTree(source.path);
  await settle();
  const plain = await ingestBoth(store, source.path);
  const owned = await ingestBoth(store, source.path, { owner: { uid: 5, gid: 5 } });
  assert.notEqual(owned.id, plain.id);
  const ignoring = await ingestBoth(store, source.path, { ignore: ['a'] });
  assert.notEqual(ignoring.id, plain.id);
});

test('a damaged cache is not believed', async () => {
  using source = temporaryFolder();
  makeTree(source.path);
  await settle();
  await using store = await openStoreForTest();
  const { id } = await ingestBoth(store, source.path);
  const file = join(store.paths.statCache, readdirSync(store.paths.statCache)[0] ?? '');
  const good = readFileSync(file);
  for (const at of [20, 60, 150, good.length - 3]) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 0x40;
    writeFileSync(file, bad);
    const again = await store.trees.ingest({ path: source.path, statCache: source.path });
    assert.deepEqual([again.id, again.hashedFiles], [id, 6]);
  }
  truncateSync(file, 40);
  assert.equal((await ingestBoth(store, source.path)).hashed, 6);
});

test('an object that the store has lost is read from the folder again', async () => {
  using source = temporaryFolder();
  makeTree(source.path);
  await settle();
  const cacheOf = (store: Store) => join(store.paths.statCache, readdirSync(store.paths.statCache)[0] ?? '');
  await using store = await openStoreForTest();
  const { id } = await ingestBoth(store, source.path);
  // Another store with the same cache has neither nodes nor objects.
  await using other = await openStoreForTest();
  writeFileSync(join(other.paths.statCache, cacheOf(store).split('/').at(-1) ?? ''), readFileSync(cacheOf(store)));
  const again = await other.trees.ingest({ path: source.path, statCache: source.path });
  assert.deepEqual([again.id, again.hashedFiles], [id, 6]);
  assert.equal((await other.trees.readFile(again.id, toBytes('a/b/3'))).toString(), 'content of a/b/3');
});

test('adopted times do not leak into the cache', async () => {
  using source = temporaryFolder();
  makeTree(source.path);
  await settle();
  const first = await store.trees.ingest({ path: source.path, statCache: 'c' });
  await settle();
  utimesSync(join(source.path, 'a/1'), new Date(0), new Date(5000));
  await settle();
  const adopted = await store.trees.ingest({ path: source.path, statCache: 'c', adopt: first.id });
  assert.equal(adopted.id, first.id);
  // The directories of the tree that was not adopted were never stored: they are encoded when they are needed.
  const own = await store.trees.ingest({ path: source.path, statCache: 'c' });
  assert.equal(own.hashedFiles, 0);
  assert.equal((await store.trees.lookup(own.id, toBytes('a/1')))?.mtimeSec, 5);
  assert.equal(own.id, (await store.trees.ingest({ path: source.path })).id);
});
