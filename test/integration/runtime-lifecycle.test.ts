import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../src/base/errors.ts';
import {
  cannotRun,
  closeHarness,
  collect,
  eventually,
  execIn,
  execOf,
  type Harness,
  makeHarness,
  readyTimes,
  run,
  startIn,
  startReady,
} from './runtime-support.ts';

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

const coded = (code: string) => (error: unknown) => error instanceof EngineError && error.code === code;
const everything = { stdin: true, stdout: true, stderr: true, logs: false, stream: true };

const start = (command: string[], request: Parameters<Harness['engine']['create']>[0] = {}) => startIn(harness, command, request);

/** Reads until the text is there. */
async function until(frames: AsyncIterator<{ data: Buffer }>, pattern: RegExp): Promise<string> {
  let text = '';
  while (!pattern.test(text)) {
    const { value, done } = await frames.next();
    if (done) throw new Error(`ended before ${pattern}: ${text}`);
    text += value.data.toString();
  }
  return text;
}

test('stop sends the stop signal and waits; what ignores it is killed after the time-out', { skip }, async () => {
  const polite = await startReady(harness, 'trap "exit 7" TERM; echo ready; while true; do sleep 0.05; done');
  await harness.engine.stop(polite, { timeoutSeconds: 30 });
  assert.deepEqual(await harness.engine.wait(polite), { exitCode: 7 });
  const stubborn = await startReady(harness, 'trap "" TERM; echo ready; while true; do sleep 0.05; done');
  await harness.engine.stop(stubborn, { timeoutSeconds: 0.2 });
  assert.deepEqual(await harness.engine.wait(stubborn), { exitCode: 137 });
  await assert.rejects(harness.engine.stop(stubborn), coded('NOT_MODIFIED'));
});

test('stop sends the signal that the configuration names, and waits as long as it says', { skip }, async () => {
  const loop = 'echo ready; while true; do sleep 0.05; done';
  const own = await startReady(harness, `trap "exit 9" USR1; trap "" TERM; ${loop}`, { StopSignal: 'SIGUSR1' });
  const deaf = await startReady(harness, `trap "" TERM; ${loop}`, { StopTimeout: 1 });
  await harness.engine.stop(own);
  assert.deepEqual(await harness.engine.wait(own), { exitCode: 9 });
  const startedAt = performance.now();
  await harness.engine.stop(deaf);
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs >= 1_000 && tookMs < 9_000, `without being told it is ten seconds: ${tookMs} ms`);
  assert.deepEqual(await harness.engine.wait(deaf), { exitCode: 137 });
  for (const id of [own, deaf]) await harness.engine.remove(id);
});

test('kill sends any signal; start twice and kill of what does not run are refused', { skip }, async () => {
  const id = await startReady(harness, 'trap "exit 3" USR1; echo ready; while true; do sleep 0.05; done');
  await assert.rejects(harness.engine.start(id), coded('NOT_MODIFIED'));
  const exit = harness.engine.wait(id, 'next-exit');
  await harness.engine.kill(id, 'SIGUSR1');
  assert.equal((await exit).exitCode, 3);
  await assert.rejects(harness.engine.kill(id), coded('CONTAINER_NOT_RUNNING'));
  await assert.rejects(harness.engine.kill(id, 'SIGNOTHING'), /Invalid signal/);
});

test('a stopped container starts again with what it wrote', { skip }, async () => {
  const id = await startReady(harness, 'ls /mark 2>/dev/null; touch /mark; echo ready; sleep 60');
  await harness.engine.restart(id, { timeoutSeconds: 0 });
  const { state } = await harness.engine.get(id);
  assert.equal(state.status, 'running');
  await eventually(async () => (await readyTimes(harness, id)) === 2, 'it is ready again');
  const lines: string[] = [];
  for await (const { line } of harness.logs.read(id, {})) lines.push(line.toString());
  assert.deepEqual(lines, ['ready', '/mark', 'ready']);
  await harness.engine.remove(id, { force: true });
});

test('pause holds the processes, unpause lets them go on; stop works on a paused one', { skip }, async () => {
  const id = await start(['sleep', '60']);
  await harness.engine.pause(id);
  const { state } = await harness.engine.get(id);
  assert.ok(state.status === 'running' && state.paused);
  await assert.rejects(harness.engine.pause(id), coded('CONTAINER_PAUSED'));
  await assert.rejects(harness.engine.execCreate(id, execOf(['true'])), coded('CONTAINER_PAUSED'));
  await harness.engine.unpause(id);
  await harness.engine.pause(id);
  await harness.engine.stop(id, { timeoutSeconds: 2 });
  assert.equal((await harness.engine.get(id)).state.status, 'exited');
});

