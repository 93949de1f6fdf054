import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { EntryType, type TreeId } from '../../src/store/model.ts';
import type { TreeContext } from '../../src/store/port.ts';
import { tarToFile } from '../../src/transport/tar/job.ts';
import { tarOfTree } from '../../src/transport/tar/tree-tar.ts';
import { type UntarParams, untar } from '../../src/transport/untar/job.ts';
import { tarFile, tarMember, writeTar } from '../contracts/tar.ts';
import { describeTree, entryAt, jobContext } from './archives-support.ts';

type Member = Parameters<typeof writeTar>[0][number];
const directory = (name: string, over = {}): Member => ({ member: tarMember(`${name}/`, { type: 'directory', mode: 0o755, ...over }) });
const symlink = (name: string, target: string): Member => ({
  member: tarMember(name, { type: 'symlink', linkTarget: target as ByteString, mode: 0o777 }),
});
const link = (name: string, target: string): Member => ({ member: tarMember(name, { type: 'link', linkTarget: target as ByteString }) });
const device = (name: string, major: number, minor: number): Member => ({ member: tarMember(name, { type: 'charDevice', major, minor }) });

/** Untars archives given as lists of members, each over the one before. */
async function unpack(
  { folder, context }: { folder: string; context: TreeContext },
  archives: Member[][],
  options: Partial<UntarParams> = {},
): Promise<TreeId> {
  const sources = archives.map((members, index) => {
    const file = join(folder, `${index}.tar`);
    writeFileSync(file, writeTar(members));
    return { file, what: `layer ${index + 1}` };
  });
  return (await untar(context, { sources, kind: 'layer', ...options })).id;
}

test('a plain tar becomes a tree: order, parents, duplicates, hard links, all kinds', async () => {
  using job = jobContext();
  const tree = await unpack(
    job,
    [
      [
        directory('.', { mode: 0o700 }),
        tarFile('./b/file', 'one', { uid: 5, gid: 6, mode: 0o4755 }),
        tarFile('/abs//./x', 'two'),
        link('hard', '/b/file'),
        tarFile('b/twice', 'first'),
        tarFile('b/twice', 'second!'),
        symlink('b/up', '../../b'.slice(3)),
        symlink('etc', '/abs'),
        tarFile('etc/through', ''),
        device('null', 1, 3),
        { member: tarMember('pipe', { type: 'fifo' }) },
        tarFile('.wh.kept', 'plain'),
        directory('b', { mode: 0o711, uid: 7 }),
      ],
    ],
    { kind: 'plain' },
  );
  assert.deepEqual(describeTree(job.context, tree), [
    'f .wh.kept 644 0:0 5',
    'd abs 755 0:0',
    'f abs/through 644 0:0 0',
    'f abs/x 644 0:0 3',
    'd b 711 7:0',
    'f b/file 4755 5:6 3',
    'f b/twice 644 0:0 7',
    'l b/up 777 0:0 -> ../b',
    'l etc 777 0:0 -> /abs',
    'f hard 4755 5:6 3',
    'c null 644 0:0 1:3',
    'p pipe 644 0:0',
    '= b/file hard',
  ]);
  assert.equal(job.context.root(tree).mode, 0o700);
});

test('layers: whiteouts hide what lies below and nothing of their own layer', async () => {
  using job = jobContext();
  const tree = await unpack(job, [
    [
      directory('a'),
      tarFile('a/old', '1'),
      tarFile('a/gone', '1'),
      directory('dir'),
      tarFile('dir/x', '1'),
      tarFile('top', '1'),
      tarFile('dev', '1'),
    ],
    [
      tarFile('a/.wh.gone', ''),
      tarFile('.wh.missing', ''),
      tarFile('nowhere/.wh.x', ''),
      // The opaque marker may come after the layer's own entries.
      tarFile('dir/new', '2'),
      directory('dir/sub'),
      tarFile('dir/.wh..wh..opq', ''),
      tarFile('top', '22'),
      tarFile('.wh.top', ''),
      device('dev', 0, 0),
      tarFile('.wh..wh.plnk', ''),
    ],
    [directory('a', { mode: 0o500 }), tarFile('dir/sub/deep', '3')],
  ]);
  assert.deepEqual(describeTree(job.context, tree), [
    'd a 500 0:0',
    'f a/old 644 0:0 1',
    'd dir 755 0:0',
    'f dir/new 644 0:0 1',
    'd dir/sub 755 0:0',
    'f dir/sub/deep 644 0:0 1',
    'f top 644 0:0 2',
  ]);
});

