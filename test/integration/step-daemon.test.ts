import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { listMounts } from '../../src/kernel/mount.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { until } from '../support/until.ts';
import { cannotRunDaemon, DaemonPlace, type DaemonProcess, upload } from './api-daemon-harness.ts';

const command = join(import.meta.dirname, '../../src/cli/main.ts');

type Run = { child: ChildProcess; output(): string; ended: Promise<number | null> };

function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

describe('steps of a daemon', { skip: cannotRunDaemon, timeout: 300_000 }, () => {
  let here: DaemonPlace;
  let daemon: DaemonProcess;
  let context: string;

  before(async () => {
    here = new DaemonPlace();
    daemon = await here.start();
    const answer = await upload(here.socket, '/images/create?fromSrc=-&repo=bb&tag=1', here.imageTar());
    assert.equal(answer.status, 200, answer.text);
    context = join(here.folder, 'context');
    mkdirSync(context);
  });
  after(() => here?.remove());

  function build(dockerfile: string | { definition: object }, flags: readonly string[], input = ''): Run {
    const isText = typeof dockerfile === 'string';
    const file = join(context, isText ? 'Dockerfile' : 'build.json');
    writeFileSync(file, isText ? dockerfile : JSON.stringify(dockerfile.definition));
    const child = spawn(process.execPath, [command, 'build', '--progress', 'plain', ...flags, '-f', file, context], {
      env: { ...process.env, SLIPWAY_HOST: `unix://${here.socket}` },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data: Buffer) => {
        text += data.toString();
      });
    }
    child.stdin.on('error', () => undefined);
    if (input !== '') child.stdin.end(input);
    return { child, output: () => text, ended: once(child, 'close').then(([code]) => code as number | null) };
  }

  /** A build of one step without a network, as JSON lines. */
  async function post(step: string, query: Record<string, string | number> = {}): Promise<string> {
    const given = { slipway: 1, networkmode: 'none', ...query };
    const file = join(here.folder, 'context.tar');
    const folder = join(here.folder, 'posted');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'Dockerfile'), `FROM bb:1\n${step}\n`);
    execFileSync('tar', ['-C', folder, '-cf', file, '.']);
    return (
      await upload(here.socket, `/build?${new URLSearchParams(Object.entries(given).map(([name, value]) => [name, String(value)]))}`, file)
    ).text;
  }

  const groups = () => new Cgroups().list(`/slipway-${here.rootId}`);
  const netns = () => readdirSync(join(here.run, 'netns'));
  const nothingRuns = () =>
    until(async () => {
      assert.deepEqual(await groups(), []);
      const steps = join(here.run, 'steps');
      assert.deepEqual(existsSync(steps) ? readdirSync(steps) : [], []);
      assert.deepEqual(readdirSync(join(here.root, 'snapshots')), []);
    });

  test('build --debug: the failed step reads what is piped in, and the build fails as it did', async () => {
    const failing = 'FROM bb:1\nRUN --network=none --mount=type=cache,target=/c echo half > /made; echo kept > /c/x; exit 3\n';
    const shell = build(failing, ['--debug'], 'cat /made /c/x; exit 7\n');
    assert.equal(await shell.ended, 3);
    assert.match(shell.output(), /\nhalf\nkept\n/);
    assert.match(shell.output(), /This is the step as it failed/);
    assert.match(shell.output(), /Error: .*ended with exit code 3/);
    const none = build(failing, ['--debug', '--debug-command', 'bash'], '\n');
    assert.equal(await none.ended, 3);
    assert.match(none.output(), /the failed step has no bash/);
    assert.match(none.output(), /--debug-command PROGRAM/);
    await nothingRuns();
  });

  test('a client that goes away takes its shell along', async () => {
    const { child, output, ended } = build('FROM bb:1\nRUN --network=none false\n', ['--debug']);
    child.stdin?.write('echo pid $$; sleep 1000\n');
    await until(async () => assert.match(output(), /pid 1\n/));
    child.kill('SIGKILL');
    await ended;
    await nothingRuns();
  });

  test('limits, hosts and services of a build definition', async () => {
    const web = {
      name: 'web',
      from: 'base',
      args: ['sh', '-c', 'mkdir /www; echo served > /www/index.html; exec busybox httpd -f -p 8080 -h /www'],
      ready: { args: ['sh', '-c', 'busybox wget -q -O /dev/null http://127.0.0.1:8080/'] },
    };
    const args = ['sh', '-c', 'busybox wget -q -O - http://web:8080/; grep extra /etc/hosts'];
    const steps = [
      { id: 'base', kind: 'image', reference: 'bb:1' },
      { id: 'test', kind: 'run', base: 'base', network: 'none', args, services: [web], limits: { memoryBytes: 64 << 20, pids: 50 } },
    ];
    const built = build({ definition: { slipwayBuild: 1, target: 'test', steps } }, ['--add-host', 'extra:10.1.2.3', '--cpus', '1.5']);
    assert.equal(await built.ended, 0, built.output());
    assert.match(built.output(), / served\n.* 10\.1\.2\.3\textra\n/);
    const eats = await post('RUN a=x; while :; do a=$a$a; done', { memory: 32 << 20 });
    assert.match(eats, /"exitCode":137/);
    assert.match(eats, /the kernel killed a process of it at its limit of 32 MiB of memory/);
    assert.match(await post('RUN true', { memory: 1 << 20 }), /cannot be held to 1048576 bytes of memory: the least is/);
    await nothingRuns();
  });

  test('rights, devices and the host’s network need both sides', async () => {
    const insecure = 'RUN --security=insecure true';
    assert.match(await post(insecure), /Dockerfile:2:1: security\.insecure is not allowed/);
    assert.match(
      await post(insecure, { entitlements: 'security.insecure' }),
      /granting entitlement security\.insecure is not allowed by build daemon configuration/,
    );
    assert.match(await post('RUN --network=host true'), /network\.host is not allowed/);
    assert.match(await post('RUN --network=host true', { entitlements: 'network.host' }), /"kind":"result"/);
    const device = (more: string) => post(`RUN --device=vendor.example/none=x${more} echo ran`, { entitlements: 'device' });
    assert.match(await device(',required'), /unresolvable CDI devices vendor\.example\/none=x/);
    assert.match(await device(''), /"kind":"result"/);
  });

  test('after kill -9 the next daemon ends what ran: step, service and network', async () => {
    const server = { name: 'web', from: 'base', args: ['sh', '-c', 'echo serving; sleep 1000'] };
    const steps = [
      { id: 'base', kind: 'image', reference: 'bb:1' },
      { id: 'test', kind: 'run', base: 'base', args: ['sh', '-c', 'echo running; sleep 1000'], services: [server] },
    ];
    const { output, ended } = build({ definition: { slipwayBuild: 1, target: 'test', steps } }, []);
    await until(async () => {
      assert.match(output(), /#\d+ [\d.]+ running\n/);
      assert.match(output(), /\[web\] serving\n/);
    });
    const running = await groups();
    assert.equal(running.length, 2);
    const cgroups = new Cgroups();
    const processes = (await Promise.all(running.map((name) => cgroups.processes(`/slipway-${here.rootId}/${name}`)))).flat();
    assert.ok(processes.length >= 2);
    await daemon.kill();
    await ended;
    daemon = await here.start('--build-entitlement', 'security.insecure');
    await nothingRuns();
    assert.deepEqual(netns(), []);
    // Whoever inherits a zombie reaps it in its own time.
    await until(async () => assert.deepEqual(processes.filter(isAlive), []));
    assert.deepEqual(
      listMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${here.run}/build`)),
      [],
    );
    // With all rights, now that the configuration permits it.
    const all = await post('RUN --security=insecure mount -t tmpfs none /tmp && grep CapEff:.*000001f /proc/self/status', {
      entitlements: 'security.insecure',
    });
    assert.match(all, /"kind":"result"/);
  });
});
