import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { listMounts } from '../../src/kernel/mount.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { cannotRun, closeHarness, eventually, execIn, type Harness, makeBusyboxRoot, openEngine, startIn } from './runtime-support.ts';

const skip = cannotRun;

/** An engine in a process of its own. */
class Host {
  readonly child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  constructor(directory: string) {
    this.child = spawn(process.execPath, [join(import.meta.dirname, 'runtime-host.ts'), directory], { stdio: ['pipe', 'pipe', 'inherit'] });
    // A pipe, since one was asked for.
    const input = this.child.stdout as NonNullable<ChildProcess['stdout']>;
    this.#answers = createInterface({ input })[Symbol.asyncIterator]();
  }

  async answer(): Promise<unknown> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('the engine ended');
    return JSON.parse(value);
  }

  send(...command: string[]): void {
    this.child.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  async call(...command: string[]): Promise<unknown> {
    this.send(...command);
    return this.answer();
  }

  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}

async function host(t: TestContext): Promise<{ directory: string; host: Host }> {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-recover-'));
  makeBusyboxRoot(join(directory, 'lower'));
  const first = new Host(directory);
  t.after(() => first.child.kill('SIGKILL'));
  assert.equal(await first.answer(), 'ready');
  return { directory, host: first };
}

/** What a container's script waits for before it ends. */
const gate = 'while [ ! -e /go ]; do sleep 0.05; done';
const pidOf = (directory: string, id: string, name: 'pid' | 'conmon.pid' = 'pid') =>
  Number(readFileSync(join(directory, 'run/c', id, name), 'utf8'));
const openGate = (directory: string, id: string) => writeFileSync(`/proc/${pidOf(directory, id)}/root/go`, '');

async function adopt(t: TestContext, directory: string): Promise<Harness> {
  const harness = openEngine(directory);
  t.after(() => closeHarness(harness));
  await harness.engine.recover();
  return harness;
}

test('after kill -9 what runs is adopted, and what ended has its code and time', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  const running = String(await first.call('run', 'runs', 'trap "exit 5" TERM; echo one; while true; do sleep 0.05; done'));
  const ending = [
    String(await first.call('run', 'ends', `${gate}; exit 6`)),
    String(await first.call('run', 'killed', `${gate}; kill -9 $$`)),
    String(await first.call('run', 'removes-itself', `${gate}; exit 7`, '{"AutoRemove": true}')),
  ];
  await first.kill();
  const monitors = ending.map((id) => pidOf(directory, id, 'conmon.pid'));
  for (const id of ending) openGate(directory, id);
  await eventually(() => monitors.every((pid) => !existsSync(`/proc/${pid}`)), 'they end, and their monitors with them');
  const endedBy = Date.now();
  await sleep(100);

  const { engine, logs } = await adopt(t, directory);
  const state = async (name: string) => (await engine.get(name)).state;
  const ends = await state('ends');
  assert.ok(ends.status === 'exited' && ends.exitCode === 6, JSON.stringify(ends));
  assert.ok(ends.finishedAtMs <= endedBy, 'its own time, not that of the adoption');
  const killed = await state('killed');
  assert.ok(killed.status === 'exited' && killed.exitCode === 137, JSON.stringify(killed));
  await assert.rejects(engine.get('removes-itself'));
  assert.equal((await state('runs')).status, 'running');
  const lines: string[] = [];
  for await (const { line } of logs.read(running, {})) lines.push(line.toString());
  assert.deepEqual(lines, ['one']);
  const exit = engine.wait('runs', 'next-exit');
  await engine.stop('runs', { timeoutSeconds: 30 });
  assert.deepEqual(await exit, { exitCode: 5 });
});

test('a kill at any moment of starts leaves no state that is wrong, and nothing behind', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  let current = first;
  for (const delayMs of [3, 12, 25, 40, 60]) {
    for (let index = 0; index < 3; index++) current.send('run', `c-${delayMs}-${index}`, 'sleep 0.3; exit 4');
    await sleep(delayMs);
    await current.kill();
    current = new Host(directory);
    t.after(() => current.child.kill('SIGKILL'));
    assert.equal(await current.answer(), 'ready');
  }
  await sleep(600);
  await current.kill();
  const { engine, rootId, errors } = await adopt(t, directory);
  await eventually(async () => (await engine.list()).every(({ state }) => state.status !== 'running'), 'all have ended');
  for (const { id, name, state } of await engine.list()) {
    assert.ok(state.status === 'created' || (state.status === 'exited' && state.exitCode === 4), `${name}: ${JSON.stringify(state)}`);
    await engine.remove(id);
  }
  assert.deepEqual(errors, []);
  await nothingLeft(directory, rootId);
  assert.deepEqual(await new Cgroups().list(`/slipway-${rootId}`), []);
});