test('layers: a directory takes the place of what lies below, with its own entries only', async () => {
  using job = jobContext();
  const tree = await unpack(job, [
    [directory('usr'), directory('usr/lib'), symlink('lib', 'usr/lib'), tarFile('file', 'x'), directory('d'), tarFile('d/lower', '')],
    [tarFile('lib/own', ''), tarFile('file/inside', ''), tarFile('d', 'now a file')],
    [directory('d'), tarFile('d/upper', '')],
  ]);
  assert.deepEqual(describeTree(job.context, tree), [
    'd d 755 0:0',
    'f d/upper 644 0:0 0',
    'd file 755 0:0',
    'f file/inside 644 0:0 0',
    'd lib 755 0:0',
    'f lib/own 644 0:0 0',
    'd usr 755 0:0',
    'd usr/lib 755 0:0',
  ]);
});

test('hard links hold over layers and part when one name is replaced', async () => {
  using job = jobContext();
  const base = await unpack(job, [[tarFile('a', 'x'), link('b', 'a'), link('c', 'b'), tarFile('p', 'y'), link('q', 'p')]]);
  const tree = await unpack(job, [[tarFile('b', 'new'), link('d', 'c'), tarFile('q', 'z')]], { base });
  assert.deepEqual(
    describeTree(job.context, tree).filter((line) => line.startsWith('=')),
    ['= a c d'],
  );
});

test('into a base at a place: symlinks are followed inside, owners overridden, the rest untouched', async () => {
  using job = jobContext();
  const base = await unpack(job, [
    [directory('srv'), tarFile('srv/kept', ''), symlink('www', '/srv'), directory('other', { mode: 0o700 })],
  ]);
  const tree = await unpack(
    job,
    [[directory('.', { mode: 0o123 }), tarFile('new', 'x', { uid: 9 }), symlink('out', '/srv'), tarFile('out/y', '')]],
    {
      base,
      kind: 'plain',
      at: 'www/html' as ByteString,
      chown: { uid: 33, gid: 34 },
    },
  );
  assert.deepEqual(describeTree(job.context, tree), [
    'd other 700 0:0',
    'd srv 755 0:0',
    'd srv/html 123 33:34',
    'f srv/html/new 644 33:34 1',
    'l srv/html/out 777 33:34 -> /srv',
    'd srv/html/srv 755 33:34',
    'f srv/html/srv/y 644 33:34 0',
    'f srv/kept 644 0:0 0',
    'l www 777 0:0 -> /srv',
  ]);
  const into = await unpack(job, [[directory('.', { mode: 0o123 }), tarFile('z', '')]], { base, kind: 'plain', at: 'other' as ByteString });
  assert.equal(entryAt(job.context, into, 'other')?.mode, 0o700, 'a directory that was there keeps its metadata');
});

