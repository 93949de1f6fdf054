import assert from 'node:assert/strict';
import { test } from 'node:test';
import { priceOf } from '../dist/index.js';

test('many cost less than as many single ones', () => {
  const price = { units: 100, currency: 'EUR' };
  assert.equal(priceOf(price, 9).units, 900);
  assert.ok(priceOf(price, 10).units < 1000);
});
