import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Coalesced, Serial } from './locks.ts';

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

test('calls that come during a run share the next, which begins after all of them', async () => {
  const gate = Promise.withResolvers<void>();
  const seen: string[] = [];
  let state = 'first';
  const task = new Coalesced(async () => {
    seen.push(state);
    await gate.promise;
  });
  const first = task.run();
  await setImmediate();
  const second = task.run();
  state = 'last';
  const third = task.run();
  gate.resolve();
  await Promise.all([first, second, third]);
  assert.deepEqual(seen, ['first', 'last']);
});

test('a run that fails fails for those who waited for it, and the next goes on', async () => {
  let fails = true;
  const task = new Coalesced(async () => {
    if (fails) throw new Error('planned');
  });
  const results = await Promise.allSettled([task.run(), task.run()]);
  assert.deepEqual(new Set(results.map(({ status }) => status)), new Set(['rejected']));
  fails = false;
  await task.run();
});