const bad: [what: string, members: Member[], why: RegExp][] = [
  ['..', [tarFile('a/../../etc/passwd', '')], /entry "a\/\.\.\/\.\.\/etc\/passwd" at byte 0: its name has a "\.\."/],
  [
    'a symlink that leaves the root',
    [directory('a'), symlink('a/l', '../../x')],
    /entry "a\/l" at byte 512: a symbolic link to "\.\.\/\.\.\/x", which leaves the root/,
  ],
  ['a hard link that leaves the root', [link('l', '../../etc/shadow')], /a hard link to "\.\.\/\.\.\/etc\/shadow", which could lead out/],
  [
    'a hard link to nothing',
    [link('l', 'missing')],
    /entry "l" at byte 0: a hard link to "missing", which is not in the archive before it/,
  ],
  ['a hard link to a directory', [directory('d'), link('l', 'd')], /which is a directory/],
  ['a 0:0 device', [device('w', 0, 0)], /character device 0:0/],
  ['a device that cannot be', [device('w', 5000, 0)], /device 5000:0/],
  ['a file as a directory', [tarFile('f', ''), tarFile('f/x', '')], /goes through an entry that is not a directory/],
  ['a loop of symlinks', [symlink('a', 'b'), symlink('b', 'a'), tarFile('a/x', '')], /too many symbolic links/],
  ['a name too long', [tarFile('n'.repeat(256), '')], /256 bytes/],
  ['too deep a path', [tarFile('d/'.repeat(2100), '')], /at most 2048/],
  ['an owner that cannot be', [tarFile('f', '', { uid: 2 ** 32 })], /its owner 4294967296/],
  ['a file as the root', [tarFile('.', 'x')], /it is the root/],
];
for (const [what, members, why] of bad) {
  test(`a plain tar with ${what} is refused and named`, async () => {
    using job = jobContext();
    await assert.rejects(unpack(job, [members], { kind: 'plain' }), (error: unknown) => {
      assert.ok(error instanceof EngineError && error.kind === 'InvalidArgument', String(error));
      assert.match(error.message, why);
      assert.match(error.message, /^layer 1: /);
      return true;
    });
  });
}

test('a symlink cannot lead out of the root, however it is reached', async () => {
  using job = jobContext();
  const tree = await unpack(job, [[symlink('up', '../../../..'), symlink('abs', '/../../tmp'), tarFile('up/a', ''), tarFile('abs/b', '')]]);
  assert.deepEqual(
    describeTree(job.context, tree).filter((line) => line.startsWith('f')),
    ['f a 644 0:0 0', 'f tmp/b 644 0:0 0'],
  );
});

test('every compression reads, and digests are of the right bytes', async () => {
  using job = jobContext();
  const tar = writeTar([tarFile('big', Buffer.alloc(3_000_000, 'slipway')), tarFile('small', 's')]);
  const plain = join(job.folder, 'plain');
  writeFileSync(plain, tar);
  const diffId = `sha256:${createHash('sha256').update(tar).digest('hex')}`;
  const forms = {
    none: tar,
    gzip: gzipSync(tar),
    'gzip of two members': Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
    zstd: zstdCompressSync(tar),
    xz: execFileSync('xz', ['-c', plain]),
    bzip2: execFileSync('bzip2', ['-c', plain]),
  };
  for (const [name, bytes] of Object.entries(forms)) {
    // Inside a larger file, as a layer lies in an archive.
    const file = join(job.folder, name);
    writeFileSync(file, Buffer.concat([Buffer.alloc(100, 1), bytes, Buffer.alloc(50, 2)]));
    const { sources } = await untar(job.context, { sources: [{ file, offset: 100, length: bytes.length, what: name }], kind: 'layer' });
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    assert.deepEqual(sources, [{ digest, diffId, sizeBytes: bytes.length }], name);
    if (name === 'none') continue;
    writeFileSync(file, bytes.subarray(0, bytes.length - 100));
    await assert.rejects(untar(job.context, { sources: [{ file, what: name }], kind: 'layer' }), (error: unknown) => {
      assert.ok(error instanceof EngineError && error.kind === 'InvalidArgument', `${name}: ${error}`);
      assert.match(error.message, new RegExp(`^${name}`));
      return true;
    });
    const middle = Buffer.from(bytes);
    for (let at = middle.length >> 1; at < (middle.length >> 1) + 8; at++) middle[at] = (middle[at] ?? 0) ^ 0xff;
    writeFileSync(file, middle);
    await assert.rejects(
      untar(job.context, { sources: [{ file, what: name, diffId: diffId as never }], kind: 'layer' }),
      EngineError,
      `${name}, damaged`,
    );
  }
});

test('a layer that is not what its digest says is refused', async () => {
  using job = jobContext();
  const file = join(job.folder, 'x');
  writeFileSync(file, writeTar([tarFile('a', '')]));
  const wrong = `sha256:${'0'.repeat(64)}` as never;
  await assert.rejects(
    untar(job.context, { sources: [{ file, what: 'layer 3 of web:2', diffId: wrong }], kind: 'layer' }),
    /layer 3 of web:2 is damaged: expected sha256:000/,
  );
  await assert.rejects(untar(job.context, { sources: [{ file, what: 'blob', digest: wrong }], kind: 'layer' }), { code: 'BLOB_DAMAGED' });
});

