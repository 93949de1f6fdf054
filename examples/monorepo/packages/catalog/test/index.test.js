import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDatabase } from '../../storage/dist/index.js';
import { addProduct, findProduct } from '../dist/index.js';

test('a product is found again', async (t) => {
  const database = await openDatabase();
  t.after(() => database.close());
  const tea = { sku: 'tea', name: 'Tea', price: { units: 350, currency: 'EUR' } };
  await addProduct(database, tea);
  assert.deepEqual(await findProduct(database, 'tea'), tea);
  assert.equal(await findProduct(database, 'coffee'), undefined);
});
