import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDatabase } from '../dist/index.js';

test('tables are made once', async () => {
  for (let time = 0; time < 2; time++) {
    const database = await openDatabase();
    assert.deepEqual(await database.query('SELECT count(*)::int AS n FROM products'), [{ n: 0 }]);
    await database.close();
  }
});
