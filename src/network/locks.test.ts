import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Serial, SharedLock } from './locks.ts';

test('serial tasks keep their order and survive a failure', async () => {
  const serial = new Serial();
  const order: number[] = [];
  const task = (n: number, fails = false) =>
    serial.run(async () => {
      await setImmediate();
      order.push(n);
      if (fails) throw new Error('planned');
      return n;
    });
  const results = await Promise.allSettled([task(1), task(2, true), task(3)]);
  assert.deepEqual(order, [1, 2, 3]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
});

test('shared tasks go side by side up to the limit, an exclusive one alone', async () => {
  const lock = new SharedLock(2);
  const seen: string[] = [];
  let running = 0;
  const task = (name: string, mode: 'shared' | 'exclusive') =>
    lock.run(mode, async () => {
      running++;
      await setImmediate();
      seen.push(`${name}${running}`);
      await setImmediate();
      running--;
    });
  await Promise.all([task('a', 'shared'), task('b', 'shared'), task('c', 'shared'), task('x', 'exclusive'), task('d', 'shared')]);
  assert.deepEqual(seen.slice(0, 2), ['a2', 'b2']);
  assert.deepEqual(seen.slice(3), ['x1', 'd1']);
  await assert.rejects(
    lock.run('exclusive', () => Promise.reject(new Error('planned'))),
    /planned/,
  );
  assert.equal(await lock.run('shared', async () => 'free again'), 'free again');
});
