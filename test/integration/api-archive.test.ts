import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { type ExtractParams, extractIntoRoot } from '../../src/api/archive/extract.ts';
import type { LiveRoot } from '../../src/api/archive/live-root.ts';
import { packFromRoot, statInRoot } from '../../src/api/archive/pack.ts';
import { encodePathStat } from '../../src/api/encode/path-stat.ts';
import type { ByteString } from '../../src/base/bytes.ts';
import { lchown, mkfifo, mknod } from '../../src/kernel/files.ts';
import { listMounts } from '../../src/kernel/mount.ts';
import { S_IFCHR } from '../../src/kernel/stat.ts';
import { getXattr, setXattr } from '../../src/kernel/xattr.ts';
import type { TarMember } from '../../src/oci/tar/member.ts';
import { TarReader } from '../../src/oci/tar/reader.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../src/oci/tar/writer.ts';

const options = { skip: process.getuid?.() !== 0 && 'needs root' };
/** These jobs work on files of the host; they do not touch the store. */
const context = { report: () => {} };

/** A folder with a "container" in `root` and a secret beside it that nothing may reach. */
function scene(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-archive-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const rootfs = join(folder, 'root');
  mkdirSync(join(rootfs, 'data'), { recursive: true });
  mkdirSync(join(folder, 'outside'));
  writeFileSync(join(folder, 'outside', 'secret'), 'secret');
  const [output, file] = [join(folder, 'out.tar'), join(folder, 'in.tar')];
  const root: LiveRoot = { rootfs, container: 'web' };
  const pack = (path: string, from: LiveRoot = root) => {
    writeFileSync(output, '');
    packFromRoot(context, { root: from, path, output });
    return listTar(output);
  };
  const extract = (path: string, options: Partial<ExtractParams> = {}) =>
    extractIntoRoot(context, { root, path, file, keepTypes: false, readOnly: { root: false, mounts: [] }, ...options });
  return { folder, rootfs, root, output, file, pack, extract };
}

/** The members by name, as our own reader sees them. */
function listTar(file: string): Map<string, TarMember> {
  const members = new Map<string, TarMember>();
  const reader = new TarReader((member) => void members.set(member.name, member), { what: 'the archive', requireEnd: true });
  reader.push(readFileSync(file));
  reader.end();
  return members;
}

const none = '' as ByteString;
function tar(members: (Partial<Omit<TarMember, 'name'>> & { name: string; data?: string })[]): Buffer {
  const parts = members.flatMap(({ data = '', ...member }) => {
    const base = {
      type: 'file' as const,
      linkTarget: none,
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeSec: 5,
      mtimeNsec: 0,
      major: 0,
      minor: 0,
      xattrs: [],
    };
    const whole: TarMember = { ...base, ...member, name: member.name as ByteString, size: data.length };
    return [encodeTarHeader(whole), Buffer.from(data), tarPadding(data.length)];
  });
  return Buffer.concat([...parts, endOfArchive]);
}

test('a directory is packed under its own name and unpacks to the same files', options, async (t) => {
  const { rootfs, output, folder, pack, extract } = scene(t);
  const at = (name: string) => join(rootfs, 'data', name);
  mkdirSync(at('sub'));
  writeFileSync(at('sub/f'), 'content');
  chmodSync(at('sub/f'), 0o4755);
  setXattr(at('sub/f'), 'user.note', 'x' as ByteString);
  utimesSync(at('sub/f'), 1000, 1000);
  linkSync(at('sub/f'), at('sub/g'));
  symlinkSync('/etc/passwd', at('link'));
  lchown(at('link'), 7, 8);
  mkfifo(at('fifo'), 0o600);
  chmodSync(at('fifo'), 0o622);
  mknod(at('null'), S_IFCHR | 0o666, 1, 3);
  assert.deepEqual([...pack('/data').keys()], ['data/', 'data/fifo', 'data/link', 'data/null', 'data/sub/', 'data/sub/f', 'data/sub/g']);
  assert.equal(execFileSync('tar', ['-tf', output]).toString().trim().split('\n').length, 7, 'tar(1) reads it too');
  mkdirSync(join(rootfs, 'copy'));
  await extract('/copy', { file: output });
  const to = (name: string) => join(rootfs, 'copy/data', name);
  const copied = statSync(to('sub/f'));
  assert.equal(copied.mode & 0o7777, 0o4755);
  assert.equal(copied.mtimeMs, 1_000_000);
  assert.equal(copied.ino, statSync(to('sub/g')).ino, 'hardlinks stay hardlinks');
  assert.equal(readFileSync(to('sub/f'), 'utf8'), 'content');
  assert.equal(getXattr(to('sub/f'), 'user.note'), 'x');
  assert.equal(readlinkSync(to('link')), '/etc/passwd');
  assert.deepEqual([lstatSync(to('link')).uid, lstatSync(to('link')).gid], [7, 8]);
  assert.equal(statSync(to('fifo')).mode & 0o777, 0o622, 'whatever the umask');
  assert.equal(statSync(to('null')).rdev, statSync('/dev/null').rdev);
  assert.equal(readFileSync(join(folder, 'outside/secret'), 'utf8'), 'secret');
});

