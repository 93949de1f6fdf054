import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../src/base/errors.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { cannotRun, closeHarness, eventually, execIn, type Harness, makeHarness, startIn } from './runtime-support.ts';

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

const cgroups = new Cgroups();
const refused = (code: string, words: RegExp) => (error: unknown) =>
  error instanceof EngineError && error.code === code && words.test(error.message);

/** A limit as the kernel has it. */
function limit(id: string, controller: string, legacy: string, unified: string): string {
  const file = cgroups.version === 1 ? legacy : unified;
  return cgroups.read(`/slipway-${harness.rootId}/${id}`, controller, file)?.trim() ?? '';
}
const memory = (id: string) => limit(id, 'memory', 'memory.limit_in_bytes', 'memory.max');
const pids = (id: string) => limit(id, 'pids', 'pids.max', 'pids.max');
const quota = (id: string) => limit(id, 'cpu', 'cpu.cfs_quota_us', 'cpu.max').split(' ')[0];

test('update changes limits of a running container, and keeps them for its next start', { skip }, async () => {
  const id = await startIn(harness, ['sleep', '60'], { HostConfig: { Memory: 64 << 20, PidsLimit: 50 } });
  assert.deepEqual([memory(id), pids(id)], [String(64 << 20), '50']);
  harness.events.length = 0;
  await harness.engine.update(id, { Memory: 32 << 20, NanoCpus: 250_000_000 });
  assert.deepEqual([memory(id), pids(id), quota(id)], [String(32 << 20), '50', '25000']);
  assert.deepEqual(harness.events, ['update']);
  await harness.engine.update(id, { PidsLimit: 0, CpuShares: 512 });
  assert.deepEqual([memory(id), pids(id)], [String(32 << 20), 'max']);
  await harness.engine.restart(id, { timeoutSeconds: 0 });
  assert.deepEqual([memory(id), pids(id), quota(id)], [String(32 << 20), 'max', '25000']);
  const { hostConfig } = await harness.engine.get(id);
  assert.deepEqual([hostConfig.Memory, hostConfig.NanoCpus, hostConfig.CpuShares], [32 << 20, 250_000_000, 512]);
  await harness.engine.remove(id, { force: true });
});

test('update in Docker’s words: what cannot be, what conflicts, what stays', { skip }, async () => {
  const id = await startIn(harness, ['sleep', '60'], {
    HostConfig: { Memory: 64 << 20, MemorySwap: 64 << 20, CpuQuota: 50_000, CpuPeriod: 100_000 },
  });
  const update = (request: Parameters<Harness['engine']['update']>[1]) => harness.engine.update(id, request);
  await assert.rejects(update({ Memory: 1 << 20 }), /Minimum memory limit allowed is 6MB/);
  await assert.rejects(
    update({ NanoCpus: 1e9 }),
    refused('UPDATE_CONFLICT', /Nano CPUs cannot be updated as CPU Period has already been set/),
  );
  if (harness.engine && cgroups.swapAccounting)
    await assert.rejects(update({ Memory: 128 << 20 }), refused('UPDATE_CONFLICT', /update the memoryswap at the same time/));
  await assert.rejects(update({ RestartPolicy: { Name: 'always', MaximumRetryCount: 3 } }), /maximum retry count/);
  assert.match(
    (await update({ OomKillDisable: false, Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 1 }] })).join(),
    /Ulimits cannot be changed/,
  );
  assert.equal(memory(id), String(64 << 20), 'nothing of it was done');
  await harness.engine.remove(id, { force: true });
});

test('a limit that the kernel refuses leaves everything as it was', { skip }, async () => {
  const id = await startIn(harness, ['sh', '-c', 'x=$(head -c 40000000 /dev/zero | tr "\\0" "x"); sleep 60'], {
    HostConfig: { Memory: 512 << 20, MemorySwap: 512 << 20, MemorySwappiness: 0 },
  });
  await sleep(700);
  await harness.engine.update(id, { Memory: 6 << 20, MemorySwap: 6 << 20 }).then(
    () => assert.equal(memory(id), String(6 << 20)),
    (error) => {
      assert.match(String(error), /Cannot update container/);
      assert.equal(memory(id), String(512 << 20));
    },
  );
  await harness.engine.remove(id, { force: true });
});

test('update of a restart policy is heeded at the next end; with AutoRemove it is refused', { skip }, async () => {
  const id = await startIn(harness, ['sh', '-c', 'sleep 0.3; exit 2']);
  await harness.engine.update(id, { RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 1 } });
  for (let exits = 0; exits < 2; exits++) await harness.engine.wait(id, 'next-exit');
  assert.equal((await harness.engine.get(id)).restartCount, 1);
  const going = await startIn(harness, ['sleep', '60'], { HostConfig: { AutoRemove: true } });
  await assert.rejects(
    harness.engine.update(going, { RestartPolicy: { Name: 'always' } }),
    refused('UPDATE_CONFLICT', /AutoRemove is enabled/),
  );
  for (const each of [id, going]) await harness.engine.remove(each, { force: true });
});

