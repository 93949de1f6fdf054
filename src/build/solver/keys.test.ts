import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { CopyOperation, RunOperation } from '../graph/vertex.ts';
import { canonical, contentKey, operationKey, recipeKey, saltedKey } from './keys.ts';

const run: RunOperation = {
  kind: 'run',
  args: ['/bin/sh', '-c', 'make'],
  env: [['PATH', '/bin']],
  unkeyedEnv: [],
  user: '',
  workingDir: '/',
  network: 'default',
  mounts: [{ kind: 'cache', id: 'c', target: '/c', sharing: 'shared', readOnly: false, mode: 0o755, uid: 0, gid: 0 }],
};
const copy: CopyOperation = {
  kind: 'copy',
  sources: [{ input: 1, path: '/a', wildcard: false, unpack: false }],
  destination: '/b',
  excludes: [],
};

test('what changes a result changes the key of a RUN', () => {
  const variants: RunOperation[] = [
    { ...run, args: ['/bin/sh', '-c', 'make all'] },
    { ...run, args: ['/bin/sh', '-c make'] },
    { ...run, env: [['PATH', '/usr/bin']] },
    { ...run, env: [] },
    { ...run, user: 'app' },
    { ...run, workingDir: '/w' },
    { ...run, network: 'none' },
    { ...run, mounts: [] },
  ];
  const keys = new Set([run, ...variants].map(operationKey));
  assert.equal(keys.size, variants.length + 1);
});

test('proxies, sharing, sizes and places are not in a key', () => {
  const key = operationKey(run);
  assert.equal(operationKey({ ...run, unkeyedEnv: [['HTTP_PROXY', 'http://proxy']] }), key);
  assert.equal(operationKey({ ...run, mounts: run.mounts.map((mount) => ({ ...mount, sharing: 'locked' }) as typeof mount) }), key);
  const tmpfs: RunOperation = { ...run, mounts: [{ kind: 'tmpfs', target: '/t' }] };
  assert.equal(operationKey({ ...run, mounts: [{ kind: 'tmpfs', target: '/t', sizeBytes: 5 }] }), operationKey(tmpfs));
  const place = { file: 'Dockerfile', line: 9, column: 1, text: '' };
  assert.equal(operationKey({ ...copy, sources: copy.sources.map((source) => ({ ...source, place })) }), operationKey(copy));
});

test('recipe, content, salted and differently timed keys never meet', () => {
  const operation = operationKey(run);
  const keys = [
    recipeKey(operation, [operation], 'adopted'),
    recipeKey(operation, [operation], 'kept'),
    contentKey(operation, [{ what: 'x', digest: operation }], 'adopted'),
    saltedKey(recipeKey(operation, [operation], 'adopted'), 'salt'),
  ];
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(saltedKey(operation, undefined), operation);
});

test('what a read is called is not in the key, its digest and place in the order are', () => {
  const operation = operationKey(run);
  const [a, b] = [
    { what: 'a', digest: '1' },
    { what: 'b', digest: '2' },
  ];
  assert.equal(contentKey(operation, [a, b], 'adopted'), contentKey(operation, [{ ...a, what: 'z' }, b], 'adopted'));
  assert.notEqual(contentKey(operation, [a, b], 'adopted'), contentKey(operation, [b, a], 'adopted'));
});

test('canonical text does not depend on the order of members, and tells different values apart', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), (object, other) => {
      const reversed = Object.fromEntries(Object.entries(object).reverse());
      assert.equal(canonical(reversed), canonical(object));
      assert.deepEqual(JSON.parse(canonical(object)), JSON.parse(JSON.stringify(object)));
      if (canonical(other) === canonical(object)) assert.deepEqual(JSON.parse(JSON.stringify(other)), JSON.parse(JSON.stringify(object)));
    }),
    { numRuns: 200 },
  );
});
