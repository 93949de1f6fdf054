import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bytes, MemoryTrees, plainMeta } from '../../../test/contracts/support/memory-context.ts';
import type { ByteString } from '../../base/bytes.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import { statPath } from '../../kernel/files.ts';
import { mountFilesystem, unmountIfMounted } from '../../kernel/mount.ts';
import { listXattrs } from '../../kernel/xattr.ts';
import { sha256 } from '../../oci/digest.ts';
import { type Entry, EntryType, type Meta, type TreeId } from '../../store/model.ts';
import { makeErofsImage } from './writer.ts';
import { xxh32 } from './xattrs.ts';

const folder = mkdtempSync(join(tmpdir(), 'slipway-erofs-'));
const mountPoint = join(folder, 'mount');
mkdirSync(mountPoint);
after(() => {
  unmountIfMounted(mountPoint);
  rmSync(folder, { recursive: true, force: true });
});

type Tree = { [name: string]: Tree | Entry };
const object = sha256('content');
const file = (size: number, meta: Partial<Meta> = {}): Entry => ({
  ...plainMeta,
  ...meta,
  type: EntryType.file,
  name: bytes(''),
  size,
  object,
});

function put(trees: MemoryTrees, tree: Tree, options: { meta?: Partial<Meta>; hardlinks?: string[][] } = {}): TreeId {
  const putDirectory = (children: Tree) =>
    trees.putNode(
      Object.entries(children).map(([name, child]): Entry => {
        const named = { name: name as ByteString };
        if ('type' in child && typeof child.type === 'number') return { ...(child as Entry), ...named };
        return { ...plainMeta, ...putDirectory(child as Tree), ...named, type: EntryType.directory };
      }),
    );
  const hardlinks = (options.hardlinks ?? []).map((group) => group.map((path) => path as ByteString));
  return trees.putRoot({ ...plainMeta, ...options.meta, ...putDirectory(tree), hardlinks });
}

/** Writes the image, has fsck.erofs look at it and, as root, mounts it. */
function writeAndCheck(trees: MemoryTrees, id: TreeId): { mount: boolean } {
  unmountIfMounted(mountPoint);
  const image = makeErofsImage(trees, id);
  const path = join(folder, 'image');
  writeFileSync(path, Buffer.concat([image.meta, image.blocks]));
  execFileSync('fsck.erofs', [path], { stdio: 'pipe' });
  if (process.getuid?.() !== 0) return { mount: false };
  mountFilesystem({ type: 'erofs', source: path, options: [], target: mountPoint, readOnly: true });
  return { mount: true };
}

test('every entry type keeps its metadata', () => {
  const trees = new MemoryTrees();
  const id = put(
    trees,
    {
      file: file(12_345, { mode: 0o4711, uid: 4_000_000_000, gid: 70_000, mtimeSec: -86_400, mtimeNsec: 999_999_999 }),
      empty: file(0, { mtimeSec: 5_000_000_000 }),
      big: file(6 * 2 ** 40 + 5),
      vast: file(2 ** 44 + 1),
      link: { ...plainMeta, type: EntryType.symlink, name: bytes(''), target: bytes('../some/where'), mode: 0o777 },
      'long-link': { ...plainMeta, type: EntryType.symlink, name: bytes(''), target: bytes('x/'.repeat(2000)), mode: 0o777 },
      fifo: { ...plainMeta, type: EntryType.fifo, name: bytes(''), mode: 0o620 },
      null: { ...plainMeta, type: EntryType.charDevice, name: bytes(''), major: 1, minor: 3 },
      disk: { ...plainMeta, type: EntryType.blockDevice, name: bytes(''), major: 259, minor: 1_000_001 },
      '\xff\xfe': file(1),
      directory: { inside: file(3) },
    },
    { meta: { mode: 0o1777, uid: 5 } },
  );
  if (!writeAndCheck(trees, id).mount) return;
  const stat = (name: string) => statPath(Buffer.from(`${mountPoint}/${name}`, 'latin1'));
  const { mode, uid, gid, size, mtimeSec, mtimeNsec } = stat('file');
  assert.deepEqual([mode, uid, gid, size, mtimeSec, mtimeNsec], [0o104711, 4_000_000_000, 70_000, 12_345, -86_400, 999_999_999]);
  assert.deepEqual([stat('empty').size, stat('empty').mtimeSec], [0, 5_000_000_000]);
  assert.equal(stat('big').size, 6 * 2 ** 40 + 5);
  assert.equal(stat('vast').size, 2 ** 44 + 1);
  assert.equal(readlinkSync(join(mountPoint, 'link')), '../some/where');
  assert.equal(readlinkSync(join(mountPoint, 'long-link')), 'x/'.repeat(2000));
  assert.equal(stat('fifo').mode, 0o010620);
  assert.deepEqual([stat('null').mode, stat('null').rdevMajor, stat('null').rdevMinor], [0o020755, 1, 3]);
  assert.deepEqual([stat('disk').mode, stat('disk').rdevMajor, stat('disk').rdevMinor], [0o060755, 259, 1_000_001]);
  assert.equal(stat('\xff\xfe').size, 1);
  assert.deepEqual([stat('').mode, stat('').uid, stat('').nlink], [0o041777, 5, 3]);
});