test("names in the archive are Docker's for every form of path", options, (t) => {
  const { rootfs, pack } = scene(t);
  writeFileSync(join(rootfs, 'data/f'), '');
  symlinkSync('data', join(rootfs, 'link'));
  const forms: [path: string, names: string[]][] = [
    ['/data', ['data/', 'data/f']],
    ['data', ['data/', 'data/f']],
    ['/data/', ['data/', 'data/f']],
    ['/data/.', ['./', './f']],
    ['/data/f', ['f']],
    ['/data/../data/f', ['f']],
    ['/../../data/f', ['f']],
    ['/link', ['link']],
    ['/link/', ['link/', 'link/f']],
    ['/link/.', ['./', './f']],
    ['/link/f', ['f']],
    ['/', ['/', '/data/', '/data/f', '/link']],
  ];
  for (const [path, names] of forms) assert.deepEqual([...pack(path).keys()], names, path);
});

test('reading through symlinks that lead out stays inside the root', options, (t) => {
  const { folder, rootfs, pack } = scene(t);
  symlinkSync(join(folder, 'outside'), join(rootfs, 'absolute'));
  symlinkSync('../../outside', join(rootfs, 'data/up'));
  for (const path of ['/absolute/secret', '/data/up/secret', '/../outside/secret', '/absolute/', '/proc/self/root/etc/passwd']) {
    assert.throws(() => pack(path), { code: 'PATH_NOT_FOUND', message: `Could not find the file ${path} in container web` });
  }
});

test('a path that cannot be walked is the mistake of who asks', options, (t) => {
  const { rootfs, root } = scene(t);
  writeFileSync(join(rootfs, 'file'), '');
  symlinkSync('loop', join(rootfs, 'loop'));
  for (const [path, code] of [
    ['/file/', 'NOT_A_DIRECTORY'],
    ['/file/.', 'NOT_A_DIRECTORY'],
    ['/file/below', 'NOT_A_DIRECTORY'],
    ['/loop/x', 'TOO_MANY_SYMLINKS'],
    [`/${'n'.repeat(300)}`, 'NAME_TOO_LONG'],
  ] as const) {
    assert.throws(() => statInRoot(context, { root, path }), { kind: 'InvalidArgument', code }, path);
  }
});

test('a symlink at the end of a path is told of with what it leads to in the end', options, (t) => {
  const { rootfs, root } = scene(t);
  symlinkSync('/data', join(rootfs, 'link'));
  symlinkSync('../second', join(rootfs, 'data/first'));
  symlinkSync('link/none/../file', join(rootfs, 'second'));
  symlinkSync('../../../../data', join(rootfs, 'data/up'));
  symlinkSync('loop', join(rootfs, 'loop'));
  const target = (path: string) => statInRoot(context, { root, path }).linkTarget;
  assert.equal(target('/link'), '/data');
  assert.equal(target('/link/'), '', 'asked for the directory');
  assert.equal(target('/data/first'), '/data/file', 'all links, also to what is not there');
  assert.equal(target('/data/up'), '/data', 'no further up than the root');
  assert.equal(target('/loop'), '/loop');
  assert.throws(() => statInRoot(context, { root, path: '/nope' }), { kind: 'NotFound' });
});

