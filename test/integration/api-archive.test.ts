import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { extractIntoRoot } from '../../src/api/archive/extract.ts';
import { packFromRoot, statInRoot } from '../../src/api/archive/pack.ts';
import type { ByteString } from '../../src/base/bytes.ts';
import type { TarMember } from '../../src/oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../src/oci/tar/writer.ts';
import type { TreeContext } from '../../src/store/port.ts';

const options = { skip: process.getuid?.() !== 0 && 'needs root' };
/** These jobs work on files of the host; they do not touch the store. */
const context = {} as TreeContext;

/** A folder with a "container" in `root` and a secret beside it that nothing may reach. */
function scene(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-archive-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const rootfs = join(folder, 'root');
  mkdirSync(join(rootfs, 'data'), { recursive: true });
  mkdirSync(join(folder, 'outside'));
  writeFileSync(join(folder, 'outside', 'secret'), 'secret');
  return { folder, rootfs, root: { rootfs }, output: join(folder, 'out.tar'), file: join(folder, 'in.tar') };
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
  const { rootfs, root, output, folder } = scene(t);
  mkdirSync(join(rootfs, 'data/sub'));
  writeFileSync(join(rootfs, 'data/sub/f'), 'content');
  chmodSync(join(rootfs, 'data/sub/f'), 0o4755);
  utimesSync(join(rootfs, 'data/sub/f'), 1000, 1000);
  symlinkSync('/etc/passwd', join(rootfs, 'data/link'));
  const stat = packFromRoot(context, { root, path: '/data', output });
  assert.equal(stat.name, 'data');
  const listing = execFileSync('tar', ['-tf', output]).toString().trim().split('\n');
  assert.deepEqual(listing, ['data/', 'data/link', 'data/sub/', 'data/sub/f']);
  mkdirSync(join(rootfs, 'copy'));
  await extractIntoRoot(context, { root, path: '/copy', file: output });
  const copied = statSync(join(rootfs, 'copy/data/sub/f'));
  assert.equal(copied.mode & 0o7777, 0o4755);
  assert.equal(copied.mtimeMs, 1_000_000);
  assert.equal(readFileSync(join(rootfs, 'copy/data/sub/f'), 'utf8'), 'content');
  assert.ok(lstatSync(join(rootfs, 'copy/data/link')).isSymbolicLink());
  assert.equal(readFileSync(join(folder, 'outside/secret'), 'utf8'), 'secret');
});

test('reading through symlinks that lead out stays inside the root', options, (t) => {
  const { folder, rootfs, root, output } = scene(t);
  symlinkSync(join(folder, 'outside'), join(rootfs, 'absolute'));
  symlinkSync('../../outside', join(rootfs, 'data/up'));
  for (const path of ['/absolute/secret', '/data/up/secret', '/../outside/secret', '/absolute/']) {
    assert.throws(() => packFromRoot(context, { root, path, output }), { code: 'PATH_NOT_FOUND' });
    rmSync(output, { force: true });
  }
});

test('a symlink at the end of a path is told of, not followed', options, (t) => {
  const { rootfs, root } = scene(t);
  symlinkSync('/data', join(rootfs, 'link'));
  assert.equal(statInRoot(context, { root, path: '/link' }).linkTarget, '/data');
  assert.equal(statInRoot(context, { root, path: '/link/' }).linkTarget, '');
  assert.throws(() => statInRoot(context, { root, path: '/nope' }), { kind: 'NotFound' });
});

test('writing through symlinks that lead out stays inside the root', options, async (t) => {
  const { folder, rootfs, root, file } = scene(t);
  symlinkSync(join(folder, 'outside'), join(rootfs, 'data/out'));
  symlinkSync(join(folder, 'outside/secret'), join(rootfs, 'data/secret'));
  writeFileSync(
    file,
    tar([
      { name: 'secret', data: 'mine' },
      { name: 'out/secret', data: 'mine' },
    ]),
  );
  await assert.rejects(extractIntoRoot(context, { root, path: '/data', file }));
  assert.equal(readFileSync(join(rootfs, 'data/secret'), 'utf8'), 'mine');
  assert.equal(readFileSync(join(folder, 'outside/secret'), 'utf8'), 'secret');
});

test('members that lead upwards or stand for deletions are refused', options, async (t) => {
  const { root, file } = scene(t);
  const bad: Parameters<typeof tar>[0] = [
    { name: '../x', data: 'x' },
    { name: 'a/../../x', data: 'x' },
    { name: 'w', type: 'charDevice', major: 0, minor: 0 },
    { name: 'l', type: 'link', linkTarget: '../../outside/secret' as ByteString },
  ];
  for (const member of bad) {
    writeFileSync(file, tar([member]));
    await assert.rejects(extractIntoRoot(context, { root, path: '/data', file }), { code: 'TAR_MEMBER_REFUSED' });
  }
});

test('a file does not replace a directory that holds something', options, async (t) => {
  const { rootfs, root, file } = scene(t);
  mkdirSync(join(rootfs, 'data/d/e'), { recursive: true });
  writeFileSync(file, tar([{ name: 'd', data: 'file' }]));
  await assert.rejects(extractIntoRoot(context, { root, path: '/data', file }), { code: 'DIRECTORY_IN_THE_WAY' });
  writeFileSync(file, tar([{ name: 'd/e', data: 'file' }]));
  await extractIntoRoot(context, { root, path: '/data', file });
  assert.equal(readFileSync(join(rootfs, 'data/d/e'), 'utf8'), 'file');
});

test('a truncated archive and a missing directory say what is wrong', options, async (t) => {
  const { root, file } = scene(t);
  writeFileSync(file, tar([{ name: 'f', data: 'x'.repeat(2000) }]).subarray(0, 1000));
  await assert.rejects(extractIntoRoot(context, { root, path: '/data', file }), { code: 'TAR_TRUNCATED' });
  await assert.rejects(extractIntoRoot(context, { root, path: '/nope', file }), { code: 'PATH_NOT_FOUND' });
});
