import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ByteString, toBytes } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { lchown, mkfifo, mknod, setTimes } from '../../src/kernel/files.ts';
import { setXattr } from '../../src/kernel/xattr.ts';
import { EntryType } from '../../src/store/model.ts';
import type { Store } from '../../src/store/port.ts';
import { describeFolder, needsRoot, temporaryFolder } from '../support/filesystem.ts';
import { openStoreForTest } from '../support/store.ts';

const raw = (folder: string, latin1: string) => Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(latin1, 'latin1')]);

/** Everything that a Linux file system can hold and a careless tool loses. */
function makeNastyTree(top: string): void {
  mkdirSync(join(top, 'empty'));
  mkdirSync(join(top, 'sticky'));
  mkdirSync(join(top, 'deep/er/and/deeper'), { recursive: true });
  writeFileSync(join(top, 'plain'), 'plain\n');
  writeFileSync(join(top, 'nothing'), '');
  writeFileSync(join(top, 'setuid'), '#!/bin/sh\n');
  writeFileSync(join(top, 'deep/er/big'), Buffer.alloc(3 << 20, 'slipway '));
  writeFileSync(raw(top, 'not-utf8-\xff\xfe'), 'x');
  writeFileSync(join(top, 'größe'), 'y');
  mkdirSync(raw(top, 'dir-\x80'));
  writeFileSync(raw(top, 'dir-\x80/\n'), 'newline');
  writeFileSync(join(top, 'x'.repeat(255)), 'long name');
  symlinkSync('../outside', join(top, 'dangling'));
  symlinkSync(Buffer.from('t\xe9', 'latin1'), join(top, 'link-to-bytes'));
  mkfifo(join(top, 'fifo'), 0o640);
  mknod(join(top, 'char'), 0o020666, 1, 3);
  mknod(join(top, 'block'), 0o060660, 259, 70_000);
  linkSync(join(top, 'plain'), join(top, 'deep/hardlink-1'));
  linkSync(join(top, 'plain'), join(top, 'deep/er/hardlink-2'));
  linkSync(join(top, 'fifo'), join(top, 'deep/fifo-too'));
  makeSparse(join(top, 'sparse'), 8 << 20);
  truncateSync(raw(top, 'nothing').toString(), 0);
  writeFileSync(join(top, 'hole-only'), '');
  truncateSync(join(top, 'hole-only'), 1 << 20);
  lchown(join(top, 'größe'), 70_000, 4_000_000_000);
  lchown(join(top, 'dangling'), 1, 2);
  chmodSync(join(top, 'setuid'), 0o6755);
  chmodSync(join(top, 'sticky'), 0o1777);
  chmodSync(join(top, 'empty'), 0o000);
  setXattr(join(top, 'plain'), 'user.note', toBytes('grüße'));
  setXattr(join(top, 'plain'), 'user.empty', '' as ByteString);
  setXattr(join(top, 'setuid'), 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex'));
  setXattr(join(top, 'deep'), 'user.on-directory', toBytes('1'));
  setXattr(join(top, 'größe'), 'system.posix_acl_access', accessList([1, 6], [2, 6, 1234], [4, 4], [16, 6], [32, 4]));
  setXattr(join(top, 'sticky'), 'system.posix_acl_default', accessList([1, 7], [4, 5], [8, 4, 99], [16, 5], [32, 5]));
  setTimes(join(top, 'plain'), 1_234_567_890, 987_654_321);
  setTimes(join(top, 'dangling'), -5, 1);
  setTimes(join(top, 'deep'), 2_500_000_000, 0);
}

/** The attribute's form (linux/posix_acl_xattr.h): version 2, then tag, permissions and id of each entry. */
function accessList(...entries: [tag: number, permissions: number, id?: number][]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2);
  for (const [i, [tag, permissions, id = 0xffff_ffff]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + i * 8);
    bytes.writeUInt16LE(permissions, 6 + i * 8);
    bytes.writeUInt32LE(id, 8 + i * 8);
  }
  return bytes;
}

function makeSparse(path: string, size: number): void {
  const fd = openSync(path, 'w');
  writeSync(fd, 'start', 0);
  writeSync(fd, 'middle', 4 << 20);
  closeSync(fd);
  truncateSync(path, size);
}

test('a tree with everything in it comes back from the store as it was', needsRoot, async () => {
  using source = temporaryFolder();
  using target = temporaryFolder();
  makeNastyTree(source.path);
  await using store = await openStoreForTest();
  const tree = await store.trees.ingest({ path: source.path });
  await store.trees.checkout(tree.id, target.path);

  assert.deepEqual(describeFolder(target.path), describeFolder(source.path));
  assert.equal((await store.trees.ingest({ path: target.path })).id, tree.id);
});

test('holes stay holes in the store', needsRoot, async () => {
  using source = temporaryFolder();
  makeSparse(join(source.path, 'sparse'), 64 << 20);
  await using store = await openStoreForTest();
  const { id, bytes } = await store.trees.ingest({ path: source.path });
  assert.equal(bytes, 64 << 20);
  const entry = await store.trees.lookup(id, toBytes('sparse'));
  assert.ok(entry?.type === EntryType.file);
  const used = execFileSync('du', ['-k', join(store.paths.objects, entry.object.slice(0, 2), entry.object.slice(2))]);
  assert.ok(Number.parseInt(used.toString(), 10) < 1024, used.toString());
});