test("the stat header is Go's", options, (t) => {
  const { rootfs, root } = scene(t);
  const file = join(rootfs, 'data/f');
  writeFileSync(file, 'four');
  chmodSync(file, 0o6755);
  const header = (path: string) => JSON.parse(Buffer.from(encodePathStat(statInRoot(context, { root, path })), 'base64').toString());
  utimesSync(file, 1, 1.5);
  assert.deepEqual(header('/data/f'), {
    name: 'f',
    size: 4,
    mode: 2 ** 23 + 2 ** 22 + 0o755,
    mtime: '1970-01-01T00:00:01.5Z',
    linkTarget: '',
  });
  utimesSync(join(rootfs, 'data'), 1, 1_700_000_000);
  chmodSync(join(rootfs, 'data'), 0o1777);
  const { mode, mtime } = header('/data');
  assert.deepEqual([mode, mtime], [2 ** 31 + 2 ** 20 + 0o777, '2023-11-14T22:13:20Z']);
  assert.equal(header('/').name, '/');
  assert.equal(header('/data/.').name, '.');
});

test('writing through symlinks that lead out stays inside the root', options, async (t) => {
  const { folder, rootfs, file, extract } = scene(t);
  symlinkSync(join(folder, 'outside'), join(rootfs, 'data/out'));
  symlinkSync(join(folder, 'outside/secret'), join(rootfs, 'data/secret'));
  const secrets = ['secret', 'out/secret'].map((name) => ({ name, data: 'mine' }));
  writeFileSync(file, tar(secrets));
  await assert.rejects(extract('/data'));
  assert.equal(readFileSync(join(rootfs, 'data/secret'), 'utf8'), 'mine');
  assert.equal(readFileSync(join(folder, 'outside/secret'), 'utf8'), 'secret');
  writeFileSync(
    file,
    tar([
      { name: 'way', type: 'symlink', linkTarget: join(folder, 'outside') as ByteString },
      { name: 'way/secret', data: 'mine' },
    ]),
  );
  await assert.rejects(extract('/data'), 'the archive brings its own way out');
  assert.equal(readFileSync(join(folder, 'outside/secret'), 'utf8'), 'secret');
});

test('members that lead upwards or stand for deletions are refused, those that only seem to are not', options, async (t) => {
  const { file, extract, rootfs } = scene(t);
  const bad: Parameters<typeof tar>[0] = [
    { name: '../x', data: 'x' },
    { name: 'a/../../x', data: 'x' },
    { name: '/../x', data: 'x' },
    { name: 'w', type: 'charDevice', major: 0, minor: 0 },
    { name: 'l', type: 'link', linkTarget: '../../outside/secret' as ByteString },
  ];
  for (const member of bad) {
    writeFileSync(file, tar([member]));
    await assert.rejects(extract('/data'), { kind: 'InvalidArgument', code: 'TAR_MEMBER_REFUSED' }, member.name);
  }
  writeFileSync(file, tar([{ name: '/a/../b/./c', data: 'x' }]));
  await extract('/data');
  assert.equal(readFileSync(join(rootfs, 'data/b/c'), 'utf8'), 'x');
});

test('types are kept when that is asked for, else anything is replaced whole', options, async (t) => {
  const { rootfs, file, extract, folder } = scene(t);
  const at = (name: string) => join(rootfs, 'data', name);
  mkdirSync(at('d/e/f'), { recursive: true });
  writeFileSync(at('d/e/file'), '');
  symlinkSync(join(folder, 'outside'), at('d/e/out'));
  writeFileSync(at('plain'), '');
  writeFileSync(file, tar([{ name: 'd', data: 'file' }]));
  await assert.rejects(extract('/data', { keepTypes: true }), { message: 'cannot overwrite directory "d" with non-directory "d"' });
  await extract('/data');
  assert.equal(readFileSync(at('d'), 'utf8'), 'file');
  assert.equal(readFileSync(join(folder, 'outside/secret'), 'utf8'), 'secret', 'a symlink in what is replaced is not followed');
  writeFileSync(file, tar([{ name: 'plain/', type: 'directory', mode: 0o750 }]));
  await assert.rejects(extract('/data', { keepTypes: true }), {
    message: 'cannot overwrite non-directory "plain" with directory "plain/"',
  });
  await extract('/data');
  assert.equal(statSync(at('plain')).mode & 0o7777, 0o750);
  await extract('/data', { keepTypes: true });
});

