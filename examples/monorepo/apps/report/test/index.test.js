import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDatabase } from '../../../packages/storage/dist/index.js';
import { report } from '../dist/index.js';

test('no orders, no money', async () => {
  const database = await openDatabase();
  assert.equal(await report(database), '0 orders, 0.00 EUR');
  await database.close();
});