test('rename and look-up by name, id and prefix', { skip }, async () => {
  const { record } = await harness.engine.create({ Image: 'busybox', Cmd: ['true'] }, { name: 'first-name' });
  const other = await harness.engine.create({ Image: 'busybox', Cmd: ['true'] });
  assert.match(other.record.name, /^[a-z]+_[a-z]+\d*$/);
  await harness.engine.rename('first-name', 'second-name');
  for (const name of ['second-name', '/second-name', record.id, record.id.slice(0, 12)])
    assert.equal((await harness.engine.get(name)).id, record.id);
  await assert.rejects(harness.engine.get('first-name'), coded('CONTAINER_NOT_FOUND'));
  await assert.rejects(harness.engine.rename(other.record.id, 'second-name'), coded('NAME_IN_USE'));
});

test('a running container is removed only by force', { skip }, async () => {
  const id = await start(['sleep', '60']);
  await assert.rejects(harness.engine.remove(id), coded('CONTAINER_RUNNING'));
  const removed = harness.engine.wait(id, 'removed');
  await harness.engine.remove(id, { force: true });
  assert.equal((await removed).exitCode, 137);
});

test('stdin reaches the process and its end ends it', { skip }, async () => {
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sh', '-c', 'cat; echo over'],
    OpenStdin: true,
    StdinOnce: true,
    HostConfig: { NetworkMode: 'none' },
  });
  const attachment = await harness.engine.attach(record.id, everything);
  const written = attachment.write(Buffer.from('early, '));
  await harness.engine.start(record.id);
  await written;
  await attachment.write(Buffer.alloc(200_000, 'x'));
  await attachment.endStdin();
  const { stdout } = await collect(attachment);
  assert.equal(stdout, `early, ${'x'.repeat(200_000)}over\n`);
  assert.deepEqual(await harness.engine.wait(record.id), { exitCode: 0 });
});

test('a terminal has the size that was asked before the start, and each later one', { skip }, async () => {
  // A new size reaches it when it does: it looks until it is there.
  const sees = (size: string) => `until [ "$(stty size)" = "${size}" ]; do sleep 0.01; done; echo "has ${size}"; read a`;
  const script = `stty size; ${sees('40 100')}; ${sees('50 120')}; test -t 0 && echo "$TERM"`;
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sh', '-c', script],
    Tty: true,
    OpenStdin: true,
    StdinOnce: true,
    HostConfig: { NetworkMode: 'none' },
  });
  const attachment = await harness.engine.attach(record.id, everything);
  const frames = attachment.output()[Symbol.asyncIterator]();
  await harness.engine.resize(record.id, { rows: 30, columns: 90 });
  await harness.engine.start(record.id);
  await until(frames, /30 90\r\n/);
  for (const [rows, columns] of [
    [40, 100],
    [50, 120],
  ] as const) {
    await harness.engine.resize(record.id, { rows, columns });
    await until(frames, new RegExp(`has ${rows} ${columns}\r\n`));
    await attachment.write(Buffer.from('\n'));
  }
  await until(frames, /xterm\r\n/);
  assert.equal((await harness.engine.wait(record.id)).exitCode, 0);
});

test('top lists what runs inside', { skip }, async () => {
  const id = await start(['sh', '-c', 'sleep 61 & sleep 62']);
  assert.deepEqual((await harness.engine.top(id, '-o pid,args')).Titles, ['PID', 'COMMAND']);
  await eventually(async () => {
    const commands = (await harness.engine.top(id, '-o pid,args')).Processes.map((row) => row[1]).join('\n');
    return /sleep 61/.test(commands) && /sleep 62/.test(commands);
  }, 'both are there');
  await harness.engine.remove(id, { force: true });
});

test('restart policies: on-failure as often as it says, always until it is stopped', { skip }, async () => {
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sh', '-c', 'exit 3'],
    HostConfig: { NetworkMode: 'none', RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 2 } },
  });
  await harness.engine.start(record.id);
  // As in Docker, the first end answers who waits, though a restart follows.
  assert.equal((await harness.engine.wait(record.id)).exitCode, 3);
  await eventually(async () => (await harness.engine.get(record.id)).state.status === 'exited', 'it is not restarted any more');
  assert.equal((await harness.engine.get(record.id)).restartCount, 2);

  const always = await start(['sh', '-c', 'sleep 0.05'], { HostConfig: { NetworkMode: 'none', RestartPolicy: { Name: 'always' } } });
  for (let exits = 0; exits < 2; exits++) await harness.engine.wait(always, 'next-exit');
  await harness.engine.stop(always, { timeoutSeconds: 1 });
  // More than the pause before a restart.
  await sleep(400);
  assert.equal((await harness.engine.get(always)).state.status, 'exited');
});