test('directories of any size list and find every name', () => {
  const trees = new MemoryTrees();
  const names = (count: number, length: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`${i}-${'n'.repeat(length)}`.slice(0, 255), file(i)]));
  const many = names(2000, 12);
  const first = { '!': file(1), '-': file(2), '.-': file(3), '...': file(4), '..a': file(5), '.a': file(6), 0: file(7) };
  const sizes: Tree = {};
  for (let count = 0; count < 150; count++) sizes[`with-${count}`] = names(count, 14);
  const deep: Tree = {};
  let at = deep;
  for (let i = 0; i < 100; i++) at = at[`level-${i}`] = {};
  const id = put(trees, { many, long: names(300, 255), first, sizes, deep });
  if (!writeAndCheck(trees, id).mount) return;
  const reader = new DirectoryReader();
  const check = (path: string, expected: Tree) => {
    const fd = reader.open(join(mountPoint, path));
    assert.deepEqual(reader.read(fd).sort(), Object.keys(expected).sort(), path);
    for (const name of Object.keys(expected)) reader.statAt(fd, name as ByteString);
    assert.throws(() => reader.statAt(fd, bytes('missing')), { code: 'ENOENT' });
    reader.close(fd);
  };
  check('many', many);
  check('long', names(300, 255));
  check('first', first);
  for (let count = 0; count < 150; count++) check(`sizes/with-${count}`, names(count, 14));
  assert.equal(readdirSync(join(mountPoint, 'deep', ...Array.from({ length: 99 }, (_, i) => `level-${i}`))).length, 1);
});

test('attributes come back as they were, large ones and those of overlayfs too', () => {
  const trees = new MemoryTrees();
  const xattrs = [
    ['security.capability', '\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'],
    ['system.posix_acl_access', '\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff \0\x04\0\xff\xff\xff\xff'],
    ['trusted.overlay.opaque', 'y'],
    ['trusted.other', ''],
    ['user.big', 'v'.repeat(60_000)],
    ['user.bytes', '\0\xff'],
  ] as const;
  const withXattrs = { xattrs: xattrs.map(([name, value]) => [name as ByteString, value as ByteString] as const) };
  const id = put(trees, { file: file(0, withXattrs), full: file(5, withXattrs), after: file(0) }, { meta: withXattrs });
  if (!writeAndCheck(trees, id).mount) return;
  // A long value by its digest: a failure then prints a line, not 60,000 characters.
  const sorted = (list: readonly (readonly [string, string])[]) =>
    list.map(([name, value]) => `${name}=${value.length > 100 ? sha256(Buffer.from(value, 'latin1')) : value}`).sort();
  const expected = xattrs.map(([name, value]) => [name.replace('trusted.overlay.', 'trusted.overlay.overlay.'), value] as const);
  const found = (name: string) => sorted(listXattrs(join(mountPoint, name)));
  assert.deepEqual(found('file'), sorted(expected));
  const redirect = ['trusted.overlay.redirect', `/${object.slice(0, 2)}/${object.slice(2)}`] as const;
  assert.deepEqual(found('full'), sorted([...expected, ['trusted.overlay.metacopy', ''], redirect]));
  assert.deepEqual(found(''), sorted([...expected, ['trusted.overlay.opaque', 'y']]));
  assert.deepEqual(found('after'), []);
});

test('a hardlink group is one inode with its number of names', () => {
  const trees = new MemoryTrees();
  const id = put(trees, { a: file(3), d: { b: file(3), c: file(3) }, e: file(3) }, { hardlinks: [['a', 'd/b', 'd/c']] });
  if (!writeAndCheck(trees, id).mount) return;
  const inodes = ['a', 'd/b', 'd/c', 'e'].map((path) => lstatSync(join(mountPoint, path)));
  assert.deepEqual(
    inodes.map(({ nlink }) => nlink),
    [3, 3, 3, 1],
  );
  assert.equal(new Set(inodes.map(({ ino }) => ino)).size, 2);
});

test('the same tree gives the same bytes', () => {
  const make = () => {
    const trees = new MemoryTrees();
    const image = makeErofsImage(trees, put(trees, { a: file(3), d: { b: file(9) } }));
    return Buffer.concat([image.meta, image.blocks]);
  };
  assert.ok(make().equals(make()));
});

test('what does not fit the format is refused with its path', () => {
  const trees = new MemoryTrees();
  const big = { xattrs: [['user.big', 'v'.repeat(65_536)] as unknown as readonly [ByteString, ByteString]] };
  assert.throws(() => makeErofsImage(trees, put(trees, { d: { f: file(1, big) } })), { code: 'EROFS_LIMIT', message: /\/d\/f/ });
});

test('xxh32 agrees with its specification', () => {
  assert.equal(xxh32('', 0), 0x02cc5d05);
  assert.equal(xxh32('a', 0), 0x550d7456);
  assert.equal(xxh32('abc', 0), 0x32d153ff);
  assert.equal(xxh32('Nobody inspects the spammish repetition', 0), 0xe2293b2f);
});
