import assert from 'node:assert/strict';
import { createHash, randomFillSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../src/base/errors.ts';
import type { Attachment } from '../../src/runtime/port.ts';
import { cannotRun, closeHarness, eventually, execIn, execOf, type Harness, makeHarness, startIn } from './runtime-support.ts';

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

const coded = (code: string) => (error: unknown) => error instanceof EngineError && error.code === code;
const withStatus = (exitCode: number) => (error: unknown) => error instanceof EngineError && error.exitCode === exitCode;
const start = (command: string[], request: Parameters<Harness['engine']['create']>[0] = {}) => startIn(harness, command, request);

async function begin(id: string, args: string[], more: Parameters<typeof execOf>[1] = {}): Promise<{ id: string; attachment: Attachment }> {
  const { id: execId } = await harness.engine.execCreate(id, execOf(args, more));
  return { id: execId, attachment: (await harness.engine.execStart(execId, { detach: false })) as Attachment };
}

test('streams, exit codes, stdin, user, groups, environment, directory', { skip }, async () => {
  const id = await start(['sleep', '60'], {
    Env: ['FROM=container'],
    // Not the soft limit of open files: the Go of Debian 12's runc may raise that in a new process after it was set.
    HostConfig: {
      Ulimits: [
        { Name: 'cpu', Soft: 321, Hard: 654 },
        { Name: 'nofile', Soft: 700, Hard: 700 },
      ],
      OomScoreAdj: 77,
    },
  });
  const exec = (args: string[], more = {}) => execIn(harness, id, args, more);
  const first = await exec(['sh', '-c', 'echo out; echo err >&2; exit 9']);
  assert.deepEqual([first.stdout, first.stderr, first.exitCode], ['out\n', 'err\n', 9]);
  const cat = await exec(['cat'], { input: Buffer.from('given\n') });
  assert.deepEqual([cat.stdout, cat.exitCode], ['given\n', 0]);
  assert.equal(
    (await exec(['sh', '-c', 'id -u; id -G; pwd; echo $FROM $OWN $HOME'], { user: 'app', workingDir: '/tmp', env: ['OWN=exec'] })).stdout,
    '1234\n1235 77\n/tmp\ncontainer exec /home/app\n',
  );
  assert.equal((await exec(['sh', '-c', 'ulimit -t; ulimit -Ht; ulimit -n; cat /proc/self/oom_score_adj'])).stdout, '321\n654\n700\n77\n');
  assert.equal((await exec(['sh', '-c', 'kill -9 $$'])).exitCode, 137);
  assert.equal((await exec(['sh', '-c', 'echo again > /dev/stdout'])).stdout, 'again\n');
  await harness.engine.remove(id, { force: true });
});

test('bytes through stdin and stdout arrive as they were, however many', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const rounds = Number(process.env.EXEC_ROUNDS ?? 2);
  const input = randomFillSync(Buffer.alloc(50 << 20));
  const digest = (data: Buffer) => createHash('sha256').update(data).digest('hex');
  for (let round = 0; round < rounds; round++) {
    const { bytes, exitCode } = await execIn(harness, id, ['cat'], { input });
    assert.deepEqual([bytes.length, digest(bytes), exitCode], [input.length, digest(input), 0], `round ${round}`);
  }
  await harness.engine.remove(id, { force: true });
});

test('it ends with its command, not with a background child that holds its pipes', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const startedAt = performance.now();
  const { stdout, exitCode } = await execIn(harness, id, ['sh', '-c', 'sleep 30 & echo started; exit 3']);
  assert.deepEqual([stdout, exitCode], ['started\n', 3]);
  assert.ok(performance.now() - startedAt < 20_000);
  const many = await execIn(harness, id, [
    'sh',
    '-c',
    '(while true; do echo late; done) & head -c 3000000 /dev/zero | tr "\\0" "z"; kill $!',
  ]);
  assert.equal(many.stdout.replaceAll('late\n', '').length, 3_000_000);
  await harness.engine.remove(id, { force: true });
});

