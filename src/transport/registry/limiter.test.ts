import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Limiter } from './limiter.ts';

test('no more than that many at once, in the order they came; who leaves the line is passed over', async () => {
  const limiter = new Limiter(2);
  const releases = [await limiter.acquire(), await limiter.acquire()];
  const got: string[] = [];
  const wait = (name: string, signal?: AbortSignal) =>
    limiter.acquire(signal).then((release) => {
      got.push(name);
      return release;
    });
  const controller = new AbortController();
  const [a, b, c] = [wait('a'), wait('b', controller.signal), wait('c')];
  controller.abort(new Error('left'));
  await assert.rejects(b, { message: 'left' });
  assert.deepEqual(got, []);
  releases[0]?.();
  releases[0]?.();
  const releaseA = await a;
  assert.deepEqual(got, ['a']);
  releaseA();
  await c;
  assert.deepEqual(got, ['a', 'c']);
  await assert.rejects(limiter.acquire(AbortSignal.abort(new Error('before'))), { message: 'before' });
});
