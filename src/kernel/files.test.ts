import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { copyRange, flockExclusive, mkfifo, mknod, O, openIn, punchHole, seekHoles, setTimes, statfs, statPath, syncfs } from './files.ts';
import { S_IFCHR, S_IFIFO, S_IFMT } from './stat.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };
const folder = mkdtempSync(join(tmpdir(), 'slipway-kernel-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('opening inside a root cannot leave it', () => {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, 'etc/passwd'), 'inside');
  symlinkSync('/etc/passwd', join(root, 'absolute'));
  symlinkSync('../../../../etc/passwd', join(root, 'dots'));
  const rootFd = openSync(root, O.RDONLY | O.DIRECTORY);
  try {
    for (const path of ['etc/passwd', '/etc/passwd', 'absolute', 'dots', '../../etc/passwd']) {
      const fd = openIn(rootFd, path, O.RDONLY);
      assert.equal(readFileSync(fd, 'utf8'), 'inside', path);
      closeSync(fd);
    }
    assert.throws(() => openIn(rootFd, 'missing', O.RDONLY), { code: 'ENOENT', syscall: 'openat2', path: 'missing' });
  } finally {
    closeSync(rootFd);
  }
});

test('a path with NUL and one that is too long are refused', () => {
  assert.throws(() => statPath('a\0b'), { code: 'EINVAL' });
  assert.throws(() => statPath(`/${'x'.repeat(100_000)}`), { code: 'ENAMETOOLONG' });
});

test('times keep nanoseconds and go before 1970, and a symlink is not followed', () => {
  const target = join(folder, 'times');
  writeFileSync(target, '');
  symlinkSync(target, join(folder, 'times-link'));
  setTimes(target, -5, 123_456_789);
  setTimes(join(folder, 'times-link'), 4_000_000_000, 1);
  const stat = statPath(target);
  assert.deepEqual([stat.mtimeSec, stat.mtimeNsec], [-5, 123_456_789]);
  const link = statPath(join(folder, 'times-link'));
  assert.deepEqual([link.mtimeSec, link.mtimeNsec], [4_000_000_000, 1]);
});

test('data extents leave holes out, and a punched hole is one', () => {
  const path = join(folder, 'sparse');
  const fd = openSync(path, 'w+');
  try {
    ftruncateSync(fd, 1 << 20);
    writeSync(fd, 'x', 512 * 1024);
    const extents = seekHoles(fd, 1 << 20);
    assert.equal(extents.length, 1);
    const [start, end] = extents[0] ?? [0, 0];
    assert.ok(start <= 512 * 1024 && end > 512 * 1024 && end - start < 128 * 1024);
    if (punchHole(fd, 0, 1 << 20)) assert.deepEqual(seekHoles(fd, 1 << 20), []);
    assert.deepEqual(seekHoles(fd, 0), []);
  } finally {
    closeSync(fd);
  }
});

test('a range is copied to its place, and a short source is an error', () => {
  const source = openSync(join(folder, 'from'), 'w+');
  const target = openSync(join(folder, 'to'), 'w+');
  try {
    writeSync(source, 'abcdefgh');
    copyRange(source, 2, target, 1, 4);
    assert.equal(readFileSync(join(folder, 'to'), 'latin1'), '\0cdef');
    assert.throws(() => copyRange(source, 6, target, 0, 10), { code: 'EIO' });
  } finally {
    closeSync(source);
    closeSync(target);
  }
});

test('a lock is held by one open file at a time', () => {
  const path = join(folder, 'lock');
  const first = openSync(path, 'w');
  const second = openSync(path, 'r');
  assert.equal(flockExclusive(first), true);
  assert.equal(flockExclusive(second), false);
  closeSync(first);
  assert.equal(flockExclusive(second), true);
  syncfs(second);
  closeSync(second);
});

test('devices keep numbers beyond eight bits', needsRoot, () => {
  const path = join(folder, 'device');
  mknod(path, S_IFCHR | 0o600, 4000, 1_048_000);
  const stat = statPath(path);
  assert.deepEqual([stat.mode & S_IFMT, stat.rdevMajor, stat.rdevMinor], [S_IFCHR, 4000, 1_048_000]);
  mkfifo(join(folder, 'fifo'), 0o600);
  assert.equal(statPath(join(folder, 'fifo')).mode & S_IFMT, S_IFIFO);
});

test('statx agrees with Node, and file systems have sizes', () => {
  const stat = statPath(folder);
  const node = statSync(folder, { bigint: true });
  assert.equal(BigInt(stat.ino), node.ino);
  assert.equal(BigInt(stat.mtimeSec) * 1_000_000_000n + BigInt(stat.mtimeNsec), node.mtimeNs);
  const { totalBytes, availableBytes } = statfs(folder);
  assert.ok(totalBytes > 0 && availableBytes <= totalBytes);
});
