import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { limited } from './limited.ts';

test('every item has its turn, and no more than the limit at once', async () => {
  let running = 0;
  let most = 0;
  const done: number[] = [];
  await limited([5, 1, 4, 2, 3], 2, undefined, async (ms) => {
    running += 1;
    most = Math.max(most, running);
    await sleep(ms);
    running -= 1;
    done.push(ms);
  });
  assert.deepEqual([most, done.toSorted()], [2, [1, 2, 3, 4, 5]]);
  await limited([], 3, undefined, () => assert.fail('nothing to do'));
});

test('the first failure stops the rest and is the one that is thrown', async () => {
  const begun: number[] = [];
  const ended: string[] = [];
  const run = limited([1, 2, 3, 4], 2, undefined, async (item, signal) => {
    begun.push(item);
    if (item === 2) throw new Error('second');
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    ended.push(`${item} saw ${(signal.reason as Error).message}`);
    throw new Error('because it was stopped');
  });
  await assert.rejects(run, /second/);
  assert.deepEqual([begun, ended], [[1, 2], ['1 saw second']]);
});

test('a signal stops it between items', async () => {
  const stop = new AbortController();
  let begun = 0;
  const run = limited([1, 2, 3], 1, stop.signal, async () => {
    begun += 1;
    stop.abort(new Error('enough'));
  });
  await assert.rejects(run, /enough/);
  assert.equal(begun, 1);
});
