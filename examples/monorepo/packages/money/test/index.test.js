import assert from 'node:assert/strict';
import { test } from 'node:test';
import { add, money, show, times } from '../dist/index.js';

test('amounts of one currency add up', () => {
  assert.equal(show(add(money(150, 'EUR'), times(money(100, 'EUR'), 0.5))), '2.00 EUR');
  assert.throws(() => add(money(1, 'EUR'), money(1, 'USD')), TypeError);
});
