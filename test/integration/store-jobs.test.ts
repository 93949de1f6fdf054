import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../src/base/errors.ts';
import type { Store } from '../../src/store/port.ts';
import { describeFolder } from '../support/filesystem.ts';
import { openStoreForTest } from '../support/store.ts';

const open = (options: object = {}) => openStoreForTest({ workerUrl: new URL('../support/job-worker.ts', import.meta.url), ...options });
const objects = (store: Store) => [...describeFolder(store.paths.objects).keys()].filter((path) => path.length === 65);
const leftovers = (store: Store) => ({ tmp: readdirSync(store.paths.tmp), objects: objects(store) });
const none = { tmp: [], objects: [] };

test('parameters, progress and result cross to the thread and back', async () => {
  await using store = await open();
  const seen: unknown[] = [];
  const params = { text: 'größe', bytes: new Uint8Array([1, 2]), nested: [undefined, 1n] };
  assert.deepEqual(await store.jobs.run('test.echo', params, { onProgress: (progress) => seen.push(progress) }), params);
  assert.deepEqual(seen, [{ got: params }]);
});

test('errors keep their kind, code and place', async () => {
  await using store = await open();
  await assert.rejects(store.jobs.run('test.fail', {}), (error) => {
    assert.ok(error instanceof EngineError);
    assert.deepEqual([error.kind, error.code, error.message], ['NoSpace', 'ENOSPC', 'the disk is full: deep inside']);
    assert.match(error.stack ?? '', /job-worker\.ts/);
    return true;
  });
  await assert.rejects(store.jobs.run('test.none', {}), { code: 'JOB_UNKNOWN' });
  await assert.rejects(store.jobs.run('test.echo', { notCloneable: () => {} }), EngineError);
  assert.equal(await store.jobs.run('test.echo', 'still here'), 'still here');
});

test('a thread that dies fails its job, and the next job gets a new one', async () => {
  await using store = await open({ maxJobs: 1 });
  await assert.rejects(store.jobs.run('test.exit', {}), { code: 'JOB_FAILED' });
  assert.equal(await store.jobs.run('test.echo', 1), 1);
});

for (const job of ['test.endless', 'test.deaf']) {
  test(`${job}: an abort ends it soon and leaves nothing`, async () => {
    await using store = await open({ maxJobs: 1 });
    const abort = new AbortController();
    let started = () => {};
    const running = new Promise<void>((resolve) => {
      started = resolve;
    });
    const result = store.jobs.run(job, {}, { signal: abort.signal, onProgress: () => started() });
    await running;
    const before = performance.now();
    abort.abort();
    await assert.rejects(result, { kind: 'Cancelled' });
    assert.ok(performance.now() - before < 20_000);
    assert.deepEqual(leftovers(store), none);
    assert.equal(await store.jobs.run('test.echo', 'next'), 'next');
  });
}

test('a job that was aborted while it waited in line never starts', async () => {
  await using store = await open({ maxJobs: 1 });
  const first = store.jobs.run('test.busy', { ms: 100 });
  const abort = new AbortController();
  const second = store.jobs.run('test.deaf', {}, { signal: abort.signal });
  abort.abort();
  await assert.rejects(second, { kind: 'Cancelled' });
  await first;
  await assert.rejects(store.jobs.run('test.deaf', {}, { signal: abort.signal }), { kind: 'Cancelled' });
});

test('jobs run side by side up to the limit, the others in line', async () => {
  await using store = await open({ maxJobs: 2 });
  // Each waits until as many run as may; how many there were at most is counted.
  const shared = new Int32Array(new SharedArrayBuffer(12));
  await Promise.all([1, 2, 3, 4].map(() => store.jobs.run('test.meet', { shared, count: 2 })));
  const [running, most, arrived] = shared;
  assert.deepEqual({ running, most, arrived }, { running: 0, most: 2, arrived: 4 });
});

test('jobs that wait for a reader take no thread from the others', async () => {
  await using store = await open({ maxJobs: 1 });
  const abort = new AbortController();
  const stalled = [1, 2].map(() => store.jobs.run('test.endless', {}, { lane: 'stream', signal: abort.signal }));
  assert.equal(await store.jobs.run('test.echo', 'gets through'), 'gets through');
  abort.abort();
  for (const result of await Promise.allSettled(stalled)) assert.equal(result.status, 'rejected');
});

test('a thread is used again at once, and ends when it is idle', async () => {
  await using store = await open({ jobIdleMs: 400 });
  const [first, second] = [await store.jobs.run('test.busy', { ms: 0 }), await store.jobs.run('test.busy', { ms: 0 })];
  assert.equal(first, second);
  await sleep(1_500);
  assert.notEqual(await store.jobs.run('test.busy', { ms: 0 }), first);
});

test('a root that refers to nothing is not committed', async () => {
  await using store = await open();
  await assert.rejects(store.jobs.run('test.dangling', {}), { kind: 'DataLoss', code: 'NODE_NOT_FOUND' });
  assert.deepEqual(leftovers(store), none);
});

test('objects are the same however they are written, and an aborted one is forgotten', async () => {
  await using store = await open();
  type Put = { object: string; size: number };
  const { whole, streamed, zeros } = await store.jobs.run<{ whole: Put; streamed: Put; zeros: Put }>('test.streams', {});
  assert.deepEqual(streamed, whole);
  assert.equal(zeros.size, 4 << 20);
  // The job put no root, so nothing refers to the objects and none was published.
  assert.deepEqual(leftovers(store), none);
});

test('thousands of objects go through the second thread and arrive whole', async () => {
  await using store = await open();
  const objects = await store.jobs.run<{ object: string; text: string }[]>('test.many', { count: 3000 });
  for (const { object, text } of objects) {
    assert.equal(readFileSync(join(store.paths.objects, object.slice(0, 2), object.slice(2)), 'latin1'), text);
  }
  assert.deepEqual(readdirSync(store.paths.tmp), []);
});

test('an abort while thousands of objects are written leaves nothing', async () => {
  await using store = await open();
  for (const after of [0, 700, 2500]) {
    const abort = new AbortController();
    const onProgress = (count: unknown) => {
      if (Number(count) >= after) abort.abort();
    };
    await assert.rejects(store.jobs.run('test.many', { count: 100_000 }, { signal: abort.signal, onProgress }), { kind: 'Cancelled' });
    assert.deepEqual(leftovers(store), none);
  }
});

test('the store can be closed while jobs run', async () => {
  const store = await open();
  const results = ['test.deaf', 'test.endless', 'test.echo'].map((job) => store.jobs.run(job, {}));
  const settled = Promise.allSettled(results);
  await sleep(300);
  await store[Symbol.asyncDispose]();
  for (const result of (await settled).slice(0, 2)) assert.equal(result.status, 'rejected');
  await assert.rejects(store.jobs.run('test.echo', 1), { code: 'STORE_CLOSED' });
});