test('what the container may not write to is refused by path, as Docker does', options, async (t) => {
  const { rootfs, file, extract } = scene(t);
  mkdirSync(join(rootfs, 'data/volume/inner'), { recursive: true });
  symlinkSync('data/volume', join(rootfs, 'link'));
  writeFileSync(file, tar([{ name: 'f', data: '' }]));
  const mounts = [
    { destination: '/data/volume', readOnly: true },
    { destination: '/data/volume/inner', readOnly: false },
  ];
  const volume = { kind: 'InvalidArgument', message: 'mounted volume is marked read-only' };
  for (const path of ['/data/volume', '/link', '/data/../link/.'])
    await assert.rejects(extract(path, { readOnly: { root: false, mounts } }), volume);
  await extract('/data/volume/inner', { readOnly: { root: true, mounts } });
  await extract('/data', { readOnly: { root: false, mounts } });
  await assert.rejects(extract('/data', { readOnly: { root: true, mounts } }), { message: 'container rootfs is marked read-only' });
});

test('owners are those inside: of a user namespace, or of the user that is asked for', options, async (t) => {
  const { rootfs, root, file, extract, pack } = scene(t);
  const at = (name: string) => join(rootfs, 'data', name);
  const ranges = [
    { inside: 0, outside: 100_000, count: 10 },
    { inside: 1000, outside: 300_000, count: 10 },
  ];
  const mapped = { ...root, idMap: { uids: ranges, gids: ranges } };
  writeFileSync(
    file,
    tar([
      { name: 'new/deep/f', data: '', uid: 1003, gid: 0 },
      { name: 'g', data: '', uid: 5, gid: 6 },
    ]),
  );
  await extract('/data', { root: mapped });
  const owner = (name: string) => `${statSync(at(name)).uid}:${statSync(at(name)).gid}`;
  assert.deepEqual(['new', 'new/deep', 'new/deep/f', 'g'].map(owner), ['100000:100000', '100000:100000', '300003:100000', '100005:100006']);
  writeFileSync(at('strange'), '');
  const seen = pack('/data/.', mapped);
  const packed = (name: string) => `${seen.get(`./${name}`)?.uid}:${seen.get(`./${name}`)?.gid}`;
  assert.deepEqual(['new/', 'new/deep/f', 'g', 'strange'].map(packed), ['0:0', '1003:0', '5:6', '65534:65534']);
  await extract('/data', { root: mapped, owner: { uid: 1001, gid: 2 } });
  assert.deepEqual(['new/deep/f', 'g'].map(owner), ['300001:100002', '300001:100002']);
  writeFileSync(file, tar([{ name: 'f', data: '', uid: 500 }]));
  await assert.rejects(extract('/data', { root: mapped }), {
    kind: 'InvalidArgument',
    message: 'Container ID 500 cannot be mapped to a host ID',
  });
});

test('a truncated archive, one that is damaged and a place that is no directory say what is wrong', options, async (t) => {
  const { rootfs, file, extract } = scene(t);
  const whole = tar([{ name: 'f', data: 'x'.repeat(2000) }]);
  writeFileSync(file, whole.subarray(0, 1000));
  await assert.rejects(extract('/data'), { code: 'TAR_TRUNCATED' });
  await assert.rejects(extract('/nope'), { code: 'PATH_NOT_FOUND', message: 'Could not find the file /nope in container web' });
  writeFileSync(join(rootfs, 'file'), '');
  await assert.rejects(extract('/file'), { kind: 'InvalidArgument', message: 'extraction point is not a directory' });
  writeFileSync(file, gzipSync(whole).subarray(0, 60));
  await assert.rejects(extract('/data'), { code: 'ARCHIVE_DAMAGED' });
  writeFileSync(file, 'BZh9 not really');
  await assert.rejects(extract('/data'), { kind: 'InvalidArgument' });
});

