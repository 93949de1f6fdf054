import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { ByteString } from '../../src/base/bytes.ts';
import { bindMount, isMountPoint, listMounts, unmount, unmountIfMounted } from '../../src/kernel/mount.ts';
import { sha256 } from '../../src/oci/digest.ts';
import type { Snapshotter } from '../../src/snapshot/port.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { Store } from '../../src/store/port.ts';
import { openStoreForTest } from '../support/store.ts';
import { idMapContract } from './snapshotter-idmap.ts';
import { changeEverything, populate } from './support/changes.ts';
import { scan } from './support/file-system.ts';

export type MakeSnapshotter = (options: { store: Store; runDirectory: string }) => Snapshotter;

export type World = { store: Store; snapshots: Snapshotter; runDirectory: string; again(): Snapshotter };

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

/** What every snapshot driver promises. Registers the tests under the driver's name. */
export function snapshotterContract(name: string, make: MakeSnapshotter): void {
  const contract = (title: string, body: (world: World) => Promise<void>) =>
    test(`${name}: ${title}`, needsRoot, () => inWorld(make, body));

  contract('mount, change everything, capture, mount again gives the same file system', async ({ store, snapshots }) => {
    const made = await snapshots.create('made', store.trees.empty.id);
    populate(made.rootfs);
    const populated = scan(made.rootfs);
    const base = await snapshots.capture('made');
    const first = await snapshots.create('first', base.id);
    assert.deepEqual(scan(first.rootfs), populated);
    assert.deepEqual(await snapshots.capture('first'), base);

    changeEverything(first.rootfs);
    const changed = scan(first.rootfs);
    const after = await snapshots.capture('first');
    const second = await snapshots.create('second', after.id);
    assert.deepEqual(scan(second.rootfs), changed);
    assert.deepEqual(await snapshots.capture('second'), after);

    await snapshots.unmount('first');
    assert.deepEqual(await snapshots.capture('first'), after, 'a capture needs no mount');
    assert.deepEqual(scan((await snapshots.mount('first')).rootfs), changed);
    assert.deepEqual(scan((await snapshots.create('third', base.id)).rootfs), populated, 'the base is as it was');
  });

  contract('changes lists what the upper layer adds, modifies and deletes', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { 'etc/one': '1', 'etc/two': '2', 'gone/a': 'a', 'gone/b': 'b', 'moved/deep/file': 'f', same: 's' });
    const { rootfs } = await snapshots.create('c', tree);
    assert.deepEqual(await snapshots.changes('c'), []);
    writeFileSync(join(rootfs, 'etc/one'), 'changed');
    writeFileSync(join(rootfs, 'etc/three'), 'new');
    rmSync(join(rootfs, 'gone'), { recursive: true });
    renameSync(join(rootfs, 'moved'), join(rootfs, 'there'));
    const lines = (await snapshots.changes('c')).map(({ kind, path }) => `${kind} ${path}`);
    assert.deepEqual(lines, [
      'modified etc',
      'modified etc/one',
      'added etc/three',
      'deleted gone',
      'deleted moved',
      'added there',
      'added there/deep',
      'added there/deep/file',
    ]);
  });

  contract('stubs that the engine mounted over are not part of a capture', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { 'etc/passwd': 'root', 'dev/null': '' });
    const { rootfs } = await snapshots.create('s', tree);
    writeFileSync(join(rootfs, 'etc/hosts'), '');
    writeFileSync(join(rootfs, 'dev/init'), '');
    mkdirSync(join(rootfs, 'proc'));
    mkdirSync(join(rootfs, 'run/secrets'), { recursive: true });
    writeFileSync(join(rootfs, 'run/secrets/key'), '');
    const stubs = ['/etc/hosts', 'dev/init', 'proc', 'run/secrets/key'];
    assert.equal((await snapshots.capture('s', { stubs })).id, tree, 'only stubs: the tree is the base, times too');
    assert.deepEqual(await snapshots.changes('s', { stubs }), []);
    writeFileSync(join(rootfs, 'etc/group'), 'root');
    const after = await snapshots.capture('s', { stubs });
    const names = (await store.trees.list(after.id, 'etc' as ByteString)).map((entry) => entry.name);
    assert.deepEqual(names, ['group', 'passwd']);
  });

  contract('what is put in the place of a stub is part of a capture', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { 'etc/passwd': 'root' });
    const { rootfs } = await snapshots.create('s', tree);
    symlinkSync('/elsewhere', join(rootfs, 'etc/hosts'));
    writeFileSync(join(rootfs, 'etc/hostname'), 'mine');
    mkdirSync(join(rootfs, 'data'));
    writeFileSync(join(rootfs, 'data/kept'), 'x');
    mkdirSync(join(rootfs, 'proc'));
    const { id } = await snapshots.capture('s', { stubs: ['etc/hosts', 'etc/hostname', 'data', 'proc'] });
    const names = async (path: string) => (await store.trees.list(id, path as ByteString)).map((entry) => entry.name);
    assert.deepEqual(await names(''), ['data', 'etc']);
    assert.deepEqual(await names('etc'), ['hostname', 'hosts', 'passwd']);
    assert.deepEqual(await names('data'), ['kept']);
  });

  contract('a snapshot outlives its mount and the engine', async ({ store, snapshots, again }) => {
    const tree = await treeOf(store, { file: 'base' });
    const { rootfs } = await snapshots.create('a', tree);
    appendFileSync(join(rootfs, 'file'), '+mine');
    unmount(rootfs, { detach: true });
    for (const mounted of listMounts().filter(({ mountPoint }) => mountPoint.endsWith(tree))) unmount(mounted.mountPoint);
    const later = again();
    assert.deepEqual(await later.list(), ['a']);
    assert.deepEqual(await later.mount('a'), { id: 'a', tree, rootfs });
    assert.equal(readFileSync(join(rootfs, 'file'), 'utf8'), 'base+mine');
    assert.deepEqual(await later.mount('a'), { id: 'a', tree, rootfs }, 'mounting twice is once');
    await later.unmount('a');
    await later.unmount('a');
    assert.equal(isMountPoint(rootfs), false);
  });

  contract('a mount waits for a name space that still goes away', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { file: 'x' });
    const made = await snapshots.create('made', tree);
    // A hardlink in the base: with an index the kernel refuses a second mount of the upper layer.
    linkSync(join(made.rootfs, 'file'), join(made.rootfs, 'linked'));
    const { rootfs } = await snapshots.create('a', (await snapshots.capture('made')).id);
    const holder = spawn('unshare', ['-m', 'sh', '-c', 'echo in; exec sleep 60']);
    try {
      await once(holder.stdout, 'data');
      await snapshots.unmount('a');
      const mounted = snapshots.mount('a');
      await setTimeout(100);
      holder.kill('SIGKILL');
      assert.equal((await mounted).rootfs, rootfs);
      assert.equal(readFileSync(join(rootfs, 'linked'), 'utf8'), 'x');
    } finally {
      if (holder.exitCode === null && holder.signalCode === null && holder.kill('SIGKILL')) await once(holder, 'exit');
    }
  });

  contract('what is derived from a tree can go and comes back, under a snapshot too', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { file: 'base', other: 'o' });
    const { rootfs } = await snapshots.create('a', tree);
    appendFileSync(join(rootfs, 'file'), '+mine');
    await snapshots.discardProjection(tree);
    assert.equal(readFileSync(join(rootfs, 'other'), 'utf8'), 'o', 'a mounted snapshot goes on');
    await snapshots.unmount('a');
    await snapshots.mount('a');
    assert.equal(readFileSync(join(rootfs, 'file'), 'utf8'), 'base+mine');
    await snapshots.discardProjection(tree);
    await snapshots.project(tree);
    await snapshots.project(tree);
  });

  contract('what a crash left of a snapshot in the making is listed, and can be removed', async ({ store, snapshots }) => {
    mkdirSync(join(store.paths.snapshots, 'cut', 'upper'), { recursive: true });
    assert.deepEqual(await snapshots.list(), ['cut']);
    await snapshots.remove('cut');
    assert.deepEqual(readdirSync(store.paths.snapshots), []);
  });

  contract('a tree that does not exist is named, and nothing stays', async ({ store, snapshots }) => {
    await assert.rejects(snapshots.create('a', sha256('none') as TreeId), { kind: 'NotFound', code: 'TREE_NOT_FOUND' });
    assert.deepEqual(await snapshots.list(), []);
    assert.deepEqual(readdirSync(store.paths.snapshots), []);
    await assert.rejects(snapshots.mount('a'), { kind: 'NotFound', code: 'SNAPSHOT_NOT_FOUND' });
    await assert.rejects(snapshots.capture('a'), { kind: 'NotFound', code: 'SNAPSHOT_NOT_FOUND' });
    await assert.rejects(snapshots.create('../a', store.trees.empty.id), { kind: 'InvalidArgument', code: 'SNAPSHOT_ID_INVALID' });
  });

  contract('a mount that does not read back is refused before anyone uses it', async ({ store, snapshots, runDirectory }) => {
    const tree = await treeOf(store, { 'usr/file': 'the only content' });
    await snapshots.project(tree);
    const entry = await store.trees.lookup(tree, 'usr/file' as ByteString);
    assert.ok(entry?.type === 1);
    rmSync(join(store.paths.objects, entry.object.slice(0, 2), entry.object.slice(2)));
    await assert.rejects(snapshots.create('a', tree), { kind: 'DataLoss', code: 'SNAPSHOT_UNREADABLE' });
    assert.deepEqual(readdirSync(store.paths.snapshots), []);
    assert.deepEqual(readdirSync(join(runDirectory, 'snap')), []);
  });

  contract('an id is taken once, free after remove, and remove can be repeated', async ({ store, snapshots, runDirectory }) => {
    const tree = await treeOf(store, { file: 'x' });
    await snapshots.create('a', tree);
    await assert.rejects(snapshots.create('a', tree), { kind: 'Conflict', code: 'SNAPSHOT_EXISTS' });
    await snapshots.remove('a');
    await snapshots.remove('a');
    const { rootfs } = await snapshots.create('a', tree, { disposable: true });
    writeFileSync(join(rootfs, 'new'), 'kept over a remount');
    await snapshots.unmount('a');
    await snapshots.mount('a');
    assert.ok(existsSync(join(rootfs, 'new')));
    await snapshots.remove('a');
    assert.deepEqual(await snapshots.list(), []);
    assert.deepEqual(readdirSync(join(runDirectory, 'snap')), []);
  });

  contract('many snapshots of one tree are made at once and do not see each other', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { file: 'x', dir: {} as never });
    const ids = Array.from({ length: 20 }, (_, i) => `n-${i}`);
    const made = await Promise.all(ids.map((id) => snapshots.create(id, tree)));
    for (const { id, rootfs } of made) writeFileSync(join(rootfs, 'file'), id);
    for (const { id, rootfs } of made) assert.equal(readFileSync(join(rootfs, 'file'), 'utf8'), id);
    const captured = await Promise.all(ids.map((id) => snapshots.capture(id)));
    assert.equal(new Set(captured.map(({ id }) => id)).size, ids.length);
    const same = await Promise.allSettled(ids.map(() => snapshots.create('same', tree)));
    assert.equal(same.filter(({ status }) => status === 'fulfilled').length, 1);
    await Promise.all(ids.map((id) => snapshots.remove(id)));
    assert.deepEqual(await snapshots.list(), ['same']);
  });

  idMapContract(contract);

  contract('what a killed engine left half made goes at the next start', async ({ store, snapshots, runDirectory, again }) => {
    const tree = await treeOf(store, { file: 'x' });
    const { rootfs } = await snapshots.create('whole', tree);
    for (const id of ['torn', 'lost']) await snapshots.create(id, tree);
    rmSync(join(store.paths.snapshots, 'torn', 'snapshot.json'));
    renameSync(join(store.paths.snapshots, 'lost'), join(store.paths.tmp, 'lost'));
    mkdirSync(join(runDirectory, 'map/step/0'), { recursive: true });
    bindMount(rootfs, join(runDirectory, 'map/step/0'));
    const next = again();
    assert.deepEqual(await next.list(), ['whole']);
    assert.deepEqual(readdirSync(join(runDirectory, 'snap')), ['whole']);
    assert.deepEqual(readdirSync(join(runDirectory, 'map')), []);
    assert.equal(readFileSync(join(rootfs, 'file'), 'utf8'), 'x', 'what was whole is as it was');
  });

  contract('a cancelled start leaves nothing, and another one is not disturbed', async ({ store, snapshots }) => {
    const tree = await treeOf(store, { file: 'x' });
    const controller = new AbortController();
    const cancelled = snapshots.create('cancelled', tree, { signal: controller.signal });
    const other = snapshots.create('other', tree);
    controller.abort();
    await assert.rejects(cancelled);
    assert.ok(statSync((await other).rootfs).isDirectory());
    assert.deepEqual(await snapshots.list(), ['other']);
  });
}

