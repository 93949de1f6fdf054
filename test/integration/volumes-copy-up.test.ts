import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { getXattr, setXattr } from '../../src/kernel/xattr.ts';
import { copyUp } from '../../src/runtime/create/copy-up.ts';

const options = { skip: process.getuid?.() !== 0 && 'needs root' };

function scene(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-copy-up-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [rootfs, path] = [join(folder, 'root'), join(folder, 'volume/_data')];
  mkdirSync(join(rootfs, 'data/dir'), { recursive: true });
  mkdirSync(path, { recursive: true });
  for (const name of ['file', 'dir/file']) writeFileSync(join(rootfs, 'data', name), 'of the image');
  return { folder, rootfs, path, data: join(rootfs, 'data'), place: { path, staging: join(folder, 'volume') } };
}

test('everything comes along: owners, modes, times, attributes, links, and the directory itself', options, async (t) => {
  const { rootfs, data, place, path, folder } = scene(t);
  linkSync(join(data, 'file'), join(data, 'dir/linked'));
  symlinkSync('/etc/passwd', join(data, 'link'));
  chownSync(join(data, 'dir'), 5, 6);
  setXattr(data, 'user.note', 'x' as ByteString);
  chownSync(data, 7, 8);
  chmodSync(data, 0o1750);
  utimesSync(data, 1000, 1000);
  for (const at of [place, { path: join(folder, 'plain'), staging: undefined }]) {
    mkdirSync(at.path, { recursive: true });
    await copyUp(rootfs, '/data', at);
    const { uid, gid, mode, mtimeMs } = statSync(at.path);
    assert.deepEqual([uid, gid, mode & 0o7777, mtimeMs], [7, 8, 0o1750, 1_000_000]);
    assert.equal(getXattr(at.path, 'user.note'), 'x');
    assert.equal(statSync(join(at.path, 'file')).ino, statSync(join(at.path, 'dir/linked')).ino);
    assert.equal(statSync(join(at.path, 'dir')).uid, 5);
    assert.equal(readlinkSync(join(at.path, 'link')), '/etc/passwd');
  }
  assert.deepEqual(readdirSync(join(folder, 'volume')), ['_data']);
  writeFileSync(join(data, 'later'), '');
  await copyUp(rootfs, '/data', place);
  assert.ok(!readdirSync(path).includes('later'), 'one that holds something is left alone');
});

test('nothing is filled from what is no directory, and a symlink in the image stays in the image', options, async (t) => {
  const { rootfs, place, path, folder } = scene(t);
  mkdirSync(join(folder, 'outside'));
  writeFileSync(join(folder, 'outside/secret'), '');
  symlinkSync(join(folder, 'outside'), join(rootfs, 'out'));
  for (const destination of ['/data/file', '/none', '/out']) await copyUp(rootfs, destination, place);
  assert.deepEqual(readdirSync(path), []);
});

test('a container that has the volume already cannot make the copy write elsewhere', options, async (t) => {
  const { rootfs, place, path, folder, data } = scene(t);
  const outside = join(folder, 'outside');
  mkdirSync(join(outside, 'dir'), { recursive: true });
  for (const name of ['file', 'dir/file']) writeFileSync(join(outside, name), "the host's");
  for (let i = 0; i < 200; i++) writeFileSync(join(data, `more-${i}`), '');
  const script = `
    const { rmSync, symlinkSync } = require('node:fs');
    const [path, outside] = process.argv.slice(1);
    process.stdout.write('.');
    for (;;) for (const name of ['file', 'dir']) try {
      symlinkSync(outside + '/' + name, path + '/' + name);
      rmSync(path + '/' + name);
    } catch {}`;
  const racer = spawn(process.execPath, ['-e', script, path, outside], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(racer.stdout, 'data');
    const ends = Date.now() + 1_500;
    for (let rounds = 0; rounds < 10 || Date.now() < ends; rounds++) {
      await copyUp(rootfs, '/data', place);
      for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true, force: true });
    }
  } finally {
    if (racer.kill('SIGKILL')) await once(racer, 'exit');
  }
  for (const name of ['file', 'dir/file']) assert.equal(readFileSync(join(outside, name), 'utf8'), "the host's");
});