test('what cannot be run says why, with the status of a shell', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const refused = async (args: string[], status: number, more: Parameters<typeof execOf>[1] = {}) => {
    const exec = await harness.engine.execCreate(id, execOf(args, more));
    await assert.rejects(harness.engine.execStart(exec.id, { detach: false }), withStatus(status));
    assert.deepEqual((await harness.engine.execGet(exec.id)).state, { status: 'exited', exitCode: status });
    await assert.rejects(harness.engine.execStart(exec.id, { detach: false }), coded('EXEC_STARTED'));
  };
  await refused(['no-such-command'], 127);
  await refused(['/etc/not-executable'], 126);
  await refused(['true'], 126, { user: 'nobody-here' });
  await refused(['true'], 126, { workingDir: '/nowhere' });
  await refused(['true'], 126, { workingDir: '/proc/self/fd/7' });
  await execIn(harness, id, ['sh', '-c', 'mkdir -p /tmp/d && rm -rf /tmp/d/way && cd /tmp/d && busybox ln -s /proc/self/fd/7 way']);
  await refused(['true'], 126, { workingDir: '/tmp/d/way' });
  await assert.rejects(harness.engine.execCreate(id, execOf([])), coded('NO_COMMAND'));
  await assert.rejects(harness.engine.execGet('0123'), coded('EXEC_NOT_FOUND'));
  await harness.engine.remove(id, { force: true });
});

test('privileged gives all capabilities that there are, and only to it', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const bounding = async (privileged: boolean) =>
    BigInt(`0x${(await execIn(harness, id, ['sh', '-c', 'grep CapEff /proc/self/status'], { privileged })).stdout.split(/\s+/)[1]}`);
  const [own, all] = [await bounding(false), await bounding(true)];
  assert.equal(own, 0xa80425fbn);
  assert.ok(all > own && (all & own) === own);
  await harness.engine.remove(id, { force: true });
});

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

test('a terminal: what is typed, what comes back, its size, its Ctrl-C', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const { id: execId } = await harness.engine.execCreate(id, execOf(['sh'], { tty: true, openStdin: true }));
  const attachment = (await harness.engine.execStart(execId, { detach: false, size: { rows: 33, columns: 99 } })) as Attachment;
  const frames = attachment.output()[Symbol.asyncIterator]();
  await attachment.write(Buffer.from('stty size\n'));
  assert.match(await until(frames, /33 99\r\n/), /stty size/);
  await harness.engine.execResize(execId, { rows: 44, columns: 111 });
  await attachment.write(Buffer.from('until [ "$(stty size)" = "44 111" ]; do sleep 0.01; done; stty size; sleep 30\n'));
  await until(frames, /\n44 111\r\n/);
  // Whether it comes before the sleep or in it, it ends the line.
  await sleep(100);
  await attachment.write(Buffer.from('\x03'));
  await attachment.write(Buffer.from('echo $?; exit 5\n'));
  await until(frames, /130\r\n/);
  while (!(await frames.next()).done);
  assert.deepEqual((await harness.engine.execGet(execId)).state, { status: 'exited', exitCode: 5 });
  await assert.rejects(harness.engine.execResize(execId, { rows: 1, columns: 1 }), coded('EXEC_NOT_RUNNING'));
  await harness.engine.remove(id, { force: true });
});

test('a terminal shows all that a short command wrote', { skip }, async () => {
  const id = await start(['sleep', '60']);
  for (let round = 0; round < 10; round++) {
    const { stdout, exitCode } = await execIn(harness, id, ['sh', '-c', 'seq 1 2000; exit 4'], { tty: true });
    assert.equal(stdout.split('\r\n').length, 2001);
    assert.equal(exitCode, 4);
  }
  await harness.engine.remove(id, { force: true });
});

