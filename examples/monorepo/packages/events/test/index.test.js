import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Topic } from '../dist/index.js';

test('who listens is told, until it listens no more', () => {
  const topic = new Topic();
  const heard = [];
  const stop = topic.listen((event) => heard.push(event));
  topic.tell(1);
  stop();
  topic.tell(2);
  assert.deepEqual(heard, [1]);
});
