import assert from 'node:assert/strict';
import { test } from 'node:test';
import { count, Invalid, text } from '../dist/index.js';

test('what is none is refused', () => {
  assert.equal(text(' a ', 'name'), 'a');
  for (const value of [0, -1, 1.5, '1', undefined]) assert.throws(() => count(value, 'quantity'), Invalid);
});