test('stats read what the kernel counts, and say nothing of what does not run', { skip }, async () => {
  const id = await startIn(harness, ['sh', '-c', 'while true; do :; done'], { HostConfig: { Memory: 64 << 20, PidsLimit: 50 } });
  const first = await harness.engine.stats(id);
  const startedAt = performance.now();
  await sleep(200);
  let second = await harness.engine.stats(id);
  // Where others want the processors, too, it gets its share later.
  await eventually(async () => {
    second = await harness.engine.stats(id);
    return (second?.cpu.usageNs ?? 0) - (first?.cpu.usageNs ?? 0) > 20e6;
  }, 'its work is counted');
  assert.ok(first && second);
  const used = second.cpu.usageNs - first.cpu.usageNs;
  const there = second.host.cpuNs - first.host.cpuNs;
  const tookMs = performance.now() - startedAt;
  assert.ok(used < (tookMs + 800) * 1e6, `${used} ns of work of one process in ${tookMs} ms`);
  assert.ok(there > 100e6, `${there} ns on the host`);
  assert.ok(second.cpu.userNs + second.cpu.systemNs > 0 && second.host.onlineCpus >= 1);
  assert.equal(second.memory.limitBytes, 64 << 20);
  assert.ok(second.memory.usageBytes > 0 && Object.keys(second.memory.details).length > 5);
  assert.ok(second.pids.current >= 1 && second.pids.limit === 50);
  assert.deepEqual(second.networks, {});
  await harness.engine.kill(id);
  await harness.engine.wait(id);
  assert.equal(await harness.engine.stats(id), undefined);
  await harness.engine.remove(id);
});

test('a kill for want of memory is told at once, though the container goes on', { skip }, async () => {
  harness.events.length = 0;
  const id = await startIn(harness, ['sh', '-c', 'head -c 60000000 /dev/zero | tr "\\0" "x" | busybox sort > /dev/null; sleep 60'], {
    HostConfig: { Memory: 10 << 20, MemorySwap: 10 << 20 },
  });
  await eventually(() => harness.events.includes('oom'), 'it is told');
  assert.equal((await harness.engine.get(id)).state.status, 'running');
  await harness.engine.kill(id);
  await harness.engine.wait(id);
  const { state } = await harness.engine.get(id);
  assert.ok(state.status === 'exited' && state.oomKilled);
  assert.equal(harness.events.filter((event) => event === 'oom').length, 1);
  await harness.engine.remove(id);
});

test('the limit on processes holds against a fork bomb', { skip }, async () => {
  const id = await startIn(harness, ['sleep', '60'], { HostConfig: { PidsLimit: 64 } });
  const bomb = harness.engine
    .execCreate(id, {
      args: ['sh', '-c', 'b() { b | b & }; b; sleep 1'],
      tty: false,
      openStdin: false,
      attachStdout: false,
      attachStderr: false,
      env: [],
      privileged: false,
    })
    .then((exec) => harness.engine.execStart(exec.id, { detach: true }));
  await bomb;
  for (let round = 0; round < 10; round++) {
    const sample = await harness.engine.stats(id);
    assert.ok(sample && sample.pids.current <= 64, `${sample?.pids.current} processes`);
    await sleep(50);
  }
  await harness.engine.remove(id, { force: true });
  assert.deepEqual(cgroups.read(`/slipway-${harness.rootId}/${id}`, 'pids', 'pids.current'), undefined, 'nothing is left of it');
});

test('a group is removed with what runs in it, frozen or not', { skip }, async () => {
  const id = await startIn(harness, ['sleep', '60']);
  await harness.engine.pause(id);
  const exit = harness.engine.wait(id);
  await cgroups.remove(`/slipway-${harness.rootId}/${id}`);
  assert.deepEqual(await exit, { exitCode: 137 });
  await harness.engine.remove(id);
});

test('5,000 orphans are reaped at once', { skip }, async () => {
  const id = await startIn(harness, ['sleep', '60'], { HostConfig: { PidsLimit: 6000 } });
  const { exitCode } = await execIn(harness, id, [
    'sh',
    '-c',
    // Each is left by its parent at once, and so is the init's when it ends.
    'i=0; while [ $i -lt 5000 ]; do (true &) ; i=$((i+1)); done',
  ]);
  assert.equal(exitCode, 0);
  await eventually(async () => {
    const { Processes } = await harness.engine.top(id, '-o pid,stat,args');
    return !Processes.some(([, state]) => state?.startsWith('Z'));
  }, 'none is left');
  await harness.engine.remove(id, { force: true });
  assert.deepEqual(harness.errors, []);
});
