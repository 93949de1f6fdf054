import assert from 'node:assert/strict';
import { test } from 'node:test';
import { registryAddress } from './address.ts';
import { parseChallenges } from './challenge.ts';

test('challenges are read as registries write them', () => {
  assert.deepEqual(parseChallenges('Bearer realm="https://auth.example/token",service="reg, istry",scope="a:b"'), [
    { scheme: 'bearer', parameters: { realm: 'https://auth.example/token', service: 'reg, istry', scope: 'a:b' } },
  ]);
  assert.deepEqual(parseChallenges('Basic realm="a \\"quoted\\" name", Bearer Realm=x'), [
    { scheme: 'basic', parameters: { realm: 'a "quoted" name' } },
    { scheme: 'bearer', parameters: { realm: 'x' } },
  ]);
  assert.deepEqual(parseChallenges('Negotiate, Basic realm=""'), [
    { scheme: 'negotiate', parameters: {} },
    { scheme: 'basic', parameters: { realm: '' } },
  ]);
});

test('what is no challenge gives none, however long it is', () => {
  for (const text of [undefined, '', ',,,', '"', '=x']) assert.equal(parseChallenges(text).length, 0, String(text));
  assert.equal(parseChallenges('Basic realm="unclosed').length > 0, true);
  const started = performance.now();
  parseChallenges(`Basic a="${'\\'.repeat(100_000)}`);
  assert.ok(performance.now() - started < 20_000);
});

test('a registry is named by host, port or whole address; none is the hub', () => {
  const hub = { host: 'registry-1.docker.io', insecure: false };
  for (const text of ['', 'docker.io', 'https://index.docker.io/v1/']) assert.deepEqual(registryAddress(text), hub);
  assert.deepEqual(registryAddress('registry.example:5000/v2/'), { host: 'registry.example:5000', insecure: false });
  assert.deepEqual(registryAddress('http://registry.example'), { host: 'registry.example', insecure: false });
  for (const text of ['localhost:5000', '127.9.9.9', 'http://[::1]:80']) assert.equal(registryAddress(text).insecure, true, text);
  for (const text of ['user:pw@registry.example', 'a b', 'https://']) {
    assert.throws(() => registryAddress(text), { code: 'REGISTRY_ADDRESS_INVALID' }, text);
  }
});
