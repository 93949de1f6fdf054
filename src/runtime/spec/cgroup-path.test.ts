import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OciRuntime } from '../drivers/oci-runtime.ts';
import { cgroupPlace, checkCgroupParent } from './cgroup-path.ts';

test("with cgroupfs a group lies in the engine's own or in the one that is asked", () => {
  assert.deepEqual(cgroupPlace('cgroupfs', '/slipway-1a', undefined, 'id'), { path: '/slipway-1a/id', spec: '/slipway-1a/id' });
  assert.equal(cgroupPlace('cgroupfs', '/slipway-1a', 'a/b', 'id').path, '/a/b/id');
});

test('with systemd it is a scope in a slice, whose name says where it lies', () => {
  assert.deepEqual(cgroupPlace('systemd', '/slipway-1a', undefined, 'id'), {
    path: '/slipway.slice/slipway-1a.slice/slipway-id.scope',
    spec: 'slipway-1a.slice:slipway:id',
  });
  assert.equal(cgroupPlace('systemd', '/x', 'a-b-c.slice', 'id').path, '/a.slice/a-b.slice/a-b-c.slice/slipway-id.scope');
  assert.equal(cgroupPlace('systemd', '/x', '-.slice', 'id').path, '/slipway-id.scope');
});

test('the runtime is told whose groups they are', () => {
  const runtime = (more: object) => new OciRuntime({ name: 'r', command: '/r', root: '/state', ...more }).globalArguments;
  assert.deepEqual(runtime({}), ['--root=/state']);
  assert.deepEqual(runtime({ systemdCgroup: true, args: ['--debug'] }), ['--debug', '--root=/state', '--systemd-cgroup']);
});

test('what can be no parent is refused', () => {
  for (const parent of ['../x', 'a/../../b']) assert.throws(() => checkCgroupParent('cgroupfs', parent), /leads out/, parent);
  for (const parent of ['/a', '.slice', 'a.scope', 'a--b.slice', '-a.slice', 'a/b.slice'])
    assert.throws(() => checkCgroupParent('systemd', parent), /should be a valid slice named as "xxx\.slice"/, parent);
  checkCgroupParent('cgroupfs', '/a/b');
  checkCgroupParent('systemd', 'user-1000.slice');
  checkCgroupParent('systemd', undefined);
});
