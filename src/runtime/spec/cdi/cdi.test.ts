import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RuntimeSpec } from '../types.ts';
import { applyEdits } from './apply.ts';
import { CdiRegistry } from './registry.ts';
import { parseQualifiedName, readCdiSpecification } from './specification.ts';

const device = (edits: object, more: object = {}) => ({ name: 'one', containerEdits: edits, ...more });
const specification = (more: object = {}, edits: object = { env: ['A=1'] }) => ({
  cdiVersion: '0.3.0',
  kind: 'vendor.com/net',
  devices: [device(edits)],
  ...more,
});

test('qualified names', () => {
  assert.deepEqual(parseQualifiedName('vendor.com/my-class=0:1'), { kind: 'vendor.com/my-class', name: '0:1' });
  for (const text of ['', 'a', 'a=b', '/dev/x=y', 'a/b=', 'a/b=-x', 'a/b/c=d', '1a/b=c', 'a/b=x-', 'a b/c=d'])
    assert.equal(parseQualifiedName(text), undefined, text);
});

test('a specification says what is wrong with it, and where', () => {
  const refused: [unknown, RegExp][] = [
    [[], /specification is no object/],
    [specification({ cdiVersion: '2.0.0' }), /invalid version "2.0.0"/],
    [specification({ kind: 'vendor' }), /invalid kind "vendor"/],
    [specification({ devices: [] }), /it has no devices/],
    [specification({ devices: [device({}, { name: '-x' })] }), /devices\[0\]: invalid device name "-x"/],
    [specification({ devices: [device({})] }), /has no containerEdits/],
    [specification({ devices: [device({ env: ['A=1'] }), device({ env: ['A=1'] })] }), /"one" is there twice/],
    [specification({ more: 1 }), /unknown field "more"/],
    [specification({}, { env: ['=x'] }), /invalid environment variable "=x"/],
    [specification({}, { env: [1] }), /env is no list of strings/],
    [specification({}, { deviceNodes: [{ path: '' }] }), /deviceNodes\[0\]: path is empty/],
    [specification({}, { deviceNodes: [{ path: '/dev/x', type: 'z' }] }), /invalid type "z"/],
    [specification({}, { deviceNodes: [{ path: '/dev/x', permissions: 'rx' }] }), /invalid permissions "rx"/],
    [specification({}, { deviceNodes: [{ path: '/dev/x', major: '1' }] }), /major is no number/],
    [specification({}, { mounts: [{ hostPath: '/x' }] }), /mounts\[0\]: containerPath is empty/],
    [specification({}, { hooks: [{ hookName: 'later', path: '/x' }] }), /invalid hook name "later"/],
    [specification({ cdiVersion: '0.7.0' }, { intelRdt: { closID: 'a/b' } }), /invalid ClosID/],
  ];
  for (const [value, message] of refused)
    assert.throws(() => readCdiSpecification(value), { code: 'CDI_INVALID', message }, JSON.stringify(value));
});

test('what a later version brought needs that version', () => {
  const needs: [object, object, string][] = [
    [{}, { mounts: [{ hostPath: '/a', containerPath: '/b', type: 'tmpfs' }] }, '0.4.0'],
    [{}, { deviceNodes: [{ path: '/dev/x', hostPath: '/dev/y' }] }, '0.5.0'],
    [{ annotations: { a: 'b' } }, { env: ['A=1'] }, '0.6.0'],
    [{ kind: 'vendor.com/my.class' }, { env: ['A=1'] }, '0.6.0'],
    [{}, { additionalGids: [1] }, '0.7.0'],
    [{}, { intelRdt: { closID: 'a' } }, '0.7.0'],
    [{}, { netDevices: [{ hostInterfaceName: 'eth1', name: 'net0' }] }, '1.1.0'],
  ];
  for (const [top, edits, version] of needs) {
    assert.throws(() => readCdiSpecification(specification(top, edits)), new RegExp(`must be at least v${version.replaceAll('.', '\\.')}`));
    readCdiSpecification(specification({ ...top, cdiVersion: version }, edits));
  }
});

const spec = (): RuntimeSpec => ({
  ociVersion: '1.0.2',
  process: {
    terminal: false,
    user: { uid: 1000, gid: 1001, additionalGids: [5] },
    args: ['x'],
    env: ['A=0', 'B=1'],
    cwd: '/',
    capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
    noNewPrivileges: false,
  },
  root: { path: '/r', readonly: false },
  mounts: [{ destination: '/lib/deep/x', type: 'bind', source: '/old', options: ['rbind'] }],
  linux: { namespaces: [], devices: [], cgroupsPath: '/x', resources: { devices: [] }, maskedPaths: [], readonlyPaths: [] },
});

