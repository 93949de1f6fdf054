import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cannotRun, closeHarness, eventually, execIn, type Harness, makeHarness, startIn } from './runtime-support.ts';

const skip = cannotRun;
const ms = 1e6;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

type Check = NonNullable<Parameters<Harness['engine']['create']>[0]['Healthcheck']>;

async function start(Healthcheck: Check, more: Parameters<typeof startIn>[2] = {}): Promise<string> {
  harness.events.length = 0;
  return startIn(harness, ['sleep', '60'], { ...more, Healthcheck });
}

const health = async (id: string) => (await harness.engine.get(id)).health;
const until = (id: string, status: string) => eventually(async () => (await health(id))?.status === status, `it becomes ${status}`);

test('a check makes the container healthy, then unhealthy, and tells so', { skip }, async () => {
  const id = await start({ Test: ['CMD-SHELL', 'cat /ok && echo fine'], Interval: 60 * ms, Retries: 2 });
  assert.deepEqual(await health(id), { status: 'starting', failingStreak: 0, log: [] });
  await execIn(harness, id, ['touch', '/ok']);
  await until(id, 'healthy');
  const seen = (await health(id))?.log.at(-1);
  assert.deepEqual([seen?.exitCode, seen?.output], [0, 'fine\n']);
  await execIn(harness, id, ['rm', '/ok']);
  await until(id, 'unhealthy');
  const now = await health(id);
  assert.ok(now && now.failingStreak >= 2 && now.log.length <= 5);
  assert.match(now.log.at(-1)?.output ?? '', /No such file/);
  const told = () => harness.events.filter((event) => event.startsWith('health_status')).join();
  await eventually(() => told() === 'health_status=healthy,health_status=unhealthy', 'both are told, once each');
  for (const kind of ['exec_create', 'exec_start', 'exec_die=0', 'exec_die=1']) assert.ok(harness.events.includes(kind), kind);
  await harness.engine.remove(id, { force: true });
});

test('CMD runs without a shell, CMD-SHELL in the one of the image, NONE not at all', { skip }, async () => {
  const direct = await start({ Test: ['CMD', 'echo', '$HOME'], Interval: 40 * ms });
  await until(direct, 'healthy');
  assert.equal((await health(direct))?.log[0]?.output, '$HOME\n');
  const shell = await start({ Test: ['CMD-SHELL', 'it'], Interval: 40 * ms }, { Shell: ['/bin/echo', 'told'] });
  await until(shell, 'healthy');
  assert.equal((await health(shell))?.log[0]?.output, 'told it\n');
  const none = await start({ Test: ['NONE'], Interval: 40 * ms });
  assert.equal(await health(none), undefined);
  for (const id of [direct, shell, none]) await harness.engine.remove(id, { force: true });
});

test('in the start period a failure does not count, and the start interval holds', { skip }, async () => {
  const id = await start({
    Test: ['CMD', 'false'],
    Interval: 10_000 * ms,
    StartInterval: 50 * ms,
    StartPeriod: 60_000 * ms,
    Retries: 1,
  });
  await eventually(async () => ((await health(id))?.log.length ?? 0) >= 3, 'it is checked each start interval');
  const within = await health(id);
  assert.deepEqual([within?.status, within?.failingStreak], ['starting', 0]);
  await harness.engine.remove(id, { force: true });
});

test('a check that takes too long is killed with what it has started', { skip }, async () => {
  const id = await start({
    Test: ['CMD-SHELL', 'sleep 7171 & echo waits; sleep 7172'],
    Interval: 50 * ms,
    Timeout: 1_000 * ms,
    Retries: 1,
  });
  await until(id, 'unhealthy');
  const seen = (await health(id))?.log[0];
  assert.deepEqual([seen?.exitCode, seen?.output], [-1, 'Health check exceeded timeout (1s): waits\n']);
  await harness.engine.pause(id);
  await harness.engine.unpause(id);
  const { Processes } = await harness.engine.top(id, '-o pid,args');
  const left = Processes.filter(([, args]) => /sleep 717/.test(args ?? ''));
  // One check may be under way.
  assert.ok(left.length <= 2, JSON.stringify(Processes));
  await harness.engine.remove(id, { force: true });
});

test('its output is cut, a command that is not there says so', { skip }, async () => {
  const long = await start({ Test: ['CMD-SHELL', 'busybox yes é | head -c 100000; true'], Interval: 40 * ms });
  await until(long, 'healthy');
  assert.ok(Buffer.byteLength((await health(long))?.log[0]?.output ?? '') <= 4_096);
  const missing = await start({ Test: ['CMD', 'no-such-check'], Interval: 40 * ms, Retries: 1 });
  await until(missing, 'unhealthy');
  assert.equal((await health(missing))?.log[0]?.exitCode, -1);
  assert.match((await health(missing))?.log[0]?.output ?? '', /no-such-check/);
  for (const id of [long, missing]) await harness.engine.remove(id, { force: true });
});

test('paused or stopped it is not checked, and is unhealthy as in Docker; a start begins anew', { skip }, async () => {
  const id = await start({ Test: ['CMD', 'true'], Interval: 40 * ms });
  await until(id, 'healthy');
  await harness.engine.pause(id);
  const paused = await health(id);
  assert.equal(paused?.status, 'unhealthy');
  await sleep(150);
  assert.deepEqual((await health(id))?.log.at(-1), paused?.log.at(-1));
  await harness.engine.unpause(id);
  await until(id, 'healthy');
  await harness.engine.stop(id, { timeoutSeconds: 0 });
  assert.equal((await health(id))?.status, 'unhealthy');
  await harness.engine.start(id);
  assert.ok(['starting', 'healthy'].includes((await health(id))?.status ?? ''));
  await until(id, 'healthy');
  await harness.engine.remove(id, { force: true });
  assert.deepEqual(harness.errors, []);
});
