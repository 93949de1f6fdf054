import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EngineError } from '../../base/errors.ts';
import { isInit, resolveCommand } from './command.ts';
import { InRoot } from './in-root.ts';
import { resolveUser } from './user.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'slipway-in-root-'));
  const root = join(directory, 'root');
  for (const name of ['etc', 'bin', 'sub']) mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(directory, 'outside'), 'secret');
  symlinkSync('../../../outside', join(root, 'up'));
  symlinkSync('/etc/passwd', join(root, 'absolute'));
  symlinkSync('/loop', join(root, 'loop'));
  writeFileSync(join(root, 'etc/passwd'), '# comment\nroot:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:\n77:x:5:6::/odd:\nbroken\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nwheel:x:10:root,app\nvideo:x:44:\n');
  writeFileSync(join(root, 'bin/tool'), '', { mode: 0o755 });
  writeFileSync(join(root, 'bin/plain'), '', { mode: 0o644 });
  mkdirSync(join(directory, 'mounted'));
  writeFileSync(join(directory, 'mounted/extra'), '', { mode: 0o755 });
  symlinkSync('/mnt/extra', join(root, 'bin/linked'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

const open = () => new InRoot(join(directory, 'root'), [{ destination: '/mnt', source: join(directory, 'mounted') }]);
const failing = (exitCode: number) => (error: unknown) => error instanceof EngineError && error.exitCode === exitCode;

test('nothing leads out of the root', () => {
  using root = open();
  assert.equal(root.read('/up', 100), undefined);
  assert.equal(root.read('/../../outside', 100), undefined);
  assert.match(root.read('/absolute', 6) ?? '', /^# comm/);
  assert.equal(root.stat('/loop'), undefined);
});

test('directories are made with their parents, and not through a link that leads out', () => {
  using root = open();
  assert.deepEqual(root.missing('/new/deep'), ['new', 'new/deep']);
  root.makeDirectory('/new/deep');
  assert.equal(statSync(join(directory, 'root/new/deep')).mode & 0o777, 0o755);
  assert.deepEqual(root.missing('/new/deep'), []);
  assert.throws(() => root.makeDirectory('/etc/passwd/x'));
  assert.deepEqual(root.list('/new'), ['deep']);
});

test('users and groups are those of the root', () => {
  using root = open();
  assert.deepEqual(resolveUser(root, ''), { uid: 0, gid: 0, additionalGids: [10], home: '/root' });
  assert.deepEqual(resolveUser(root, 'app', ['video', '9']), { uid: 1000, gid: 1001, additionalGids: [10, 44, 9], home: '/home/app' });
  assert.deepEqual(resolveUser(root, '1000'), { uid: 1000, gid: 1001, additionalGids: [10], home: '/home/app' });
  assert.deepEqual(resolveUser(root, 'app:wheel'), { uid: 1000, gid: 10, additionalGids: [], home: '/home/app' });
  assert.deepEqual(resolveUser(root, '4000:4001'), { uid: 4000, gid: 4001, additionalGids: [], home: '/' });
  assert.equal(resolveUser(root, '77').uid, 5, 'a name wins over a number');
  assert.throws(() => resolveUser(root, 'ghost'), /unable to find user ghost/);
  assert.throws(() => resolveUser(root, 'app:ghosts'), /unable to find group ghosts/);
});

test('commands are found by PATH, by path, and below mounts', () => {
  using root = open();
  const find = (command: string, env = ['PATH=/sub:/bin'], cwd = '/') => resolveCommand(root, command, env, cwd);
  assert.equal(find('tool'), '/bin/tool');
  assert.equal(find('./tool', [], '/bin'), '/bin/tool');
  assert.equal(find('/mnt/extra'), '/mnt/extra');
  assert.equal(find('linked'), '/bin/linked');
  assert.throws(() => find('absent'), failing(127));
  assert.throws(() => find('plain'), failing(127));
  assert.throws(() => find('/bin/plain'), failing(126));
  assert.throws(() => find('/bin'), failing(126));
  assert.throws(() => find(''), failing(127));
});

test('an init is known by its name', () => {
  assert.ok(isInit('/sbin/init') && isInit('/init') && isInit('/usr/bin/tini'));
  assert.ok(!isInit('/bin/sh') && !isInit('/app/initialise'));
});
