import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { toBytes } from '../../src/base/bytes.ts';
import type { TreeRef } from '../../src/store/model.ts';
import type { Edit, KnownLayer, Store } from '../../src/store/port.ts';
import { ChunkedType } from '../../src/transport/chunked/port.ts';
import { StoreChunkedForm } from '../../src/transport/chunked/service.ts';
import { openStoreForTest } from '../support/store.ts';
import { MemoryRepository, makeLayer, noise, push } from './chunked-support.ts';

const file = (path: string, data: string | Buffer, mtimeSec = 0): Edit => ({
  op: 'file',
  path: toBytes(path),
  data: Buffer.from(data),
  meta: { mtimeSec },
});
const treeOf = (store: Store, edits: Edit[], base: TreeRef = store.trees.empty) => store.trees.edit(base.id, edits);
const text = (name: string, lines: number) =>
  Array.from({ length: lines }, (_, at) => noise(30, `${name} ${at}`).toString('hex')).join('\n');
const count = 24;
const names = Array.from({ length: count }, (_, at) => `package/lib/d${at % 5}/module-${at}.js`);

/** Small files, a bundle with a hash in its name, and what never changes. */
const firstEdits = (mtimeSec = 0): Edit[] => [
  ...names.map((name) => file(name, text(name, 60), mtimeSec)),
  file('package/dist/bundle-3f2a11.js', text('bundle', 1500), mtimeSec),
  ...Array.from({ length: 50 }, (_, at) => file(`other/${at % 5}/${at}`, noise(900, `other ${at}`), mtimeSec)),
];
/** A line in each of the small files; the bundle under another name, changed in one place; a small file that resembles none. */
const nextEdits = (): Edit[] => [
  ...names.map((name) => file(name, `// changed\n${text(name, 60)}`)),
  { op: 'remove', path: toBytes('package/dist/bundle-3f2a11.js') },
  file('package/dist/bundle-9c0d52.js', `${text('bundle', 1500)}\n// changed`),
  file('package/LICENSE', 'do as you like'),
];

type Form = 'both' | 'chunked';

/** Two versions in a repository. */
async function twoVersions(store: Store, form: Form) {
  const repository = new MemoryRepository();
  const first = await treeOf(store, firstEdits());
  const second = await treeOf(store, nextEdits(), first);
  const layers: KnownLayer[] = form === 'both' ? [await makeLayer(store, undefined, first)] : [];
  const one = await push(store, new StoreChunkedForm(store), repository, first, layers);
  const more = form === 'both' ? [...layers, await makeLayer(store, first, second)] : [];
  const two = await push(store, new StoreChunkedForm(store), repository, second, more, one.found);
  const typeOf = new Map(two.build.listed.map(({ digest, mediaType }) => [digest, mediaType]));
  /** Media types of what was asked for since it was last asked. */
  const asked = () => new Set(repository.asked.splice(0).map((digest) => typeOf.get(digest) ?? digest));
  return { repository, first, second, one, two, asked, layers: more };
}

for (const form of ['both', 'chunked'] as const) {
  test(`many small changed files come as a few kilobytes, with no table and no content (${form})`, async () => {
    await using there = await openStoreForTest();
    await using here = await openStoreForTest();
    const { repository, first, second, one, two, asked, layers } = await twoVersions(there, form);
    await new StoreChunkedForm(here).pull(repository, one.found);
    asked();
    const pulled = await new StoreChunkedForm(here).pull(repository, two.found, { near: [first.id] });
    assert.deepEqual(pulled.tree, second);
    assert.ok(pulled.bytesReceived < 8_000, `${pulled.bytesReceived} bytes came`);
    const types = asked();
    assert.ok(types.delete(ChunkedType.delta));
    assert.ok(types.delete(ChunkedType.head));
    assert.deepEqual(
      [...types].filter((type) => !String(type).includes('config')),
      [],
    );

    const again = await push(there, new StoreChunkedForm(there), repository, second, layers, two.found);
    assert.deepEqual(again.found.bytes, two.found.bytes, 'pushed once more it is the same manifest, deltas and all');
  });
}

test('whoever lacks the version before, or its stream, gets the same tree', async () => {
  await using there = await openStoreForTest();
  await using fresh = await openStoreForTest();
  await using forgetful = await openStoreForTest();
  const { repository, second, one, two, asked } = await twoVersions(there, 'both');
  asked();
  assert.deepEqual((await new StoreChunkedForm(fresh).pull(repository, two.found)).tree, second);
  assert.ok(!asked().has(ChunkedType.delta));

  await new StoreChunkedForm(forgetful).pull(repository, one.found);
  rmSync(join(forgetful.paths.root, 'streams'), { recursive: true });
  asked();
  // It is made again of the tree: the same bytes.
  assert.deepEqual((await new StoreChunkedForm(forgetful).pull(repository, two.found)).tree, second);
  assert.ok(asked().has(ChunkedType.delta));
});

test('a delta that is gone or damaged costs the plain chunks, and nothing else', async () => {
  await using there = await openStoreForTest();
  const { repository, first, second, one, two } = await twoVersions(there, 'chunked');
  const delta = two.build.listed.find(({ mediaType }) => mediaType === ChunkedType.delta);
  const blob = repository.blobs.get(delta?.digest ?? '');
  assert.ok(delta && blob);
  const damages: ((bytes: Buffer) => Buffer | undefined)[] = [
    () => undefined,
    (bytes) => bytes.map((byte, at) => (at % 50 === 20 ? byte ^ 0xff : byte)) as Buffer,
    // The frames of the files: the stream comes in, and then a file cannot be made.
    (bytes) => Buffer.concat([bytes.subarray(0, -600), noise(600, 'damage')]),
  ];
  for (const damage of damages) {
    await using here = await openStoreForTest();
    await new StoreChunkedForm(here).pull(repository, one.found);
    const damaged = damage(Buffer.from(blob));
    if (damaged === undefined) repository.blobs.delete(delta.digest);
    else repository.blobs.set(delta.digest, damaged);
    const pulled = await new StoreChunkedForm(here).pull(repository, two.found, { near: [first.id] });
    assert.deepEqual(pulled.tree, second);
    repository.blobs.set(delta.digest, blob);
  }
});

test('a machine that never saw the version before sends no times of its own checkout', async () => {
  await using there = await openStoreForTest();
  await using other = await openStoreForTest();
  const repository = new MemoryRepository();
  const first = await treeOf(there, firstEdits());
  const one = await push(there, new StoreChunkedForm(there), repository, first, []);

  const checkout = [...firstEdits(86_400), file(names[3] ?? '', 'changed', 86_400)];
  const two = await push(other, new StoreChunkedForm(other), repository, await treeOf(other, checkout), [], one.found);
  assert.ok(two.uploaded < 20_000, `${two.uploaded} bytes were new`);

  const pulled = await new StoreChunkedForm(there).pull(repository, two.found, { near: [first.id] });
  const expected = await treeOf(there, [file(names[3] ?? '', 'changed', 86_400)], first);
  assert.equal(pulled.tree.content, expected.content);
  const times = async (tree: TreeRef, path: string) => (await there.trees.lookup(tree.id, toBytes(path)))?.mtimeSec;
  assert.equal(await times(pulled.tree, names[4] ?? ''), 0);
  assert.equal(await times(pulled.tree, names[3] ?? ''), 86_400);
});
