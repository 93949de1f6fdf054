import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bindMount, isMountPoint, listMounts, mount, unmountIfMounted } from '../../src/kernel/mount.ts';
import { LocalVolumeDriver } from '../../src/volumes/drivers/local.ts';
import { VolumeService } from '../../src/volumes/service.ts';

const options = { skip: process.getuid?.() !== 0 && 'needs root' };
const tmpfsMagic = 0x0102_1994;

function scene(t: TestContext) {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'slipway-devices-')));
  t.after(() => {
    for (const { mountPoint } of listMounts().reverse()) if (mountPoint.startsWith(`${folder}/`)) unmountIfMounted(mountPoint);
    rmSync(folder, { recursive: true, force: true });
  });
  const paths = { directory: join(folder, 'volumes'), runDirectory: join(folder, 'run') };
  mkdirSync(paths.directory);
  const service = () => new VolumeService({ ...paths, drivers: [new LocalVolumeDriver(paths)], usedBy: () => [] });
  const host = join(folder, 'host');
  mkdirSync(host);
  writeFileSync(join(host, 'file'), "the host's");
  return { ...paths, folder, host, service, volumes: service(), left: () => listMounts().filter((m) => m.mountPoint.startsWith(folder)) };
}

const tmpfs = { type: 'tmpfs', device: 'tmpfs', o: 'size=1m,mode=0711,uid=1000' };

test('a tmpfs is mounted for its first user and unmounted after its last', options, async (t) => {
  const { volumes, left } = scene(t);
  const { mountpoint } = await volumes.create({ name: 'fast', options: tmpfs });
  assert.equal(isMountPoint(mountpoint), false, 'not before somebody uses it');
  assert.equal(await volumes.mount('fast', 'one'), mountpoint);
  const { type, blocks, bsize } = statfsSync(mountpoint);
  assert.deepEqual({ type, bytes: blocks * bsize }, { type: tmpfsMagic, bytes: 1 << 20 });
  await Promise.all(['two', 'three', 'four'].map((user) => volumes.mount('fast', user)));
  assert.equal(left().length, 1, 'once for all');
  writeFileSync(join(mountpoint, 'file'), 'x');
  await Promise.all(['one', 'two', 'three', 'one'].map((user) => volumes.unmount('fast', user)));
  assert.ok(existsSync(join(mountpoint, 'file')));
  await volumes.unmount('fast', 'four');
  assert.deepEqual(left(), []);
  assert.equal(await volumes.size('fast'), undefined);
});

test('a bind shows a host folder, read-only when asked, and its files outlive the volume', options, async (t) => {
  const { volumes, host } = scene(t);
  const { mountpoint } = await volumes.create({ name: 'bound', options: { type: 'none', device: host, o: 'bind,ro' } });
  await volumes.mount('bound', 'user');
  assert.equal(readFileSync(join(mountpoint, 'file'), 'utf8'), "the host's");
  assert.throws(() => writeFileSync(join(mountpoint, 'other'), ''), { code: 'EROFS' });
  await volumes.remove('bound');
  assert.equal(readFileSync(join(host, 'file'), 'utf8'), "the host's");
});

test('what is mounted inside a volume is unmounted, not emptied, when the volume goes', options, async (t) => {
  const { volumes, host, left } = scene(t);
  const { mountpoint } = await volumes.create({ name: 'outer' });
  mkdirSync(join(mountpoint, 'inner'));
  bindMount(host, join(mountpoint, 'inner'));
  await volumes.remove('outer');
  assert.equal(readFileSync(join(host, 'file'), 'utf8'), "the host's");
  assert.deepEqual(left(), []);
});

test('a device that cannot be mounted is named, without its password, and nothing is counted', options, async (t) => {
  const { volumes, runDirectory } = scene(t);
  await volumes.create({ name: 'gone', options: { type: 'none', device: '/no/such/folder', o: 'bind' } });
  await assert.rejects(volumes.mount('gone', 'user'), (error: Error) => {
    assert.match(error.message, /error while mounting volume '.*gone\/_data': failed to mount local volume: mount \/no\/such\/folder:/);
    return true;
  });
  await volumes.create({ name: 'secret', options: { type: 'no-such-fs', device: 'x', o: 'user=me,password=hush' } });
  await assert.rejects(volumes.mount('secret', 'user'), (error: Error) => {
    assert.ok(!error.message.includes('hush'), error.message);
    assert.match(error.message, /password=\*+/);
    return true;
  });
  await volumes.create({ name: 'far', options: { type: 'nfs', device: ':/x', o: 'addr=no-such-host.invalid,ro' } });
  await assert.rejects(volumes.mount('far', 'user'), { code: 'VOLUME_ADDRESS_UNKNOWN' });
  assert.deepEqual(existsSync(join(runDirectory, 'local')) ? readdirSync(join(runDirectory, 'local')) : [], []);
});

