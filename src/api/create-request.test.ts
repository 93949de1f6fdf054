import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CreateContainerRequest, HostConfig, Mount } from '../api-types/container.ts';
import { adaptCreate } from './create-request.ts';

const adapt = (version: string, given: CreateContainerRequest, cgroupVersion: '1' | '2' = '2') =>
  adaptCreate(given, { version, cgroupVersion });
const host = (version: string, given: HostConfig, cgroupVersion: '1' | '2' = '2') =>
  adapt(version, { HostConfig: given }, cgroupVersion).request.HostConfig;
const mount = (version: string, given: Mount) => host(version, { Mounts: [given] })?.Mounts?.[0];

test('fields that a version did not have are dropped', () => {
  assert.deepEqual(host('1.24', { AutoRemove: true, IpcMode: 'private', CgroupnsMode: 'host' }), {
    IpcMode: 'private',
    CgroupnsMode: 'host',
  });
  assert.equal(host('1.25', { AutoRemove: true })?.AutoRemove, true);
  assert.equal(host('1.39', { KernelMemoryTCP: 5 })?.KernelMemoryTCP, undefined);
  assert.equal(host('1.41', { KernelMemory: 5, ConsoleSize: [1, 2] })?.KernelMemory, 5);
  assert.deepEqual(host('1.42', { KernelMemory: 5, ConsoleSize: [1, 2] }), { ConsoleSize: [1, 2] });
  assert.equal(host('1.42', { Annotations: { a: 'b' } })?.Annotations, undefined);
  assert.deepEqual(host('1.43', { Annotations: { a: 'b' } })?.Annotations, { a: 'b' });
  const health = { Test: ['CMD', 'x'], StartInterval: 5 };
  assert.deepEqual(adapt('1.43', { Healthcheck: health }).request.Healthcheck, { Test: ['CMD', 'x'] });
  assert.deepEqual(adapt('1.44', { Healthcheck: health }).request.Healthcheck, health);
});

test('defaults are those of the version', () => {
  assert.deepEqual([host('1.39', {})?.IpcMode, host('1.40', {})?.IpcMode], ['shareable', undefined]);
  assert.deepEqual(
    [host('1.40', {}, '1')?.CgroupnsMode, host('1.40', {}, '2')?.CgroupnsMode, host('1.41', {}, '1')?.CgroupnsMode],
    ['host', undefined, undefined],
  );
  for (const PidsLimit of [0, -1, -5]) assert.deepEqual(host('1.50', { PidsLimit }), {});
});

test('options of mounts belong to their type', () => {
  const wrong: Mount = { Type: 'bind', Target: '/a', VolumeOptions: { NoCopy: true } };
  assert.throws(() => mount('1.42', wrong), { message: 'VolumeOptions must not be specified on mount type "bind"' });
  assert.equal(mount('1.41', wrong)?.VolumeOptions, undefined);
  assert.throws(() => mount('1.44', { Type: 'volume', Target: '/a', VolumeOptions: { Subpath: 'x' } }), { message: /needs API v1.45/ });
  assert.throws(() => mount('1.47', { Type: 'image', Target: '/a' }), { message: 'Mount type "Image" needs API v1.48 or newer' });
  assert.throws(() => mount('1.43', { Type: 'bind', Target: '/a', BindOptions: { ReadOnlyForceRecursive: true } }), { message: /v1.44/ });
  assert.deepEqual(mount('1.43', { Type: 'bind', Target: '/a', ReadOnly: true })?.BindOptions, { ReadOnlyNonRecursive: true });
  assert.equal(mount('1.44', { Type: 'bind', Target: '/a', ReadOnly: true })?.BindOptions, undefined);
  assert.deepEqual(mount('1.39', { Type: 'bind', Target: '/a', BindOptions: { NonRecursive: true, Propagation: 'rslave' } })?.BindOptions, {
    Propagation: 'rslave',
  });
});

test('a container joined one network when it was made, until 1.44', () => {
  const given = { NetworkingConfig: { EndpointsConfig: { a: { GwPriority: 3 }, b: null } } };
  assert.throws(() => adapt('1.43', given), { message: 'Container cannot be created with multiple network endpoints: a, b' });
  assert.deepEqual(adapt('1.47', given).request.NetworkingConfig, { EndpointsConfig: { a: {}, b: null } });
  assert.deepEqual(adapt('1.48', given).request.NetworkingConfig, given.NetworkingConfig);
  const onDefault = adapt('1.50', {
    HostConfig: { NetworkMode: 'default' },
    NetworkingConfig: { EndpointsConfig: { default: { Aliases: ['x'] } } },
  });
  assert.deepEqual(onDefault.request.NetworkingConfig, { EndpointsConfig: { bridge: { Aliases: ['x'] } } });
});

test("the container's MAC address goes to its main network", () => {
  const mac = '02:00:00:00:00:01';
  const moved = adapt('1.44', { MacAddress: mac });
  assert.deepEqual(moved.request.NetworkingConfig, { EndpointsConfig: { bridge: { MacAddress: mac } } });
  assert.equal(moved.request.MacAddress, undefined);
  assert.match(moved.warnings[0] ?? '', /MacAddress field is now deprecated/);
  assert.deepEqual(adapt('1.43', { MacAddress: mac }).warnings, []);
  // An endpoint had none of its own before.
  const ignored = adapt('1.43', { NetworkingConfig: { EndpointsConfig: { a: { MacAddress: mac, Aliases: ['x'] } } } });
  assert.deepEqual(ignored.request.NetworkingConfig, { EndpointsConfig: { a: { Aliases: ['x'] } } });
  const other = { MacAddress: mac, NetworkingConfig: { EndpointsConfig: { bridge: { MacAddress: '02:00:00:00:00:02' } } } };
  assert.throws(() => adapt('1.44', other), { message: /must match the endpoint-specific MAC address/ });
  const elsewhere = { MacAddress: mac, HostConfig: { NetworkMode: 'a' }, NetworkingConfig: { EndpointsConfig: { b: {} } } };
  assert.throws(() => adapt('1.44', elsewhere), { message: /NetworkMode must match the identity of a network/ });
  assert.deepEqual(adapt('1.43', elsewhere).request.NetworkingConfig, { EndpointsConfig: { b: { MacAddress: mac } } });
  const none: CreateContainerRequest = { MacAddress: mac, HostConfig: { NetworkMode: 'none' } };
  assert.throws(() => adapt('1.43', none), { code: 'MAC_INVALID' });
  assert.equal(adapt('1.44', none).request.MacAddress, undefined);
});

test('a volume driver that mounts do not use is warned of', () => {
  const given: HostConfig = { VolumeDriver: 'nfs', Mounts: [{ Type: 'volume', Target: '/a' }] };
  assert.match(adapt('1.48', { HostConfig: given }).warnings[0] ?? '', /^WARNING: the container-wide volume-driver/);
  assert.deepEqual(adapt('1.47', { HostConfig: given }).warnings, []);
});

test('what is given is not changed', () => {
  const given: CreateContainerRequest = {
    MacAddress: '02:00:00:00:00:01',
    HostConfig: { PidsLimit: 0, Mounts: [{ Type: 'bind', Target: '/a' }] },
  };
  const before = structuredClone(given);
  adapt('1.30', given);
  adapt('1.50', given);
  assert.deepEqual(given, before);
});