async function nothingLeft(directory: string, rootId: string): Promise<void> {
  assert.deepEqual(
    listMounts().filter(({ mountPoint }) => mountPoint.startsWith(directory)),
    [],
  );
  for (const folder of ['run/c', 'run/runc', 'root/containers', 'root/snapshots']) {
    assert.deepEqual(existsSync(join(directory, folder)) ? readdirSync(join(directory, folder)) : [], [], `${folder} of ${rootId}`);
  }
  await eventually(() => !commandLines().some((line) => line.includes(`${directory}/run/c/`)), 'no process is left');
}

function commandLines(): string[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      return /^\d+$/.test(name) ? [readFileSync(`/proc/${name}/cmdline`, 'utf8')] : [];
    } catch {
      return [];
    }
  });
}

test('a container whose monitor is killed runs on, and its end is seen with its code', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  await first.kill();
  const { engine } = await adopt(t, directory);
  const { record } = await engine.create({ Image: 'busybox', Cmd: ['sh', '-c', `${gate}; exit 8`], HostConfig: { NetworkMode: 'none' } });
  await engine.start(record.id);
  const exit = engine.wait(record.id, 'next-exit');
  process.kill(pidOf(directory, record.id, 'conmon.pid'), 'SIGKILL');
  await sleep(100);
  assert.equal((await engine.get(record.id)).state.status, 'running');
  openGate(directory, record.id);
  const { exitCode, error } = await exit;
  // The engine has become its parent.
  assert.equal(exitCode, 8);
  assert.match(error ?? '', /monitor was killed/);
});

test('monitor and container both killed while no engine ran: 255, and why', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  const id = String(await first.call('run', 'lost', 'sleep 60'));
  const read = (name: string) => Number(readFileSync(join(directory, 'run/c', id, name), 'utf8'));
  await first.kill();
  for (const name of ['conmon.pid', 'pid']) process.kill(read(name), 'SIGKILL');
  await sleep(100);
  const { engine } = await adopt(t, directory);
  const { state } = await engine.get('lost');
  assert.ok(state.status === 'exited' && state.exitCode === 255, JSON.stringify(state));
  assert.match(state.error ?? '', /no engine was there to see/);
});

test('a start that a kill cut off is undone: with AutoRemove the container is gone, else it is as it was created', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  const ids = [await first.call('create', 'once', 'true', '{"AutoRemove": true}'), await first.call('create', 'kept', 'true')];
  await first.kill();
  for (const id of ids) {
    const path = join(directory, 'root/containers', String(id), 'container.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), intent: { action: 'start', atMs: Date.now() } }));
  }
  const { engine } = await adopt(t, directory);
  assert.deepEqual(
    (await engine.list()).map(({ name, state }) => [name, state.status]),
    [['kept', 'created']],
  );
});

test('one that removes itself goes when the engine dies before its start, and stays over an orderly end', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  await first.call('create', 'cut-off', 'true', '{"AutoRemove": true, "Mounts": [{"Type": "volume", "Target": "/v"}]}');
  await first.call('create', 'patient', 'true', '{"AutoRemove": true}');
  await first.kill();
  const { engine, volumes } = openEngine(directory);
  await engine.recover();
  assert.deepEqual(await engine.list(), []);
  assert.deepEqual(await volumes.list(), []);
  await engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { NetworkMode: 'none', AutoRemove: true } }, { name: 'kept' });
  await engine.close();
  const next = await adopt(t, directory);
  assert.deepEqual(
    (await next.engine.list()).map(({ name }) => name),
    ['kept'],
  );
});

test('a creation that a kill cut off leaves no anonymous volume, whether it was made yet or not', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  const id = String(await first.call('create', 'whole', 'true', '{"Mounts": [{"Type": "volume", "Target": "/v"}]}'));
  await first.kill();
  const path = join(directory, 'root/containers', id, 'container.json');
  const saved = JSON.parse(readFileSync(path, 'utf8'));
  const [{ name: volume }] = saved.record.mounts;
  const intent = { action: 'create', atMs: Date.now(), volumes: [volume, 'f'.repeat(64)] };
  writeFileSync(path, JSON.stringify({ ...saved, record: { ...saved.record, mounts: [] }, intent }));
  const { engine, volumes } = await adopt(t, directory);
  assert.deepEqual(await engine.list(), []);
  assert.deepEqual(await volumes.list(), []);
});

test('a forced removal that a kill cut off is brought to its end', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  const id = String(await first.call('run', 'going', 'sleep 60'));
  await first.kill();
  const path = join(directory, 'root/containers', id, 'container.json');
  const intent = { action: 'remove', atMs: Date.now(), volumes: false };
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), intent }));
  const { engine } = await adopt(t, directory);
  assert.deepEqual(await engine.list(), []);
  await nothingLeft(directory, '');
});