test('a mount that a killed engine left is taken over or taken down', options, async (t) => {
  const { volumes, service, runDirectory, left } = scene(t);
  for (const name of ['kept', 'dropped', 'lost']) {
    const { mountpoint } = await volumes.create({ name, options: tmpfs });
    await volumes.mount(name, `user-of-${name}`);
    writeFileSync(join(mountpoint, 'file'), name);
  }
  // The host went down, or somebody emptied the run directory: nobody knows of a user any more.
  rmSync(join(runDirectory, 'local/lost'), { recursive: true });
  const next = service();
  await next.recover((user) => user === 'user-of-kept');
  assert.equal(left().length, 1);
  const kept = await next.mount('kept', 'another');
  assert.equal(readFileSync(join(kept, 'file'), 'utf8'), 'kept');
  await next.unmount('kept', 'user-of-kept');
  assert.equal(left().length, 1);
  await next.unmount('kept', 'another');
  assert.deepEqual(left(), []);
});

test('a part of a volume is mounted alone, file or folder, and goes with its user', options, async (t) => {
  const { volumes, left, runDirectory } = scene(t);
  const { mountpoint } = await volumes.create({ name: 'data' });
  mkdirSync(join(mountpoint, 'a/b'), { recursive: true });
  writeFileSync(join(mountpoint, 'a/b/file'), 'deep');
  symlinkSync('a/b', join(mountpoint, 'inside'));
  const part = await volumes.mount('data', 'user', { subpath: 'a/b' });
  assert.deepEqual(readdirSync(part), ['file']);
  assert.equal(await volumes.mount('data', 'user', { subpath: 'a/b' }), part);
  assert.equal(readFileSync(await volumes.mount('data', 'user', { subpath: 'a/b/file' }), 'utf8'), 'deep');
  assert.deepEqual(readdirSync(await volumes.mount('data', 'user', { subpath: 'inside' })), ['file'], 'a symlink that stays inside');
  await volumes.unmount('data', 'user');
  assert.deepEqual(left(), []);
  assert.deepEqual(readdirSync(join(runDirectory, 'subpaths')), []);
  assert.equal(readFileSync(join(mountpoint, 'a/b/file'), 'utf8'), 'deep');
});

test('a path into a volume that leads out of it, or nowhere, is refused', options, async (t) => {
  const { volumes, host, left } = scene(t);
  const { mountpoint } = await volumes.create({ name: 'data' });
  symlinkSync(host, join(mountpoint, 'absolute'));
  symlinkSync('../../../host', join(mountpoint, 'upwards'));
  symlinkSync('loop', join(mountpoint, 'loop'));
  mkdirSync(join(mountpoint, 'sub'));
  writeFileSync(join(mountpoint, 'file'), '');
  for (const subpath of ['absolute', 'upwards', 'upwards/file', '..', 'sub/../../..', '/etc', 'loop']) {
    await assert.rejects(volumes.mount('data', 'user', { subpath }), { code: 'SUBPATH_ESCAPES' }, subpath);
  }
  for (const subpath of ['none', 'file/x']) {
    await assert.rejects(volumes.mount('data', 'user', { subpath }), {
      code: 'SUBPATH_NOT_FOUND',
      message: `cannot access path ${join(mountpoint, subpath)}: no such file or directory`,
    });
  }
  assert.deepEqual(left(), []);
});

test('a container that exchanges folders for symlinks meanwhile never gets a mount of something outside', options, async (t) => {
  const { volumes, host } = scene(t);
  const { mountpoint } = await volumes.create({ name: 'data' });
  const [folder, link] = [join(mountpoint, 'a'), join(mountpoint, 'b')];
  mkdirSync(folder);
  writeFileSync(join(folder, 'mine'), '');
  symlinkSync(host, link);
  let stop = false;
  const exchanging = (async () => {
    while (!stop) {
      renameSync(folder, `${folder}.x`);
      renameSync(link, folder);
      await new Promise(setImmediate);
      renameSync(folder, link);
      renameSync(`${folder}.x`, folder);
      await new Promise(setImmediate);
    }
  })();
  for (let round = 0; round < 200; round++) {
    const user = `user-${round}`;
    try {
      const part = await volumes.mount('data', user, { subpath: 'a' });
      assert.deepEqual(readdirSync(part), ['mine']);
    } catch (error) {
      assert.ok(['SUBPATH_ESCAPES', 'SUBPATH_NOT_FOUND'].includes((error as { code?: string }).code ?? ''), String(error));
    }
    await volumes.unmount('data', user);
  }
  stop = true;
  await exchanging;
});

test('a volume on a device has its parts too', options, async (t) => {
  const { volumes, host, left } = scene(t);
  mkdirSync(join(host, 'part'));
  await volumes.create({ name: 'bound', options: { type: 'none', device: host, o: 'rbind' } });
  mount({ source: 'none', target: join(host, 'part'), type: 'tmpfs' });
  writeFileSync(join(host, 'part/file'), 'x');
  const part = await volumes.mount('bound', 'user', { subpath: 'part' });
  assert.deepEqual(readdirSync(part), ['file']);
  await volumes.unmount('bound', 'user');
  assert.deepEqual(
    left().map(({ mountPoint }) => mountPoint),
    [join(host, 'part')],
  );
});