test('sockets are dropped, and a file with one name beside them is not a hardlink', async () => {
  using source = temporaryFolder();
  writeFileSync(join(source.path, 'file'), 'x');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(source.path, 'socket'), resolve));
  await using store = await openStoreForTest();
  const { id } = await store.trees.ingest({ path: source.path });
  server.close();
  assert.deepEqual(
    (await store.trees.list(id, toBytes(''))).map((entry) => entry.name),
    ['file'],
  );
  assert.deepEqual((await store.trees.get(id)).hardlinks, []);
});

test('a character device 0:0 is refused by name, and nothing of the folder stays', needsRoot, async () => {
  using source = temporaryFolder();
  mkdirSync(join(source.path, 'var'));
  writeFileSync(join(source.path, 'a-file'), 'seen before the device');
  mknod(join(source.path, 'var/gone'), 0o020000, 0, 0);
  await using store = await openStoreForTest();
  await assert.rejects(store.trees.ingest({ path: source.path }), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'DEVICE_ZERO');
    assert.match(error.message, /\/var\/gone/);
    return true;
  });
  assert.deepEqual(objectsOf(store.paths.objects), []);
});

const objectsOf = (objects: string) => [...describeFolder(objects).keys()].filter((path) => path.length === 65);

test('owner, ignore rules and attributes can be chosen', needsRoot, async () => {
  using source = temporaryFolder();
  mkdirSync(join(source.path, 'logs/keep'), { recursive: true });
  mkdirSync(join(source.path, 'src'));
  for (const path of ['logs/a.log', 'logs/keep/b', 'src/main.js', 'src/x.tmp', 'top.tmp', '.env']) {
    writeFileSync(join(source.path, path), path);
    lchown(join(source.path, path), 1000, 1000);
  }
  setXattr(join(source.path, 'src/main.js'), 'user.a', toBytes('1'));
  await using store = await openStoreForTest();
  const { id } = await store.trees.ingest({
    path: source.path,
    ignore: ['logs', '!logs/keep', '**/*.tmp', '.env', '*.none'],
    owner: { uid: 0, gid: 7 },
    xattrs: false,
  });
  const paths = (await store.trees.diff(store.trees.empty.id, id)).map((change) => change.path);
  assert.deepEqual(paths, ['logs', 'logs/keep', 'logs/keep/b', 'src', 'src/main.js']);
  const main = await store.trees.lookup(id, toBytes('src/main.js'));
  assert.deepEqual([main?.uid, main?.gid, main?.xattrs], [0, 7, undefined]);
});

test('an ignored folder whose exceptions match nothing is left out whole', async () => {
  using source = temporaryFolder();
  mkdirSync(join(source.path, 'logs/old'), { recursive: true });
  writeFileSync(join(source.path, 'logs/old/x'), 'x');
  await using store = await openStoreForTest();
  const params = { path: source.path, ignore: ['logs', '!logs/old/nothing'], statCache: 'c' };
  for (let round = 0; round < 2; round++) {
    const { id } = await store.trees.ingest(params);
    assert.deepEqual(await store.trees.list(id, toBytes('')), []);
  }
});

test('a file that changes all the time while it is read is an error that names it', async () => {
  using source = temporaryFolder();
  const path = join(source.path, 'busy.log');
  writeFileSync(path, Buffer.alloc(40 << 20, 1));
  await using store = await openStoreForTest();
  // Whoever writes may get no processor just while the file is read: then it was still, and is read.
  for (let attempt = 1; ; attempt++) {
    try {
      await ingestWhileWritten(store, source.path, path);
      assert.ok(attempt < 20, 'it never changed while it was read');
    } catch (error) {
      assert.ok(error instanceof EngineError, String(error));
      assert.equal(error.code, 'FILE_CHANGED');
      assert.match(error.message, /busy\.log/);
      return;
    }
  }
});

async function ingestWhileWritten(store: Store, folder: string, path: string): Promise<void> {
  let stop = false;
  const ingest = store.trees.ingest({ path: folder }).finally(() => {
    stop = true;
  });
  const writer = (async () => {
    while (!stop) {
      appendFileSync(path, 'more');
      utimesSync(path, new Date(), new Date());
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  await Promise.allSettled([ingest, writer]);
  await ingest;
}

test('a missing folder is named', async () => {
  await using store = await openStoreForTest();
  await assert.rejects(store.trees.ingest({ path: '/nonexistent/folder' }), { kind: 'NotFound', message: /\/nonexistent\/folder/ });
});

test('counts and sizes: a hardlink group is counted once, in any tree made from it', async () => {
  using source = temporaryFolder();
  mkdirSync(join(source.path, 'a/b'), { recursive: true });
  writeFileSync(join(source.path, 'a/one'), '12345');
  linkSync(join(source.path, 'a/one'), join(source.path, 'a/b/two'));
  writeFileSync(join(source.path, 'three'), '123');
  await using store = await openStoreForTest();
  const tree = await store.trees.ingest({ path: source.path });
  assert.deepEqual(await store.trees.stat(tree.id), { files: 3, directories: 2, bytes: 8 });
  assert.deepEqual([tree.files, tree.directories, tree.bytes], [3, 2, 8]);
  const copy = { op: 'copy' as const, from: tree.id, source: toBytes('a'), dest: toBytes('copy'), contents: true };
  const edited = await store.trees.edit(tree.id, [copy]);
  assert.deepEqual(await store.trees.stat(edited.id), { files: 5, directories: 4, bytes: 13 });
});
