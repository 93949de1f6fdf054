import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { HostConfig, Mount } from '../../src/api-types/container.ts';
import { mount, unmountIfMounted } from '../../src/kernel/mount.ts';
import { cannotRun, closeHarness, type Harness, makeHarness, run } from './runtime-support.ts';

/** Binds, volumes and tmpfs with all their options, as the container sees them. */

const skip = cannotRun;
let harness: Harness;
let directory: string;
before(async () => {
  if (skip) return;
  harness = await makeHarness();
  directory = mkdtempSync(join(tmpdir(), 'slipway-mounts-'));
  mkdirSync(join(directory, 'source/below'), { recursive: true });
  mount({ source: 'tmpfs', target: join(directory, 'source/below'), type: 'tmpfs' });
  writeFileSync(join(directory, 'source/below/file'), 'below\n');
});
after(async () => {
  if (skip) return;
  await closeHarness(harness);
  unmountIfMounted(join(directory, 'source/below'));
  rmSync(directory, { recursive: true, force: true });
});

const shell = (script: string, HostConfig: HostConfig) =>
  run(harness, ['sh', '-c', script], { HostConfig: { NetworkMode: 'none', Init: false, ...HostConfig } });
const bind = (options: Mount['BindOptions'] = {}, more: Partial<Mount> = {}): HostConfig => ({
  Mounts: [{ Type: 'bind', Source: join(directory, 'source'), Target: '/b', BindOptions: options, ...more }],
});
const refused = (HostConfig: HostConfig) =>
  harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { NetworkMode: 'none', ...HostConfig } });

test('read-only is read-only all the way down, unless that is not asked', { skip }, async () => {
  const write = 'touch /b/x 2>/dev/null || echo top; touch /b/below/x 2>/dev/null || echo below';
  assert.equal((await shell(write, bind({}, { ReadOnly: true }))).stdout, 'top\nbelow\n');
  assert.equal((await shell(write, { Binds: [`${directory}/source:/b:ro`] })).stdout, 'top\nbelow\n');
  assert.equal(
    (await shell(write, bind({ ReadOnlyForceRecursive: true, Propagation: 'rprivate' }, { ReadOnly: true }))).stdout,
    'top\nbelow\n',
  );
  assert.equal((await shell(write, bind({ ReadOnlyNonRecursive: true }, { ReadOnly: true }))).stdout, 'top\n');
});

test('a bind that is not recursive leaves out what is mounted below', { skip }, async () => {
  assert.equal((await shell('cat /b/below/file', bind({ NonRecursive: true }))).exitCode, 1);
  assert.equal((await shell('cat /b/below/file', bind())).stdout, 'below\n');
});

test('a missing source is made by -v and by CreateMountpoint only', { skip }, async () => {
  const missing = (options: Mount['BindOptions']) => bind(options, { Source: join(directory, 'missing/one') });
  await assert.rejects(refused(missing({})), /invalid mount config for type "bind": bind source path does not exist: \S+\/missing\/one/);
  assert.equal((await shell('test -d /b && echo made', missing({ CreateMountpoint: true }))).stdout, 'made\n');
  assert.equal((await shell('test -d /b && echo made', { Binds: [`${directory}/missing/two:/b`] })).stdout, 'made\n');
});

test('volumes are shared with --volumes-from, by the last that names a place', { skip }, async () => {
  const donor = await shell('echo one > /v/file; echo two > /w/file', { Binds: ['spec-v:/v', 'spec-w:/w:rw'] });
  const { stdout, stderr } = await shell('cat /v/file /w/file; touch /v/x 2>&1', { VolumesFrom: [`${donor.id}:ro`], Tmpfs: { '/w': '' } });
  assert.match(stdout, /^one\n/);
  assert.match(stdout + stderr, /Read-only file system/);
  assert.match(stdout + stderr, /can't open '\/w\/file'/);
  await assert.rejects(refused({ VolumesFrom: [`${donor.id}:shared`] }), /invalid mode: shared/);
  await assert.rejects(refused({ VolumesFrom: ['absent'] }), /No such container: absent/);
});

test('a part of a volume is mounted, and no symlink in it leads out', { skip }, async () => {
  const Mounts = (Subpath: string): HostConfig => ({
    Mounts: [{ Type: 'volume', Source: 'spec-parts', Target: '/p', VolumeOptions: { Subpath } }],
  });
  await shell('mkdir -p /all/a/b; echo deep > /all/a/b/file', { Binds: ['spec-parts:/all'] });
  assert.equal((await shell('cat /p/file', Mounts('a/b'))).stdout, 'deep\n');
  const { mountpoint } = await harness.volumes.get('spec-parts');
  symlinkSync('/etc', join(mountpoint, 'out'));
  await assert.rejects(shell('true', Mounts('out')), /escapes|cannot access path/);
  await assert.rejects(refused(Mounts('../x')), /subpath must be a relative path within the volume/);
});

test("what is contradictory or unknown is refused in Docker's words", { skip }, async () => {
  const volume = (more: Partial<Mount>): HostConfig => ({ Mounts: [{ Type: 'volume', Target: '/v', ...more }] });
  await assert.rejects(
    refused(volume({ BindOptions: {} })),
    /invalid mount config for type "volume": field BindOptions must not be specified/,
  );
  await assert.rejects(refused(volume({ VolumeOptions: { Subpath: 'a' } })), /must not set Subpath when using anonymous volumes/);
  await assert.rejects(refused(volume({ Target: '/' })), /destination can't be '\/'/);
  await assert.rejects(refused({ Mounts: [{ Type: 'tmpfs', Target: '/t', Source: 'x' }] }), /field Source must not be specified/);
  await assert.rejects(
    refused({ Mounts: [{ Type: 'tmpfs', Target: '/t', TmpfsOptions: { Options: [['suid']] } }] }),
    /invalid option: suid/,
  );
  await assert.rejects(
    refused(bind({ ReadOnlyNonRecursive: true, ReadOnlyForceRecursive: true }, { ReadOnly: true })),
    /mount options conflict/,
  );
  await assert.rejects(refused({ Tmpfs: { '/t': 'fast' } }), /Invalid tmpfs option "fast"/);
  await assert.rejects(refused({ Binds: ['/a:/b:ro,rw'] }), /invalid mode: ro,rw/);
  await assert.rejects(refused({ Binds: ['name:/b:rslave'] }), /field BindOptions must not be specified/);
  await assert.rejects(refused({ Binds: ['volume:/b'], VolumeDriver: 'nope' }), /plugin "nope" not found/);
});

test('propagation is refused where the source does not propagate', { skip }, async () => {
  const shared = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === '/' && line.includes('shared:'));
  const result = shell('true', bind({ Propagation: 'rshared' }));
  if (shared) assert.equal((await result).exitCode, 0);
  else await assert.rejects(result, /is mounted on \S+ but it is not a shared mount/);
});
