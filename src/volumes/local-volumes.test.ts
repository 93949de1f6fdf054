import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { LocalVolumes } from './local-volumes.ts';

let directory: string;
let users: string[];
let volumes: LocalVolumes;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'slipway-volumes-'));
  users = [];
  volumes = new LocalVolumes({ directory, usedBy: () => users });
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const coded = (code: string) => (error: unknown) => error instanceof EngineError && error.code === code;

test('a volume is made once, found again, and removed with what is in it', async () => {
  const made = await volumes.create({ name: 'data', labels: { a: 'b' } });
  writeFileSync(join(made.mountpoint, 'file'), 'x');
  assert.deepEqual(await volumes.create({ name: 'data', labels: { other: '' } }), made);
  assert.deepEqual(await new LocalVolumes({ directory, usedBy: () => [] }).list(), [made]);
  await volumes.remove('data');
  await assert.rejects(volumes.get('data'), coded('VOLUME_NOT_FOUND'));
  await assert.rejects(volumes.remove('data'), coded('VOLUME_NOT_FOUND'));
  await volumes.remove('data', { force: true });
  assert.deepEqual(readdirSync(directory), []);
});

test('an anonymous one has a name of 64 hex digits', async () => {
  const { name, anonymous } = await volumes.create({});
  assert.match(name, /^[0-9a-f]{64}$/);
  assert.ok(anonymous);
});

test('one in use stays, and its users are told', async () => {
  await volumes.create({ name: 'used' });
  users = ['abc'];
  await assert.rejects(
    volumes.remove('used', { force: true }),
    (error: unknown) => error instanceof EngineError && error.code === 'VOLUME_IN_USE' && error.message.includes('abc'),
  );
});

test('names that would lead elsewhere, drivers and options that are not there are refused', async () => {
  for (const name of ['../x', 'a/b', '.hidden', 'a b', 'x'.repeat(256)])
    await assert.rejects(volumes.create({ name }), coded('VOLUME_NAME_INVALID'), name);
  await assert.rejects(volumes.create({ name: 'x', driver: 'nfs' }), coded('VOLUME_DRIVER_NOT_FOUND'));
  await assert.rejects(volumes.create({ name: 'x', options: { type: 'nfs' } }), coded('VOLUME_OPTIONS_UNSUPPORTED'));
});

test('what a crash left half made is no volume, and is made whole by the next creation', async () => {
  mkdirSync(join(directory, 'half/_data'), { recursive: true });
  assert.deepEqual(await volumes.list(), []);
  assert.equal((await volumes.create({ name: 'half' })).name, 'half');
});