test('detached: it runs without a client, and its exit code is known', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const { id: detached } = await harness.engine.execCreate(id, execOf(['sh', '-c', 'sleep 0.1; echo done > /tmp/mark; exit 6']));
  assert.equal(await harness.engine.execStart(detached, { detach: true }), undefined);
  const { state } = await harness.engine.execGet(detached);
  assert.ok(state.status === 'running' && state.pid > 0);
  await eventually(async () => (await harness.engine.execGet(detached)).state.status === 'exited', 'it ends');
  assert.deepEqual((await harness.engine.execGet(detached)).state, { status: 'exited', exitCode: 6 });
  assert.equal((await execIn(harness, id, ['cat', '/tmp/mark'])).stdout, 'done\n');
  const terminal = await harness.engine.execCreate(id, execOf(['sh', '-c', 'seq 1 100000; exit 7'], { tty: true }));
  await harness.engine.execStart(terminal.id, { detach: true });
  await eventually(async () => (await harness.engine.execGet(terminal.id)).state.status === 'exited', 'nobody need read its terminal');
  await harness.engine.remove(id, { force: true });
});

test('a client that leaves does not end the process', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const { attachment } = await begin(id, ['sh', '-c', 'echo here; seq 1 100000; echo through > /tmp/mark'], { openStdin: true });
  await until(attachment.output()[Symbol.asyncIterator](), /here/);
  harness.events.length = 0;
  attachment.close({ detached: true });
  attachment.close();
  assert.deepEqual(harness.events, ['exec_detach']);
  await eventually(async () => (await execIn(harness, id, ['cat', '/tmp/mark'])).stdout === 'through\n', 'it wrote on');
  await harness.engine.remove(id, { force: true });
});

test('it ends with its container; in one that is paused or has ended there is none', { skip }, async () => {
  const id = await start(['sleep', '60']);
  const { id: running, attachment } = await begin(id, ['sleep', '60']);
  const waiting = await harness.engine.execCreate(id, execOf(['true']));
  await harness.engine.pause(id);
  await assert.rejects(harness.engine.execCreate(id, execOf(['true'])), coded('CONTAINER_PAUSED'));
  await assert.rejects(harness.engine.execStart(waiting.id, { detach: false }), coded('CONTAINER_PAUSED'));
  await harness.engine.unpause(id);
  await harness.engine.kill(id);
  for await (const _ of attachment.output());
  assert.deepEqual((await harness.engine.execGet(running)).state, { status: 'exited', exitCode: 137 });
  await harness.engine.wait(id);
  await assert.rejects(harness.engine.execCreate(id, execOf(['true'])), coded('CONTAINER_NOT_RUNNING'));
  await assert.rejects(harness.engine.execStart(waiting.id, { detach: false }), coded('CONTAINER_NOT_RUNNING'));
  await harness.engine.remove(id);
  await assert.rejects(harness.engine.execGet(running), coded('EXEC_NOT_FOUND'));
});

test('many at once, and nothing of them stays: no process, no descriptor, no file', { skip }, async () => {
  const id = await start(['sleep', '60']);
  await execIn(harness, id, ['true']);
  const before = readdirSync('/proc/self/fd').length;
  const results = await Promise.all(
    Array.from({ length: 16 }, (_, index) => execIn(harness, id, ['sh', '-c', `echo ${index}; exit ${index}`], { tty: index % 4 === 0 })),
  );
  assert.deepEqual(
    results.map(({ stdout, exitCode }) => [stdout.trim(), exitCode]),
    results.map((_, index) => [String(index), index]),
  );
  await eventually(() => readdirSync('/proc/self/fd').length <= before, 'descriptors are closed');
  const folder = join(harness.directory, 'run/exec');
  assert.deepEqual(existsSync(folder) ? readdirSync(folder) : [], []);
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim().split(' ').filter(Boolean);
  const zombies = children.filter((pid) => /^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')));
  assert.deepEqual(zombies, []);
  await harness.engine.remove(id, { force: true });
  assert.deepEqual(harness.errors, []);
});
