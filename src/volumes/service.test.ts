import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { LocalVolumeDriver } from './drivers/local.ts';
import type { VolumeDriver } from './port.ts';
import { VolumeService } from './service.ts';

let folder: string;
let directory: string;
let users: string[];
let volumes: VolumeService;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-volumes-'));
  directory = join(folder, 'volumes');
  mkdirSync(directory);
  users = [];
  volumes = service();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function service(...more: VolumeDriver[]): VolumeService {
  const paths = { directory, runDirectory: join(folder, 'run') };
  return new VolumeService({ ...paths, drivers: [new LocalVolumeDriver(paths), ...more], usedBy: () => users });
}

const coded =
  (code: string, words = '') =>
  (error: unknown) =>
    error instanceof EngineError && error.code === code && error.message.includes(words);

test('a volume is made once, found again, and removed with what is in it', async () => {
  const made = await volumes.create({ name: 'data', labels: { a: 'b' } });
  writeFileSync(join(made.mountpoint, 'file'), 'x');
  assert.deepEqual(await volumes.create({ name: 'data', labels: { other: '' } }), made);
  assert.deepEqual(await service().list(), [made]);
  assert.deepEqual(await volumes.create({ name: 'data', driver: 'local' }), made);
  assert.ok(((await volumes.size('data')) ?? 0) >= 4096);
  await volumes.remove('data');
  await assert.rejects(volumes.get('data'), coded('VOLUME_NOT_FOUND', 'get data: no such volume'));
  await assert.rejects(volumes.remove('data'), coded('VOLUME_NOT_FOUND'));
  await volumes.remove('data', { force: true });
  assert.deepEqual(readdirSync(directory), []);
});

test('creations of one name side by side make one volume', async () => {
  const made = await Promise.all(Array.from({ length: 20 }, () => volumes.create({ name: 'same' })));
  assert.equal(new Set(made.map(({ createdAtMs }) => createdAtMs)).size, 1);
});

test('an anonymous one has a name of 64 hex digits and says so', async () => {
  const { name, anonymous, labels } = await volumes.create({ labels: { a: 'b' } });
  assert.match(name, /^[0-9a-f]{64}$/);
  assert.ok(anonymous);
  assert.deepEqual(labels, { a: 'b', 'com.docker.volume.anonymous': '' });
});

test('one in use stays, and its users are told', async () => {
  await volumes.create({ name: 'used' });
  users = ['abc', 'def'];
  await assert.rejects(volumes.remove('used', { force: true }), coded('VOLUME_IN_USE', 'remove used: volume is in use - [abc, def]'));
});

test('names that would lead elsewhere and drivers that are not there are refused', async () => {
  for (const name of ['../x', 'a/b', '.hidden', 'a b', 'x'.repeat(256), 'x', '..']) {
    await assert.rejects(volumes.create({ name }), coded('VOLUME_NAME_INVALID'), name);
    await assert.rejects(volumes.get(name), coded('VOLUME_NOT_FOUND'), name);
    await volumes.unmount(name, 'user');
  }
  await assert.rejects(volumes.create({ name: 'xx', driver: 'nfs' }), coded('VOLUME_DRIVER_NOT_FOUND', 'plugin "nfs" not found'));
});

test("the local driver's options are checked in Docker's words", async () => {
  const cases: [Record<string, string>, string][] = [
    [{ kind: 'nfs' }, 'invalid option: "kind"'],
    [{ type: 'nfs' }, 'missing required option: "device"'],
    [{ o: 'ro' }, 'missing required option: "device"'],
    [{ device: '/x', o: 'bind' }, 'missing required option: "type"'],
    [{ size: '10m' }, 'quota size requested but no quota support'],
    [{ type: 'cifs', device: '//host:445/share' }, "port not allowed in CIFS device URL, include 'port' in 'o='"],
  ];
  for (const [options, words] of cases) {
    await assert.rejects(volumes.create({ name: 'bad', options }), coded('VOLUME_OPTIONS_INVALID', words), words);
    assert.deepEqual(await volumes.list(), []);
  }
});

test('the same name again: the same options are the same volume, others a conflict', async () => {
  const options = { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' };
  const made = await volumes.create({ name: 'data', options });
  assert.deepEqual(made.options, options);
  assert.deepEqual(await volumes.create({ name: 'data', options: { ...options } }), made);
  assert.deepEqual(await volumes.create({ name: 'data' }), made, 'none given: whatever it is');
  await assert.rejects(volumes.create({ name: 'data', options: { ...options, o: 'size=2m' } }), coded('VOLUME_EXISTS', 'o=size=1m'));
  const other = { name: 'other', create: async () => {}, get: async () => ({ mountpoint: '/' }) } as Partial<VolumeDriver> as VolumeDriver;
  await assert.rejects(
    service(other).create({ name: 'data', driver: 'other' }),
    coded('VOLUME_EXISTS', "create data: driver 'local' already has volume 'data'"),
  );
});

test('what a crash left half made is no volume, and is made whole by the next creation', async () => {
  mkdirSync(join(directory, 'half/_data'), { recursive: true });
  writeFileSync(join(directory, 'half/device.json'), '{"version":1,"type":"tmpfs","device":"tmpfs","options":""}');
  assert.deepEqual(await volumes.list(), []);
  assert.equal((await volumes.create({ name: 'half' })).name, 'half');
  assert.ok((await volumes.size('half')) !== undefined, 'a plain folder now');
});

test('what a crash left of a removal goes at the next start', async () => {
  mkdirSync(join(directory, '.removed-00/_data'), { recursive: true });

  const { mountpoint } = await volumes.create({ name: 'kept' });
  mkdirSync(join(mountpoint, '../.fill-xx/a'), { recursive: true });
  await volumes.recover(() => false);
  assert.deepEqual(readdirSync(directory), ['kept']);
  assert.deepEqual(readdirSync(join(directory, 'kept')).sort(), ['_data', 'volume.json']);
});

test('a damaged record is named, and does not hide the others', async () => {
  const { mountpoint } = await volumes.create({ name: 'bad' });
  await volumes.create({ name: 'good' });
  writeFileSync(join(mountpoint, '../volume.json'), '{');
  await assert.rejects(volumes.get('bad'), coded('VOLUME_DAMAGED', 'bad'));
  assert.deepEqual(
    (await volumes.list()).map(({ name }) => name),
    ['good'],
  );
});
