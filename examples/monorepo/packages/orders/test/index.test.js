import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addProduct } from '../../catalog/dist/index.js';
import { openDatabase } from '../../storage/dist/index.js';
import { placed, placeOrder } from '../dist/index.js';

test('an order is kept and told', async (t) => {
  const database = await openDatabase();
  t.after(() => database.close());
  await addProduct(database, { sku: 'cup', name: 'Cup', price: { units: 500, currency: 'EUR' } });
  const told = [];
  placed.listen((order) => told.push(order.sku));
  const order = await placeOrder(database, 'cup', 10);
  assert.equal(order.price.units, 4500);
  assert.deepEqual(told, ['cup']);
  assert.deepEqual(await database.query('SELECT id, units FROM orders'), [{ id: order.id, units: 4500 }]);
  await assert.rejects(placeOrder(database, 'none', 1), /there is no none/);
});
