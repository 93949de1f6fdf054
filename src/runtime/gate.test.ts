import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Gate } from './gate.ts';

test('no more than its width are inside, in order of asking, and all come through', async () => {
  const gate = new Gate({ width: 3, patienceMs: 60_000 });
  const begun: number[] = [];
  let [inside, most] = [0, 0];
  await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      gate.run(async () => {
        begun.push(index);
        most = Math.max(most, ++inside);
        await sleep(index % 3);
        inside--;
      }),
    ),
  );
  assert.equal(most, 3);
  assert.deepEqual(
    begun,
    Array.from({ length: 20 }, (_, index) => index),
  );
});

test('one that fails makes room and tells its error', async () => {
  const gate = new Gate({ width: 1, patienceMs: 60_000 });
  const failing = gate.run(() => Promise.reject(new Error('broken')));
  const next = gate.run(async () => 'done');
  await assert.rejects(failing, /broken/);
  assert.equal(await next, 'done');
});

test('one that hangs is no longer counted, and makes no room twice when it ends', async () => {
  const gate = new Gate({ width: 1, patienceMs: 20 });
  const hanging = Promise.withResolvers<void>();
  const first = gate.run(() => hanging.promise);
  assert.equal(await gate.run(async () => 'second'), 'second');
  hanging.resolve();
  await first;
  let [inside, most] = [0, 0];
  const work = async () => {
    most = Math.max(most, ++inside);
    await sleep(5);
    inside--;
  };
  await Promise.all([gate.run(work), gate.run(work), gate.run(work)]);
  assert.equal(most, 1);
});
