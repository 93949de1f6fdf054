import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bodyOf, boolean, integer, list, object, oneOf, record, string, unknownFields } from './decode.ts';
import { createContainer, ignoredFields } from './schemas/container.ts';

const shape = { name: string, sizes: list(integer), labels: record(string), inner: object({ on: boolean }), mode: oneOf('a', 'b') };
const check = object(shape);

test('known fields are kept, unknown ones and nulls are left out', () => {
  const given = { name: 'x', sizes: [1, 2], labels: { k: 'v' }, inner: { on: true, off: 1 }, mode: null, other: [] };
  const found = check(given, '');
  assert.deepEqual({ ...found, labels: { ...found.labels } }, { name: 'x', sizes: [1, 2], labels: { k: 'v' }, inner: { on: true } });
});

test("names of fields are read in any case, as Go's decoder does", () => {
  assert.deepEqual({ ...check({ NAME: 'x', Inner: { ON: true } }, '') }, { name: 'x', inner: { on: true } });
  assert.throws(() => check({ INNER: { On: 1 } }, ''), { message: 'inner.on must be true or false, not 1' });
});

test('an error names the field, however deep', () => {
  const cases: [unknown, string][] = [
    [{ name: 1 }, 'name must be a string, not 1'],
    [{ sizes: [1, 2.5] }, 'sizes[1] must be a whole number, not 2.5'],
    [{ sizes: [1e300] }, 'sizes[0] must be a whole number of 64 bits, not 1e+300'],
    [{ sizes: 'x' }, 'sizes must be a list, not "x"'],
    [{ labels: { k: null } }, 'labels.k must be a string, not null'],
    [{ inner: { on: 'yes' } }, 'inner.on must be true or false, not "yes"'],
    [{ mode: 'c' }, 'mode is "c"; expected one of: a, b'],
    [{ name: 'a\0b' }, 'name has a NUL character'],
    [[], 'the request body must be an object, not a list'],
  ];
  for (const [value, message] of cases) assert.throws(() => check(value, ''), { kind: 'InvalidArgument', message });
});

test('a key __proto__ is a key like any other', () => {
  const labels = record(string)(JSON.parse('{"__proto__": "x"}'), 'labels');
  assert.deepEqual(Object.keys(labels), ['__proto__']);
  assert.equal(({} as Record<string, unknown>).x, undefined);
});

test('a body may be absent only where it is optional', () => {
  assert.deepEqual(bodyOf(undefined, check), {});
  assert.throws(() => bodyOf(undefined, check, { required: true }), { code: 'BODY_MISSING' });
  assert.throws(() => bodyOf('text', check), { code: 'FIELD_INVALID' });
});

test('fields that would have an effect elsewhere are told of; empty ones are not', () => {
  assert.deepEqual(unknownFields({ name: 1, a: 0, b: '', c: [], d: {}, e: false, f: null, g: 5 }, shape), ['g']);
  const body = {
    Image: 'x',
    Speed: 2,
    hostconfig: { memory: 1, DeviceRequests: [{}], BlkioWeight: 0, ConsoleSize: [1, 2], Turbo: true, Zeros: [0] },
  };
  assert.deepEqual(ignoredFields(body), [
    'Speed is not a known field and has no effect',
    'HostConfig.Turbo is not a known field and has no effect',
  ]);
});

test('a create request as the docker command line sends it is read whole', () => {
  const request = createContainer(
    {
      Hostname: '',
      AttachStdout: true,
      Tty: false,
      Env: null,
      Cmd: ['true'],
      Image: 'busybox',
      Volumes: {},
      Entrypoint: null,
      Labels: {},
      HostConfig: {
        Binds: null,
        PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '8080' }], '81/tcp': null },
        RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
        Devices: [{ PathOnHost: '/dev/null' }],
        Mounts: [{ Type: 'volume', Source: 'data', Target: '/data' }],
        Init: true,
      },
      NetworkingConfig: { EndpointsConfig: { default: null } },
    },
    '',
  );
  assert.deepEqual(request.Cmd, ['true']);
  assert.deepEqual(request.HostConfig?.Devices, [{ PathOnHost: '/dev/null', PathInContainer: '/dev/null', CgroupPermissions: 'rwm' }]);
  assert.equal(request.HostConfig?.PortBindings?.['80/tcp']?.[0]?.HostPort, '8080');
  assert.throws(() => createContainer({ HostConfig: { Mounts: [{ Type: 'volume' }] } }, ''), {
    message: 'HostConfig.Mounts[0].Target is missing',
  });
  assert.throws(() => createContainer({ HostConfig: { Memory: -5 } }, ''), { message: /^HostConfig.Memory is -5/ });
});
