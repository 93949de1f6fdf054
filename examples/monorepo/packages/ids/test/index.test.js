import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../dist/index.js';

test('later ids sort behind earlier ones', () => {
  const ids = Array.from({ length: 100 }, () => newId('order'));
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(ids).size, 100);
});
