import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { listMounts, mount, unmount } from '../kernel/mount.ts';
import { chooseSnapshotter } from './choose.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

test('the choice is made by trying, has a reason and leaves nothing', needsRoot, () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-choose-'));
  try {
    const { name, reason } = chooseSnapshotter({ workDirectory: folder, runDirectory: folder });
    assert.match(name, /^(erofs|hardlink)-overlay$/);
    assert.ok(reason.length > 20);
    assert.deepEqual(readdirSync(folder), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('without room to try, the driver of earlier snapshots is taken, or the full disk is named', needsRoot, () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-choose-'));
  const full = join(folder, 'full');
  mkdirSync(full);
  mount({ source: 'tmpfs', target: full, type: 'tmpfs', data: 'nr_inodes=2' });
  try {
    const options = { workDirectory: full, runDirectory: folder };
    assert.equal(chooseSnapshotter({ ...options, used: 'erofs-overlay' }).name, 'erofs-overlay');
    assert.throws(() => chooseSnapshotter(options), { code: 'ENOSPC' });
    assert.deepEqual([readdirSync(full), readdirSync(folder)], [[], ['full']]);
  } finally {
    unmount(full);
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a root directory that cannot hold an upper layer is refused with both reasons', needsRoot, () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-choose-'));
  const at = (name: string) => join(folder, name);
  for (const name of ['lower', 'upper', 'work', 'nested', 'run']) mkdirSync(at(name));
  mount({
    source: 'x',
    target: at('nested'),
    type: 'overlay',
    data: `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`,
  });
  try {
    assert.throws(() => chooseSnapshotter({ workDirectory: at('nested'), runDirectory: at('run') }), {
      kind: 'Unavailable',
      code: 'SNAPSHOTTER_NONE',
      message: /erofs-overlay: .*block device.*hardlink-overlay: .*not supported as upperdir/,
    });
    assert.ok(!listMounts().some(({ mountPoint }) => mountPoint.startsWith(at('run'))));
  } finally {
    unmount(at('nested'));
    rmSync(folder, { recursive: true, force: true });
  }
});