test('an archive may be compressed in any way that tar knows', options, async (t) => {
  const { rootfs, file, extract, folder } = scene(t);
  const plain = join(folder, 'plain.tar');
  writeFileSync(plain, tar([{ name: 'f', data: 'content' }]));
  for (const program of ['gzip', 'bzip2', 'xz', 'zstd']) {
    if (spawnSync(program, ['--version']).error) continue;
    rmSync(join(rootfs, 'data/f'), { force: true });
    writeFileSync(file, execFileSync(program, ['-c', plain]));
    await extract('/data');
    assert.equal(readFileSync(join(rootfs, 'data/f'), 'utf8'), 'content', program);
  }
});

test('holes stay holes', options, async (t) => {
  const { rootfs, folder, file, extract } = scene(t);
  const sparse = join(folder, 'sparse');
  writeFileSync(sparse, 'start');
  truncateSync(sparse, 50 << 20);
  appendFileSync(sparse, 'end');
  execFileSync('tar', ['-S', '-cf', file, '-C', folder, 'sparse']);
  await extract('/data');
  const { size, blocks } = statSync(join(rootfs, 'data/sparse'));
  assert.equal(size, (50 << 20) + 3);
  assert.ok(blocks * 512 < 1 << 20, `${blocks} blocks`);
});

test('volumes and binds are seen over the root of a container that does not run, and nothing of it on the host', options, async (t) => {
  const { rootfs, root, folder, file, pack, extract } = scene(t);
  const source = (name: string) => join(folder, 'sources', name);
  for (const name of ['volume/sub', 'nested', 'readonly']) mkdirSync(source(name), { recursive: true });
  writeFileSync(source('volume/file'), 'in the volume');
  writeFileSync(source('nested/file'), 'nested');
  writeFileSync(source('single'), 'a file');
  writeFileSync(join(rootfs, 'data/hidden'), '');
  symlinkSync(join(folder, 'outside'), join(rootfs, 'trap'));
  // Other tests mount things of their own meanwhile.
  const mounts = () => listMounts().filter((mount) => JSON.stringify(mount).includes(folder));
  const before = mounts();
  const view: LiveRoot = {
    ...root,
    mounts: [
      // Not in order of depth, over a mount point that another mount brings, over nothing, through a symlink that leads out.
      { source: source('nested'), destination: '/data/sub', readOnly: false },
      { source: source('volume'), destination: '/data', readOnly: false },
      { source: source('readonly'), destination: '/new/place', readOnly: true },
      { source: source('single'), destination: '/new/single', readOnly: false },
    ],
  };
  assert.deepEqual([...pack('/data', view).keys()], ['data/', 'data/file', 'data/sub/', 'data/sub/file']);
  assert.deepEqual([...pack('/new', view).keys()], ['new/', 'new/place/', 'new/single']);
  assert.equal(statInRoot(context, { root: view, path: '/new/single' }).sizeBytes, 6);
  writeFileSync(file, tar([{ name: 'sub/copied', data: 'copied' }]));
  await extract('/data', { root: view });
  assert.equal(readFileSync(source('nested/copied'), 'utf8'), 'copied');
  await assert.rejects(extract('/new/place', { root: view }), { code: 'EROFS' });
  assert.throws(() => pack('/trap/secret', view), { code: 'PATH_NOT_FOUND' });
  assert.throws(() => pack('/data', { ...root, mounts: [{ source: source('none'), destination: '/data', readOnly: false }] }), {
    code: 'ENOENT',
  });
  const trapped = { ...root, mounts: [{ source: source('volume'), destination: '/trap/secret', readOnly: false }] };
  assert.throws(() => pack('/', trapped), { code: 'ENOENT' });
  assert.deepEqual(mounts(), before);
  assert.deepEqual([readFileSync(join(folder, 'outside/secret'), 'utf8'), readdirSync(join(rootfs, 'data'))], ['secret', ['hidden']]);
});
