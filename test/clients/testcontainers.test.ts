import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { StartedTestContainer } from 'testcontainers';
import { call, cannotRunDaemon } from '../integration/api-daemon-harness.ts';
import { Cli, Engine, newDocker, until } from './support.ts';

/** Testcontainers for Node, as a project's own tests use it: DOCKER_HOST is all that changes. */
describe('Testcontainers', { skip: cannotRunDaemon, timeout: 300_000 }, async () => {
  const engine = new Engine();
  process.env.DOCKER_HOST = `unix://${engine.socket}`;
  process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
  // Read when the module is loaded.
  const { GenericContainer, Network, Wait, getContainerRuntimeClient } = await import('testcontainers');

  before(() => engine.start());
  after(() => engine.remove());

  const web = () => new GenericContainer('bb:1').withCommand(['httpd', '-f', '-v', '-h', '/www']).withExposedPorts(80);
  const url = (container: StartedTestContainer) => `http://${container.getHost()}:${container.getMappedPort(80)}/`;

  test('a container with a port is started, reached, and gone after stop', async () => {
    const container = await web().start();
    assert.equal(await (await fetch(url(container))).text(), 'hello from the web\n');
    const id = container.getId();
    await container.stop();
    assert.equal((await call(engine.socket, 'GET', `/containers/${id}/json`)).status, 404);
  });

  test('it waits for a log line, for health, for HTTP and for a command', async () => {
    const speaker = new GenericContainer('bb:1').withCommand([
      'sh',
      '-c',
      'sleep 0.3; echo ready to serve; sleep 0.1; echo ready again; exec sleep 1000',
    ]);
    await using logged = await speaker.withWaitStrategy(Wait.forLogMessage(/ready/, 2)).start();
    assert.ok(logged.getId());
    const check = {
      test: ['CMD-SHELL', 'wget -qO- http://127.0.0.1/'] as ['CMD-SHELL', string],
      interval: 200,
      timeout: 5_000,
      retries: 20,
      startPeriod: 100,
    };
    await using healthy = await web().withHealthCheck(check).withWaitStrategy(Wait.forHealthCheck()).start();
    const { text } = await call(engine.socket, 'GET', `/containers/${healthy.getId()}/json`);
    assert.equal((JSON.parse(text) as { State: { Health: { Status: string } } }).State.Health.Status, 'healthy');
    await using served = await web().withWaitStrategy(Wait.forHttp('/', 80).forStatusCode(200)).start();
    assert.ok(served.getMappedPort(80) > 0);
    await using commanded = await web()
      .withWaitStrategy(Wait.forAll([Wait.forListeningPorts(), Wait.forSuccessfulCommand('test -d /www')]))
      .start();
    assert.ok(commanded.getId());
    await using oneShot = await new GenericContainer('bb:1').withCommand(['true']).withWaitStrategy(Wait.forOneShotStartup()).start();
    assert.ok(oneShot.getId());
  });

  test('a container that never gets ready fails its start with the reason, and is removed', async () => {
    const never = new GenericContainer('bb:1')
      .withCommand(['sh', '-c', 'echo about to fail; exit 3'])
      .withWaitStrategy(Wait.forOneShotStartup());
    await assert.rejects(never.start(), /3/);
    const silent = new GenericContainer('bb:1')
      .withCommand(['sleep', '1000'])
      .withStartupTimeout(500)
      .withWaitStrategy(Wait.forLogMessage('never said'));
    await assert.rejects(silent.start(), /never said|timeout|not received/i);
    const { text } = await call(engine.socket, 'GET', '/containers/json?all=1');
    assert.deepEqual(JSON.parse(text), []);
  });

  test('exec, copies in and out, logs, and what the container was made with', async () => {
    await using container = await web()
      .withEnvironment({ COLOUR: 'green' })
      .withWorkingDir('/var')
      .withUser('root')
      .withLabels({ made: 'here' })
      .withTmpFs({ '/scratch': 'rw,size=1m' })
      .withResourcesQuota({ memory: 0.25, cpu: 0.5 })
      .withCopyContentToContainer([{ content: 'copied content', target: '/conf/content' }])
      .withCopyFilesToContainer([{ source: import.meta.filename, target: '/conf/this.ts', mode: 0o640 }])
      .start();
    const done = await container.exec(['sh', '-c', 'echo $COLOUR $PWD; cat /conf/content; stat -c %a /conf/this.ts; echo err >&2; exit 4']);
    assert.deepEqual(
      { exitCode: done.exitCode, stdout: done.stdout, stderr: done.stderr },
      { exitCode: 4, stdout: 'green /var\ncopied content640\n', stderr: 'err\n' },
    );
    assert.equal((await container.exec(['id', '-u'], { user: 'app' })).output, '1234\n');
    await container.copyContentToContainer([{ content: 'later', target: '/tmp/later' }]);
    const archive = await container.copyArchiveFromContainer('/tmp/later');
    assert.match(Buffer.concat(await Array.fromAsync(archive as AsyncIterable<Buffer>)).toString('latin1'), /later/);
    await fetch(url(container));
    const logs = await container.logs();
    const line = await new Promise((resolve) => logs.on('data', resolve));
    assert.match(String(line), /response:200/);
    logs.destroy();
  });

  test('containers of one network reach each other by alias', async () => {
    await using network = await new Network().start();
    await using server = await web().withNetwork(network).withNetworkAliases('website').start();
    await using visitor = await new GenericContainer('bb:1').withCommand(['sleep', '1000']).withNetwork(network).start();
    assert.equal((await visitor.exec(['wget', '-qO-', 'http://website/'])).stdout, 'hello from the web\n');
    assert.match(server.getIpAddress(network.getName()), /^\d+\.\d+\.\d+\.\d+$/);
  });

  test('restart, commit, build and reuse', async () => {
    const built = await GenericContainer.fromDockerfile(`${import.meta.dirname}/testcontainers-context`)
      .withBuildArgs({ WHAT: 'built' })
      .build('tc-built:1', { deleteOnExit: false });
    await using container = await built.withExposedPorts(80).start();
    assert.equal(await (await fetch(url(container))).text(), 'built page\n');
    await container.restart();
    assert.equal(await (await fetch(url(container))).text(), 'built page\n');
    const image = await container.commit({ repo: 'tc-kept', tag: '1', deleteOnExit: false });
    assert.match(image, /^sha256:[0-9a-f]{64}$|tc-kept:1/);
    const reusable = () => new GenericContainer('bb:1').withCommand(['sleep', '1000']).withReuse();
    const first = await reusable().start();
    const second = await reusable().start();
    assert.equal(second.getId(), first.getId());
    await first.stop({ remove: true });
  });

  test('stop with a time-out lets the process end by itself', async () => {
    const container = await new GenericContainer('bb:1')
      .withCommand(['sh', '-c', 'trap "echo asked to stop; exit 0" TERM; while :; do sleep 0.05; done'])
      .start();
    const stopped = await container.stop({ timeout: 5_000, remove: false });
    const { text } = await call(engine.socket, 'GET', `/containers/${stopped.getId()}/json`);
    assert.equal((JSON.parse(text) as { State: { ExitCode: number } }).State.ExitCode, 0);
    await call(engine.socket, 'DELETE', `/containers/${stopped.getId()}?v=1`);
  });

  test('the client knows the engine', async () => {
    const client = await getContainerRuntimeClient();
    // In a container itself, it takes the default network's gateway for the host.
    assert.match(client.info.containerRuntime.host, /^(localhost|\d+\.\d+\.\d+\.\d+)$/);
    assert.equal(client.info.containerRuntime.operatingSystemType, 'linux');
  });

  /** The reaper's own image is on a hub, so a small one that does the same stands in for it. */
  test('what a killed test run leaves is removed by its reaper', { skip: newDocker.skip }, async (t) => {
    const docker = new Cli(newDocker, engine);
    t.after(() => docker.remove());
    const context = docker.folder('reaper');
    cpSync(join(import.meta.dirname, 'reaper'), context, { recursive: true });
    copyProgram('/usr/bin/curl', context);
    docker.ok(['build', '-t', 'reaper:1', context]);
    const env = { ...process.env, RYUK_CONTAINER_IMAGE: 'reaper:1', TESTCONTAINERS_RYUK_DISABLED: 'false' };
    const child = spawn(process.execPath, [join(import.meta.dirname, 'abandoned-child.ts')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const left = JSON.parse(line.toString()) as { network: string; container: string };
    const there = async () => [
      (await call(engine.socket, 'GET', `/containers/${left.container}/json`)).status,
      (await call(engine.socket, 'GET', `/networks/${left.network}`)).status,
      (JSON.parse((await call(engine.socket, 'GET', '/containers/json?all=1')).text) as unknown[]).length,
    ];
    assert.deepEqual(await there(), [200, 200, 2]);
    child.kill('SIGKILL');
    await until(async () => ((await there()).join() === '404,404,0' ? true : undefined), 'the reaper');
  });
});

/** Copies a program and the libraries that it is linked to. */
function copyProgram(path: string, root: string): void {
  const libraries = execFileSync('ldd', [path], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
  for (const file of [path, ...libraries]) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
}