test('sparse files stay sparse', async () => {
  using job = jobContext();
  const source = join(job.folder, 'sparse');
  const fd = openSync(source, 'w');
  writeSync(fd, 'head');
  writeSync(fd, 'tail', 20_000_000);
  ftruncateSync(fd, 30_000_000);
  closeSync(fd);
  const file = join(job.folder, 'sparse.tar');
  execFileSync('tar', ['--format=pax', '--sparse', '-cf', file, '-C', job.folder, 'sparse']);
  const { id } = await untar(job.context, { sources: [{ file, what: 'sparse.tar' }], kind: 'plain' });
  const entry = entryAt(job.context, id, 'sparse');
  assert.ok(entry?.type === EntryType.file && entry.size === 30_000_000);
  const stored = job.context.objectPath(entry.object);
  assert.equal(entry.object, createHash('sha256').update(readFileSync(source)).digest('hex'));
  assert.ok(statSync(stored).blocks * 512 < 1_000_000, 'the holes take no room');
});

test('a tree written as a tar and read again is the same tree, down to its id', async () => {
  using job = jobContext();
  const members: Member[] = [
    directory('.', { mode: 0o711, mtimeSec: -5, mtimeNsec: 1 }),
    directory('a'),
    tarFile('a/x', 'content', {
      mtimeNsec: 123_456_789,
      xattrs: [
        ['security.capability' as ByteString, '\x01\0\0\x02' as ByteString],
        ['user.e' as ByteString, '' as ByteString],
      ],
    }),
    tarFile('a-b', 'before a/ in bytes'),
    link('a-c', 'a/x'),
    link('0', 'a/x'),
    tarFile('\xff\xfe', 'raw', { uid: 4_000_000_000 }),
    tarFile('long'.repeat(60), 'x'.repeat(700_000)),
    symlink('s', 't'.repeat(300)),
    device('null', 1, 3),
    { member: tarMember('pipe', { type: 'fifo', mtimeSec: 2 ** 34 }) },
  ];
  const id = await unpack(job, [members]);
  const file = join(job.folder, 'out.tar');
  const made = await tarToFile(job.context, { tree: id, output: file, compression: 'none', kind: 'layer' });
  const back = await untar(job.context, { sources: [{ file, what: 'out.tar', digest: made.digest, diffId: made.diffId }], kind: 'layer' });
  assert.deepEqual(describeTree(job.context, back.id), describeTree(job.context, id));
  assert.equal(back.id, id);
  assert.equal(made.sizeBytes, statSync(file).size);
  const zipped = await tarToFile(job.context, { tree: id, output: `${file}.gz`, compression: 'gzip', kind: 'layer' });
  assert.equal(zipped.diffId, made.diffId);
  const again = await untar(job.context, {
    sources: [{ file: `${file}.gz`, what: 'out.tar.gz', digest: zipped.digest, diffId: made.diffId }],
    kind: 'layer',
  });
  assert.equal(again.id, id);
  assert.equal(execFileSync('tar', ['-tf', file]).toString().split('\n')[0], './');
  assert.ok(Buffer.concat([...tarOfTree(job.context, id, 'plain')]).equals(readFileSync(file)));
});

test('a name that means a deletion in a layer is refused there and exported otherwise', async () => {
  using job = jobContext();
  const id = await unpack(job, [[directory('d'), tarFile('d/.wh.x', '')]], { kind: 'plain' });
  assert.throws(() => [...tarOfTree(job.context, id, 'layer')], /"d\/\.wh\.x" cannot be put into a layer/);
  assert.ok([...tarOfTree(job.context, id, 'plain')].length > 0);
});

test('a cancelled job stops between chunks', async () => {
  using job = jobContext();
  const file = join(job.folder, 'big.tar');
  writeFileSync(file, writeTar([tarFile('a', Buffer.alloc(20_000_000)), tarFile('b', Buffer.alloc(20_000_000))]));
  job.cancel.raise();
  await assert.rejects(untar(job.context, { sources: [{ file, what: 'big.tar' }], kind: 'plain' }), { code: 'CANCELLED' });
});