test('a detached process runs on when the engine dies, and ends with its container', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  const id = String(await first.call('run', 'holds', 'sleep 60'));
  const execId = String(await first.call('exec', id, 'sleep 0.3; echo done > /tmp/mark; sleep 4242'));
  await first.kill();
  const harness = await adopt(t, directory);
  await eventually(async () => (await execIn(harness, id, ['cat', '/tmp/mark'])).stdout === 'done\n', 'it wrote after the kill');
  await assert.rejects(harness.engine.execGet(execId), /No such exec instance/);
  const sleepers = async () => (await harness.engine.top(id, '-o pid,args')).Processes.filter(([, args]) => args?.includes('4242'));
  const [found] = await sleepers();
  assert.ok(found);
  await harness.engine.remove(id, { force: true });
  assert.equal(existsSync(`/proc/${found[0]}`), false);
});

test('a health check goes on with the next engine, from where it was', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  await first.kill();
  const before = openEngine(directory);
  await before.engine.recover();
  const id = await startIn(before, ['sleep', '60'], { Healthcheck: { Test: ['CMD', 'true'], Interval: 40e6 } });
  await eventually(async () => (await before.engine.get(id)).health?.status === 'healthy', 'it is healthy');
  await before.engine.close();
  const after = await adopt(t, directory);
  const health = (await after.engine.get(id)).health;
  assert.equal(health?.status, 'healthy');
  const seen = health?.log.at(-1)?.endedAtMs ?? 0;
  await eventually(async () => ((await after.engine.get(id)).health?.log.at(-1)?.endedAtMs ?? 0) > seen, 'it is checked again');
  assert.deepEqual(
    after.events.filter((event) => event.startsWith('health_status')),
    [],
  );
});

test('which restart policies heed what a person did, when the engine starts anew', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  await first.kill();
  const before = openEngine(directory);
  await before.engine.recover();
  const start = (Name: 'always' | 'unless-stopped' | 'on-failure', script: string) =>
    startIn(before, ['sh', '-c', script], { HostConfig: { RestartPolicy: { Name } } });
  const sleeps = 'trap "exit 0" TERM; while true; do sleep 0.05; done';
  const [always, unlessStopped, lost, onFailure] = [
    await start('always', sleeps),
    await start('unless-stopped', sleeps),
    await start('unless-stopped', sleeps),
    await start('on-failure', sleeps),
  ];
  for (const id of [always, unlessStopped, onFailure]) await before.engine.stop(id, { timeoutSeconds: 2 });
  const read = (name: string) => Number(readFileSync(join(directory, 'run/c', lost, name), 'utf8'));
  await before.engine.close();
  for (const name of ['conmon.pid', 'pid']) process.kill(read(name), 'SIGKILL');
  const { engine } = await adopt(t, directory);
  const status = async (id: string) => (await engine.get(id)).state.status;
  await eventually(async () => (await status(always)) === 'running' && (await status(lost)) === 'running', 'both start');
  assert.deepEqual([await status(unlessStopped), await status(onFailure)], ['exited', 'exited']);
  assert.deepEqual([(await engine.get(always)).restartCount, (await engine.get(lost)).restartCount], [0, 0]);
});

test('restart policies go on after an engine was killed', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  await first.call('run', 'always', 'sleep 0.3', '{"RestartPolicy": {"Name": "always"}}');
  await first.call('run', 'never', 'sleep 0.3');
  await first.kill();
  await sleep(500);
  const { engine } = await adopt(t, directory);
  await engine.wait('always', 'next-exit');
  const { status } = (await engine.get('always')).state;
  assert.ok(status === 'restarting' || status === 'running', status);
  assert.equal((await engine.get('never')).state.status, 'exited');
});

test('a port is held by the monitor while the container runs, and free after it', { skip }, async (t) => {
  const { directory, host: first } = await host(t);
  await first.kill();
  const { engine } = await adopt(t, directory);
  // The network is not there, but the reservation comes first and its failure is what is looked at.
  const { PortsOnly } = await import('./runtime-support.ts');
  await using held = await new PortsOnly().reserve([{ hostIp: '', hostPort: 0, containerPort: 80, protocol: 'tcp' }]);
  const port = held.bindings[0]?.hostPort ?? 0;
  const { record } = await engine.create({
    Image: 'busybox',
    Cmd: ['true'],
    HostConfig: { PortBindings: { '80/tcp': [{ HostPort: String(port) }] } },
  });
  await assert.rejects(engine.start(record.id), /port in use/);
  assert.equal((await engine.get(record.id)).state.status, 'created');
});