async function inWorld(make: MakeSnapshotter, body: (world: World) => Promise<void>): Promise<void> {
  const runDirectory = mkdtempSync(join(tmpdir(), 'slipway-run-'));
  chmodSync(runDirectory, 0o711);
  try {
    await using store = await openStoreForTest();
    const open: Snapshotter[] = [];
    const again = () => {
      const snapshots = make({ store, runDirectory });
      open.push(snapshots);
      return snapshots;
    };
    try {
      await body({ store, snapshots: again(), runDirectory, again });
    } finally {
      for (const { mountPoint } of listMounts().reverse())
        if (/^\/(snap|view)\//.test(mountPoint.slice(runDirectory.length)) && mountPoint.startsWith(runDirectory))
          unmountIfMounted(mountPoint);
      for (const snapshots of open) await snapshots.close();
    }
    assert.deepEqual(
      listMounts().filter(({ mountPoint }) => mountPoint.startsWith(runDirectory)),
      [],
      'no mount is left',
    );
  } finally {
    rmSync(runDirectory, { recursive: true, force: true });
  }
}

async function treeOf(store: Store, files: Record<string, string>): Promise<TreeId> {
  const edits = Object.entries(files).map(([path, data]) =>
    typeof data === 'string'
      ? ({ op: 'file', path: path as ByteString, data: Buffer.from(data) } as const)
      : ({ op: 'mkdir', path: path as ByteString } as const),
  );
  return (await store.trees.edit(store.trees.empty.id, edits)).id;
}
