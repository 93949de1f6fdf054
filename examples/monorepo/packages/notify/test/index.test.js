import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Topic } from '../../events/dist/index.js';
import { announce } from '../dist/index.js';

test('an order is announced with its price', () => {
  const topic = new Topic();
  const said = [];
  announce(topic, (text) => said.push(text));
  topic.tell({ id: 'order_1', price: { units: 250, currency: 'EUR' } });
  assert.deepEqual(said, ['order_1: 2.50 EUR']);
});
