import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { listMounts, mount, unmountIfMounted } from '../../src/kernel/mount.ts';
import { ErofsOverlaySnapshotter } from '../../src/snapshot/drivers/erofs-overlay.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { Store } from '../../src/store/port.ts';
import { openStoreForTest } from '../support/store.ts';

const options = { skip: process.getuid?.() !== 0 && 'needs root' };

async function scene(t: TestContext) {
  const runDirectory = mkdtempSync(join(tmpdir(), 'slipway-erofs-'));
  const store = await openStoreForTest();
  t.after(async () => {
    for (const { mountPoint } of listMounts().reverse()) if (mountPoint.startsWith(runDirectory)) unmountIfMounted(mountPoint);
    await store[Symbol.asyncDispose]();
    rmSync(runDirectory, { recursive: true, force: true });
  });
  const start = () => new ErofsOverlaySnapshotter({ store, runDirectory });
  const images = () => listMounts().filter(({ mountPoint }) => mountPoint.startsWith(join(runDirectory, 'erofs/')));
  return { store, runDirectory, start, images };
}

async function treeWith(store: Store, text: string): Promise<TreeId> {
  return (await store.trees.edit(store.trees.empty.id, [{ op: 'file', path: 'file' as ByteString, data: Buffer.from(text) }])).id;
}

test('a hundred snapshots of a tree share one mount of its image', options, async (t) => {
  const { store, start, images } = await scene(t);
  const snapshots = start();
  const tree = await treeWith(store, 'x');
  await Promise.all(Array.from({ length: 100 }, (_, i) => snapshots.create(`n-${i}`, tree, { disposable: true })));
  assert.equal(images().length, 1);
  await Promise.all((await snapshots.list()).map((id) => snapshots.remove(id)));
  await snapshots.close();
  assert.deepEqual(images(), []);
});

test('mounts of a killed engine are taken over while their image is there, else dropped', options, async (t) => {
  const { store, runDirectory, start, images } = await scene(t);
  const [kept, gone] = [await treeWith(store, 'kept'), await treeWith(store, 'gone')];
  const killed = start();
  const { rootfs } = await killed.create('runs', kept);
  await killed.create('too', gone);
  for (const name of readdirSync(store.paths.erofs)) if (name.startsWith(gone)) rmSync(join(store.paths.erofs, name));
  // What else a folder can hold: an empty one, and a mount that is not of an image.
  mkdirSync(join(runDirectory, 'erofs', 'f'.repeat(64)));
  mkdirSync(join(runDirectory, 'erofs', 'strange'));
  mount({ source: 'none', target: join(runDirectory, 'erofs/strange'), type: 'tmpfs' });
  const before = images().find(({ mountPoint }) => mountPoint.endsWith(kept));

  const next = start();
  assert.deepEqual(readdirSync(join(runDirectory, 'erofs')), [kept]);
  await next.create('second', kept);
  assert.deepEqual(
    images().map(({ id }) => id),
    [before?.id],
    'the same mount serves on',
  );
  await next.mount('too');
  assert.equal(readFileSync(join(runDirectory, 'snap/too/file'), 'utf8'), 'gone', 'a dropped one is made again');
  await next.close();
  assert.deepEqual(readdirSync(join(runDirectory, 'erofs')), []);
  assert.equal(readFileSync(join(rootfs, 'file'), 'utf8'), 'kept', 'its overlays live on');
});
