import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDatabase } from '../../../packages/storage/dist/index.js';
import { makeApi } from '../dist/index.js';

test('what is put into the shop can be bought', async (t) => {
  const database = await openDatabase();
  t.after(() => database.close());
  const api = makeApi(database);
  assert.equal((await api.inject({ method: 'PUT', url: '/products/tea', payload: { name: 'Tea', units: 350 } })).statusCode, 201);
  assert.equal((await api.inject('/products/tea')).json().shown, '3.50 EUR');
  const order = await api.inject({ method: 'POST', url: '/orders', payload: { sku: 'tea', quantity: 2 } });
  assert.equal(order.json().price.units, 700);
  assert.equal((await api.inject({ method: 'POST', url: '/orders', payload: { sku: 'tea', quantity: 0 } })).statusCode, 400);
  await api.close();
});