test('edits are made to the specification', () => {
  const [edits] = readCdiSpecification(
    specification(
      { cdiVersion: '1.1.0' },
      {
        env: ['A=1'],
        deviceNodes: [
          { path: '/dev/n', hostPath: '/dev/null' },
          { path: '/dev/own', type: 'c', major: 9, minor: 8, fileMode: 0o600, uid: 0, gid: 0, permissions: 'r' },
          { path: '/dev/pipe', type: 'p' },
        ],
        mounts: [
          { hostPath: '/new', containerPath: '/lib/deep/x', options: ['ro', 'nosuid', 'bind'] },
          { hostPath: '/lib', containerPath: '/lib' },
          { hostPath: 'tmpfs', containerPath: '/t', type: 'tmpfs', options: ['size=1m'] },
        ],
        hooks: [{ hookName: 'createContainer', path: '/h', args: ['h'], env: ['X=1'], timeout: 3 }],
        netDevices: [{ hostInterfaceName: 'eth1', name: 'net0' }],
        intelRdt: { closID: 'c', enableMonitoring: true },
        additionalGids: [0, 5, 6],
      },
    ),
  ).devices.map((each) => each.edits);
  assert.ok(edits);
  const result = spec();
  applyEdits(result, [edits]);
  assert.deepEqual(result.process.env, ['A=1', 'B=1']);
  assert.deepEqual(result.process.user.additionalGids, [5, 6]);
  assert.deepEqual(result.linux.devices, [
    { path: '/dev/n', type: 'c', major: 1, minor: 3, fileMode: 0o666, uid: 1000, gid: 1001 },
    { path: '/dev/own', type: 'c', major: 9, minor: 8, fileMode: 0o600, uid: 0, gid: 0 },
    { path: '/dev/pipe', type: 'p', major: 0, minor: 0, uid: 1000, gid: 1001 },
  ]);
  assert.deepEqual(result.linux.resources.devices, [
    { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
    { allow: true, type: 'c', major: 9, minor: 8, access: 'r' },
  ]);
  assert.deepEqual(
    result.mounts.map(({ destination, source, type, options }) => [destination, source, type, options.join()]),
    [
      ['/lib', '/lib', 'bind', 'rbind'],
      ['/t', 'tmpfs', 'tmpfs', 'size=1m'],
      ['/lib/deep/x', '/new', 'bind', 'ro,nosuid,bind'],
    ],
  );
  assert.deepEqual(result.hooks, { createContainer: [{ path: '/h', args: ['h'], env: ['X=1'], timeout: 3 }] });
  assert.deepEqual([result.linux.netDevices, result.linux.intelRdt], [{ eth1: { name: 'net0' } }, { closID: 'c', enableMonitoring: true }]);
});

test('a device that the host does not have is named', () => {
  const { devices } = readCdiSpecification(specification({}, { deviceNodes: [{ path: '/dev/no-such-device' }] }));
  assert.throws(
    () =>
      applyEdits(
        spec(),
        devices.map(({ edits }) => edits),
      ),
    /failed to stat CDI host device "\/dev\/no-such-device"/,
  );
});

test('later folders win, conflicts within one take the device away, and broken files only themselves', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-cdi-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const write = (path: string, value: unknown) => {
    mkdirSync(join(directory, path, '..'), { recursive: true });
    writeFileSync(join(directory, path), typeof value === 'string' ? value : JSON.stringify(value));
  };
  write('a/1.json', specification({}, { env: ['FROM=a'] }));
  write('a/2.json', { ...specification(), kind: 'vendor.com/twice' });
  write('a/3.json', { ...specification(), kind: 'vendor.com/twice' });
  write('a/broken.yaml', 'cdiVersion: [');
  write('a/ignored.txt', 'x');
  write('a/bomb.yaml', `a: &a [${'x,'.repeat(10)}]\nb: &b [${'*a,'.repeat(10)}]\nc: &c [${'*b,'.repeat(10)}]\nd: [${'*c,'.repeat(10)}]\n`);
  write(
    'b/1.yaml',
    'cdiVersion: "0.3.0"\nkind: vendor.com/net\ncontainerEdits: {env: ["ALL=b"]}\ndevices: [{name: one, containerEdits: {env: ["FROM=b"]}}]',
  );
  const registry = await CdiRegistry.read(['a', 'b', 'absent'].map((name) => join(directory, name)));
  assert.deepEqual(registry.names(), ['vendor.com/net=one']);
  assert.deepEqual(
    registry.edits(['vendor.com/net=one', 'vendor.com/net=one']).flatMap(({ env }) => env),
    ['ALL=b', 'FROM=b', 'FROM=b'],
  );
  const errors = registry.errors.join('\n');
  for (const name of ['broken.yaml', 'bomb.yaml', 'conflicting device "vendor.com/twice=one"']) assert.ok(errors.includes(name), errors);
  assert.throws(() => registry.edits(['vendor.com/twice=one']), /unresolvable CDI devices vendor\.com\/twice=one/);
});
