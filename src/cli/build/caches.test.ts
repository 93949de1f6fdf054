import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheInputs } from './caches.ts';

const from = (text: string, env: NodeJS.ProcessEnv = {}) => cacheInputs({ 'cache-from': [text], 'cache-to': [] }, env)?.from[0];

test('a cache is attributes, or a reference alone', () => {
  assert.deepEqual(from('registry.example/team/app:cache'), { type: 'registry', ref: 'registry.example/team/app:cache' });
  assert.deepEqual(from('type=registry,ref=a:b'), { type: 'registry', ref: 'a:b' });
  assert.deepEqual(from('type=local,"src=/a,b"'), { type: 'local', src: '/a,b' });
  assert.deepEqual(from('type=s3,prefix=a=b'), { type: 's3', prefix: 'a=b' });
  assert.equal(cacheInputs({ 'cache-from': [], 'cache-to': [] }, {}), undefined);
});

test('paths are absolute, since the daemon has another working directory', () => {
  assert.deepEqual(from('type=local,src=cache'), { type: 'local', src: `${process.cwd()}/cache` });
});

test("the environment's credentials go along with S3 only, and never over those that are given", () => {
  const env = { AWS_ACCESS_KEY_ID: 'ID', AWS_SECRET_ACCESS_KEY: 'KEY', AWS_REGION: 'eu-1' };
  assert.deepEqual(from('type=s3,bucket=b', env), {
    region: 'eu-1',
    access_key_id: 'ID',
    secret_access_key: 'KEY',
    type: 's3',
    bucket: 'b',
  });
  const given = from('type=s3,bucket=b,access_key_id=MINE,secret_access_key=OWN,region=x', env);
  assert.deepEqual(given, { type: 's3', bucket: 'b', access_key_id: 'MINE', secret_access_key: 'OWN', region: 'x' });
  assert.deepEqual(from('type=local,src=/x', env), { type: 'local', src: '/x' });
});

test('what is neither is refused', () => {
  for (const text of ['', 'type=local,src', 'type=local,=x', 'a,"b']) assert.throws(() => from(text), { code: 'USAGE' }, text);
});
