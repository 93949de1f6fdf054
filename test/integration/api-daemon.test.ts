import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { call, cannotRunDaemon, DaemonPlace, upload } from './api-daemon-harness.ts';

const options = { skip: cannotRunDaemon, timeout: 60_000 };

function place(t: TestContext): DaemonPlace {
  const made = new DaemonPlace();
  t.after(() => made.remove());
  return made;
}

async function importImage(here: DaemonPlace): Promise<void> {
  const answer = await upload(here.socket, '/images/create?fromSrc=-&repo=bb&tag=1', here.imageTar());
  assert.equal(answer.status, 200, answer.text);
}

test('a daemon serves its socket to its group only, starts fast, and ends with 0 on SIGTERM', options, async (t) => {
  const here = place(t);
  const second = join(here.folder, 'docker.sock');
  const daemon = await here.start('--docker-socket', second);
  for (const path of [here.socket, second]) {
    assert.equal(statSync(path).mode & 0o777, 0o660);
    const answer = await call(path, 'GET', '/_ping');
    assert.equal(answer.text, 'OK');
    assert.equal(answer.headers['api-version'], '1.50');
  }
  assert.equal(await daemon.stop(), 0);
  assert.equal(existsSync(here.socket), false);
  assert.equal(existsSync(second), false);
});

test('a second daemon on the same root or run directory is refused and told the pid of the first', options, async (t) => {
  const here = place(t);
  const first = await here.start();
  const other = place(t);
  for (const flags of [
    ['--run', other.run],
    ['--root', other.root],
  ]) {
    const second = here.spawn(...flags);
    assert.equal(await second.exit(), 125);
    assert.match(second.log, new RegExp(`in use by another Slipway daemon \\(pid ${first.pid}\\)`));
  }
  assert.equal((await call(here.socket, 'GET', '/_ping')).status, 200);
});

test('a socket that a killed daemon left is replaced; one that somebody listens on is not', options, async (t) => {
  const here = place(t);
  await (await here.start()).kill();
  assert.equal(existsSync(here.socket), true);
  await (await here.start()).stop();
  mkdirSync(here.run, { recursive: true });
  const stranger = createServer().listen(here.socket);
  await once(stranger, 'listening');
  const refused = here.spawn();
  assert.equal(await refused.exit(), 125);
  assert.match(refused.log, /another process is listening/);
  stranger.close();
});

test('SIGTERM during the start ends it with 0 and leaves the root usable', options, async (t) => {
  const here = place(t);
  for (const delayMs of [0, 60, 120, 180, 240]) {
    const daemon = here.spawn();
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    daemon.signal('SIGTERM');
    const status = await daemon.exit();
    // Before its handlers are there, the signal ends it as any program.
    assert.ok(status === 0 || status === null, `${status} after ${delayMs} ms: ${daemon.log}`);
    assert.equal(existsSync(here.socket), false);
  }
  await (await here.start()).stop();
});

test('flags that are wrong, and a user who is not root, are refused with the reason', options, async (t) => {
  const here = place(t);
  const unknown = here.spawn('--rooot', '/x');
  assert.equal(await unknown.exit(), 125);
  assert.match(unknown.log, /--root/);
  const entry = join(import.meta.dirname, '../../src/daemon/main.ts');
  // Loaded as root: the checkout may lie where nobody else may look.
  const script = `const { main } = await import(${JSON.stringify(entry)}); process.setgid(65534); process.setuid(65534); main(['--root', '/nonexistent/r', '--run', '/nonexistent/n']).then((code) => process.exit(code))`;
  const run = () => execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' });
  assert.throws(run, (error: { status: number; stderr: Buffer }) => error.status === 125 && /must run as root/.test(String(error.stderr)));
});

test('followed streams end when the daemon stops, and do not hold it up', options, async (t) => {
  const here = place(t);
  const daemon = await here.start();
  const events = connect(here.socket);
  events.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(events, 'data');
  events.resume();
  const ended = once(events, 'end');
  const startedAt = performance.now();
  assert.equal(await daemon.stop(), 0);
  await ended;
  assert.ok(performance.now() - startedAt < 9_000);
});

test('containers run on through a stop, a kill and a start of the daemon', options, async (t) => {
  const here = place(t);
  let daemon = await here.start();
  execFileSync('curl', [
    '-sf',
    '--unix-socket',
    here.socket,
    '-T',
    here.imageTar(),
    '-X',
    'POST',
    'http://x/images/create?fromSrc=-&repo=bb&tag=1',
  ]);
  const create = { Image: 'bb:1', Cmd: ['sh', '-c', 'while :; do date; sleep 0.1; done'], HostConfig: { NetworkMode: 'none' } };
  const { Id: id } = JSON.parse((await call(here.socket, 'POST', '/containers/create?name=clock', create)).text) as { Id: string };
  assert.equal((await call(here.socket, 'POST', '/containers/clock/start')).status, 204);
  const state = async () =>
    JSON.parse((await call(here.socket, 'GET', '/containers/clock/json')).text).State as { Pid: number; Status: string };
  const before = await state();
  await daemon.stop();
  assert.ok(readFileSync(`/proc/${before.Pid}/cmdline`, 'latin1').length > 0);
  daemon = await here.start();
  assert.deepEqual(await state(), before);
  await daemon.kill();
  await here.start();
  assert.deepEqual(await state(), before);
  const logs = await call(here.socket, 'GET', '/containers/clock/logs?stdout=1&tail=2');
  assert.equal(logs.text.match(/\n/g)?.length, 2);
  assert.equal((await call(here.socket, 'POST', `/containers/${id}/stop?t=0`)).status, 204);
  assert.equal((await state()).Status, 'exited');
});

test('a daemon that stops with nothing running leaves the host as it found it', options, async (t) => {
  const here = place(t);
  const daemon = await here.start();
  await importImage(here);
  await call(here.socket, 'POST', '/containers/create?name=once', { Image: 'bb:1', Cmd: ['true'] });
  assert.equal((await call(here.socket, 'POST', '/containers/once/start')).status, 204);
  await call(here.socket, 'POST', '/containers/once/wait');
  const traces = () =>
    execFileSync('sh', [
      '-c',
      `ip -o link; iptables-save 2>/dev/null; ls -d /sys/fs/cgroup/slipway-* /sys/fs/cgroup/*/slipway-* 2>/dev/null; true`,
    ]).toString();
  assert.ok(traces().includes(here.rootId));
  assert.equal(await daemon.stop(), 0);
  assert.equal(traces().includes(here.rootId), false);
});

test('metrics, disk usage and the host report are answered', options, async (t) => {
  const here = place(t);
  await here.start();
  assert.match((await call(here.socket, 'GET', '/metrics')).text, /^slipway_containers\{state="running"\} 0$/m);
  assert.ok(JSON.parse((await call(here.socket, 'GET', '/slipway/df')).text).totalBytes > 0);
  assert.equal(JSON.parse((await call(here.socket, 'GET', '/slipway/host')).text).root, here.root);
});
