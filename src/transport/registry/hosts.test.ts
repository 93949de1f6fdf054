import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostTable, isRange, parseMirror } from './hosts.ts';

test('a host is found by each of its names, and mirrors by how they are written', () => {
  const hosts = new HostTable({
    'index.docker.io': {
      mirrors: ['https://mirror.example', 'http://10.0.0.5:5000', 'harbor.example/hub/'],
      insecure: false,
      maxRequests: 3,
    },
    'r.example:5000': { mirrors: [], insecure: true },
  });
  assert.equal(hosts.of('registry-1.docker.io').maxRequests, 3);
  assert.deepEqual(hosts.registry('docker.io'), { host: 'registry-1.docker.io', prefix: '', insecure: false });
  assert.deepEqual(hosts.mirrors('docker.io'), [
    { host: 'mirror.example', prefix: '', insecure: false },
    { host: '10.0.0.5:5000', prefix: '', insecure: true },
    { host: 'harbor.example', prefix: 'hub/', insecure: false },
  ]);
  assert.equal(hosts.registry('r.example:5000').insecure, true);
  for (const local of ['localhost:5000', '127.0.0.1', '[::1]:5000']) assert.equal(hosts.registry(local).insecure, true, local);
  for (const other of ['0.0.0.0:5000', 'localhost.example', 'r.example']) assert.equal(hosts.registry(other).insecure, false, other);
});

test('addresses in a range that is configured are insecure', () => {
  const hosts = new HostTable({
    '10.1.0.0/16': { mirrors: [], insecure: true },
    'fd00::/8': { mirrors: [], insecure: true },
  });
  for (const inside of ['10.1.2.3', '10.1.2.3:5000', '[fd00::5]:5000']) assert.equal(hosts.registry(inside).insecure, true, inside);
  for (const outside of ['10.2.0.1:5000', '[fe00::5]:5000', '10.1.example']) assert.equal(hosts.registry(outside).insecure, false, outside);
  for (const range of ['10.0.0.0/33', '10.0.0/8', '10.0.0.0/8/8', 'r.example/hub', '10.0.0.0/']) assert.equal(isRange(range), false, range);
});

test('what is no mirror is refused', () => {
  for (const text of ['', 'https://', 'm.example?x=1', 'm.example/#x', 'm.example/UP', 'user:pw@m.example', 'm.example/a b']) {
    assert.throws(() => parseMirror(text), { code: 'REGISTRY_ADDRESS_INVALID' }, text);
  }
});
