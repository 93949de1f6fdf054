import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDatabase } from '../../../packages/storage/dist/index.js';
import { report } from '../dist/index.js';

test('no orders, no money', async (t) => {
  const database = await openDatabase();
  t.after(() => database.close());
  assert.equal(await report(database), '0 orders, 0.00 EUR');
});