test('containers share namespaces when asked', { skip }, async () => {
  const owner = await start(['sleep', '60'], { Hostname: 'owner', HostConfig: { NetworkMode: 'none', IpcMode: 'shareable' } });
  const shared = { HostConfig: { NetworkMode: `container:${owner}`, PidMode: `container:${owner}`, IpcMode: `container:${owner}` } };
  assert.match((await run(harness, ['sh', '-c', 'cat /proc/1/cmdline; touch /dev/shm/seen'], shared)).stdout, /sleep/);
  assert.equal((await execIn(harness, owner, ['ls', '/dev/shm'])).stdout, 'seen\n');
  await harness.engine.remove(owner, { force: true });
  await assert.rejects(run(harness, ['true'], shared), /No such container/);
});

test('withRootfs shows the files of a container that does not run', { skip }, async () => {
  const { id } = await run(harness, ['sh', '-c', 'echo kept > /tmp/file']);
  const { readFile } = await import('node:fs/promises');
  assert.equal(await harness.engine.withRootfs(id, (rootfs) => readFile(`${rootfs}/tmp/file`, 'utf8')), 'kept\n');
});

test('a removal that is under way is told to others, and waited for by who forces', { skip }, async () => {
  const id = await start(['sh', '-c', 'trap "" TERM; sleep 60']);
  const both = await Promise.allSettled([harness.engine.remove(id, { force: true }), harness.engine.remove(id, { force: true })]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ['fulfilled', 'fulfilled'],
  );
  const other = await start(['sleep', '60']);
  const removal = harness.engine.remove(other, { force: true });
  await assert.rejects(harness.engine.remove(other), coded('REMOVAL_IN_PROGRESS'));
  await assert.rejects(harness.engine.start(other));
  await removal;
  await assert.rejects(harness.engine.get(other), coded('CONTAINER_NOT_FOUND'));
});

test('whatever is asked at once is answered, and the state is one that there is', { skip, timeout: 60_000 }, async () => {
  const { engine } = harness;
  const asks: ((id: string, n: number) => Promise<unknown>)[] = [
    (id) => engine.start(id),
    (id) => engine.stop(id, { timeoutSeconds: 0 }),
    (id) => engine.kill(id, 'SIGUSR1'),
    (id) => engine.restart(id, { timeoutSeconds: 0 }),
    (id) => engine.pause(id),
    (id) => engine.unpause(id),
    (id, n) => engine.rename(id, `racer-${n % 5}`),
    (id) => execIn(harness, id, ['true']),
    (id) => engine.update(id, { PidsLimit: 100 }),
    (id) => engine.top(id),
    (id) => engine.stats(id),
    (id, n) => (n % 13 === 0 ? engine.remove(id, { force: true }) : engine.remove(id)),
    (id) => engine.wait(id, 'not-running', AbortSignal.timeout(2_000)),
  ];
  const ids: string[] = [];
  for (const policy of ['no', 'always', 'no'] as const)
    ids.push(await start(['sleep', '60'], { HostConfig: { RestartPolicy: { Name: policy } } }));
  const results = await Promise.allSettled(
    Array.from({ length: 150 }, async (_, n) => {
      await sleep(n * 12);
      await asks[(n * 7) % asks.length]?.(ids[n % ids.length] ?? '', n);
    }),
  );
  for (const result of results) {
    const isTold = result.status === 'fulfilled' || result.reason instanceof EngineError || result.reason?.name === 'TimeoutError';
    assert.ok(isTold, result.status === 'rejected' ? result.reason : '');
    if (result.status === 'rejected' && result.reason instanceof EngineError)
      assert.ok(!['Internal'].includes(result.reason.kind), `${result.reason.code}: ${result.reason.message}`);
  }
  for (const { id } of await engine.list()) await engine.remove(id, { force: true });
  assert.deepEqual(harness.errors, []);
});

test('many containers start and end side by side', { skip }, async () => {
  const results = await Promise.all(Array.from({ length: 12 }, (_, index) => run(harness, ['sh', '-c', `echo ${index}; exit ${index}`])));
  assert.deepEqual(
    results.map(({ stdout, exitCode }) => [stdout, exitCode]),
    results.map((_, index) => [`${index}\n`, index]),
  );
  assert.deepEqual(harness.errors, []);
});
