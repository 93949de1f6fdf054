import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { call } from '../integration/api-daemon-harness.ts';
import { Cli, type Client, Engine, until } from './support.ts';

const project = `
services:
  web:
    build: { context: ./web, args: { GREETING: built } }
    image: stack-web:1
    command: httpd -f -p 8080 -h /site
    ports: ["127.0.0.1::8080"]
    env_file: ./web.env
    environment: { FROM_SHELL: "\${FROM_SHELL}", VERSION: "1" }
    healthcheck: { test: [CMD, wget, -qO-, "http://127.0.0.1:8080/"], interval: 200ms, timeout: 10s, retries: 30 }
    depends_on:
      prepare: { condition: service_completed_successfully }
      queue: { condition: service_healthy }
    networks: { front: {}, back: { aliases: [site] } }
    volumes: [ "data:/data", "./conf:/conf:ro", "/scratch" ]
    secrets: [ token, { source: token, target: renamed } ]
    labels: { tier: web }
    stop_grace_period: 1s
    sysctls: { net.core.somaxconn: 200 }
    ulimits: { nofile: 200 }
    mem_limit: 128m
    cap_drop: [ NET_RAW ]
    extra_hosts: [ "upstream:10.9.9.9" ]
  queue:
    image: bb:1
    init: true
    command: sh -c 'echo queue ready; touch /tmp/ready; exec sleep 1000'
    healthcheck: { test: "test -f /tmp/ready", interval: 200ms, timeout: 10s, retries: 30 }
    restart: unless-stopped
    networks: [ back ]
    stop_grace_period: 1s
  worker:
    image: bb:1
    command: sh -c 'while ! wget -qO- http://site:8080/ 2>/dev/null; do sleep 0.1; done; exec sleep 1000'
    depends_on: { web: { condition: service_healthy } }
    networks: [ back ]
    stop_grace_period: 0s
  prepare:
    image: bb:1
    command: sh -c 'echo prepared > /data/prepared; echo one shot done'
    volumes: [ "data:/data" ]
    network_mode: none
  debug:
    image: bb:1
    command: sleep 1000
    profiles: [ debugging ]
    networks: [ back ]
    stop_grace_period: 0s
networks:
  front: {}
  back: { internal: true, labels: { kind: back } }
volumes:
  data: { labels: { kept: "yes" } }
secrets:
  token: { file: ./token.txt }
`;

/** Only compose 2 mounts the files of configs. */
const withConfigs = `
services:
  web:
    configs: [ settings ]
configs:
  settings: { file: ./settings.ini }
`;

const files = {
  'compose.yaml': project,
  'configs.yaml': withConfigs,
  'web.env': 'FROM_FILE=a value\n',
  'web/Dockerfile': 'FROM bb:1\nARG GREETING\nRUN mkdir /site && echo $GREETING page > /site/index.html\nUSER app\n',
  'conf/app.conf': 'configured\n',
  'token.txt': 'very secret\n',
  'settings.ini': 'set = yes\n',
};

type Row = { Names: string[]; Labels: Record<string, string>; State: string; Id: string };

/** What a project of several services does under one version of compose. */
export function composeSuite(client: Client, version: 1 | 2): void {
  describe(client.name, { skip: client.skip, timeout: 300_000 }, () => {
    const engine = new Engine();
    const cli = new Cli(client, engine);
    const folder = cli.folder('stack', files);
    const use = version === 2 ? ['-f', 'compose.yaml', '-f', 'configs.yaml'] : ['-f', 'compose.yaml'];
    const options = { cwd: folder, env: { FROM_SHELL: 'seen', COMPOSE_PROJECT_NAME: 'stack', COMPOSE_DOCKER_CLI_BUILD: '0' } };
    const compose = (...args: string[]) => cli.ok([...use, ...args], options);
    const separator = version === 2 ? '-' : '_';
    const name = (service: string, index = 1) => ['stack', service, index].join(separator);

    async function containers(service?: string): Promise<Row[]> {
      const labels = ['com.docker.compose.project=stack', ...(service === undefined ? [] : [`com.docker.compose.service=${service}`])];
      const filters = encodeURIComponent(JSON.stringify({ label: labels }));
      const { text } = await call(engine.socket, 'GET', `/containers/json?all=1&filters=${filters}`);
      return JSON.parse(text) as Row[];
    }
    async function inspect(container: string) {
      const { text } = await call(engine.socket, 'GET', `/containers/${container}/json`);
      return JSON.parse(text) as {
        Id: string;
        State: { Status: string; ExitCode: number; Health?: { Status: string } };
        Config: { Env: string[] };
      };
    }
    const page = async () => (await fetch(`http://${compose('port', 'web', '8080')}/`)).text();

    before(() => engine.start());
    after(async () => {
      await cli.sweep();
      cli.remove();
      await engine.remove();
    });

    test('the file is valid', () => {
      assert.match(compose('config', '--services'), /^web$/m);
    });

    test('up -d builds, then starts each service when what it depends on is ready', async () => {
      compose('up', '-d');
      const states = Object.fromEntries((await containers()).map(({ Names, State }) => [Names[0], State]));
      const expected = { web: 'running', queue: 'running', worker: 'running', prepare: 'exited' };
      assert.deepEqual(states, Object.fromEntries(Object.entries(expected).map(([service, state]) => [`/${name(service)}`, state])));
      assert.equal((await inspect(name('web'))).State.Health?.Status, 'healthy');
      assert.equal((await inspect(name('prepare'))).State.ExitCode, 0);
      assert.equal(await page(), 'built page\n');
    });

    test('ps and images list the services', async () => {
      assert.match(compose('ps'), new RegExp(`${name('web')}[\\s\\S]*(Up|running).*\\(healthy\\).*127\\.0\\.0\\.1:\\d+->8080/tcp`));
      assert.match(compose('images'), /stack-web +1 /);
      await until(() => /sleep 1000/.test(compose('top', 'queue')) || undefined, 'sleep beside its init');
    });

    test('exec sees variables, volumes, secrets, links of networks, limits', () => {
      const inside = (line: string) => compose('exec', '-T', 'web', 'sh', '-c', line);
      const seen = [
        'echo $FROM_FILE,$FROM_SHELL,$VERSION,$(id -u)',
        'cat /data/prepared /conf/app.conf /run/secrets/token /run/secrets/renamed',
        'grep upstream /etc/hosts | tr "\\t" " "; ulimit -n; cat /proc/sys/net/core/somaxconn',
        'ping -c 1 -W 1 127.0.0.1 2>&1',
        'nslookup queue',
      ];
      assert.match(
        inside(seen.join('; ')),
        /^a value,seen,1,1234\nprepared\nconfigured\nvery secret\nvery secret\n10\.9\.9\.9 upstream\n200\n200\n[\s\S]*(not permitted|denied)[\s\S]*Address/,
      );
      if (version === 2) assert.equal(inside('cat /settings'), 'set = yes');
      cli.fails([...use, 'exec', '-T', 'web', 'sh', '-c', 'exit 9'], 9, /^/, options);
      assert.equal(compose('exec', '-T', '-u', 'root', 'worker', 'wget', '-qO-', 'http://web:8080/'), 'built page');
    });

    test('exec opens a terminal', async () => {
      const terminal = cli.startOnTerminal([...use, '-p', 'stack', 'exec', 'queue', 'sh'], `cd ${folder}; export FROM_SHELL=seen`);
      terminal.type('test -t 1 && echo is-a-$((1+1))-terminal; exit 5\n');
      assert.equal(await terminal.ended, 5, terminal.stdout + terminal.stderr);
      assert.match(terminal.stdout, /is-a-2-terminal/);
    });

    test('logs are those of each service', async () => {
      const logs = compose('logs', '--no-color');
      assert.match(logs, /queue\S* +\| queue ready/);
      assert.match(logs, /prepare\S* +\| one shot done/);
      assert.match(compose('logs', '--no-color', '--tail', '1', 'worker'), /built page$/);
      const followed = cli.start([...use, 'logs', '-f', '--no-color', 'queue'], options);
      await followed.shows(/queue ready/);
      await followed.kill();
    });

    test('run starts one more container of a service and gives its exit status', async () => {
      assert.match(
        cli.run([...use, 'run', '--rm', '-T', '--no-deps', '-e', 'MORE=1', 'web', 'sh', '-c', 'echo $MORE $VERSION'], options).stdout,
        /^1 1\n$/,
      );
      cli.fails([...use, 'run', '--rm', '-T', '--no-deps', 'worker', 'sh', '-c', 'exit 6'], 6, /^/, options);
      assert.equal((await containers()).length, 4);
    });

    test('scale adds and removes containers that share a name', async () => {
      compose('up', '-d', '--no-recreate', '--scale', 'worker=3');
      assert.equal((await containers('worker')).filter(({ State }) => State === 'running').length, 3);
      const found = compose('exec', '-T', 'queue', 'nslookup', 'worker').match(/^Address:? .*\d+\.\d+\.\d+\.\d+$/gm) ?? [];
      assert.equal(new Set(found).size, 3, found.join());
      compose('up', '-d', '--no-recreate', '--scale', 'worker=1');
      assert.equal((await containers('worker')).length, 1);
    });

    test('up again changes nothing; with a changed file it makes the one service anew and keeps its volumes', async () => {
      const ids = async () =>
        Object.fromEntries((await containers()).filter(({ State }) => State === 'running').map(({ Names, Id }) => [Names[0], Id]));
      const first = await ids();
      compose('exec', '-T', '-u', 'root', 'web', 'sh', '-c', 'echo kept > /scratch/f');
      compose('up', '-d');
      assert.deepEqual(await ids(), first);
      writeFileSync(join(folder, 'compose.yaml'), project.replace('VERSION: "1"', 'VERSION: "2"'));
      compose('up', '-d');
      const second = await ids();
      assert.notEqual(second[`/${name('web')}`], first[`/${name('web')}`]);
      assert.equal(second[`/${name('queue')}`], first[`/${name('queue')}`]);
      assert.equal(compose('exec', '-T', 'web', 'sh', '-c', 'echo $VERSION; cat /scratch/f /data/prepared'), '2\nkept\nprepared');
      assert.equal((await inspect(name('web'))).Config.Env.filter((entry) => entry === 'VERSION=2').length, 1);
    });

    test('build makes the image anew, and up takes it', async () => {
      writeFileSync(join(folder, 'web/Dockerfile'), files['web/Dockerfile'].replace('page', 'other page'));
      compose('build', 'web');
      compose('up', '-d');
      await until(async () => (await page().catch(() => '')) === 'built other page\n' || undefined, 'the new page');
    });

    test('stop, start, restart, pause and kill', async () => {
      const state = async (service: string) => (await containers(service))[0]?.State;
      compose('stop', '-t', '1', 'worker');
      assert.equal(await state('worker'), 'exited');
      compose('start', 'worker');
      assert.equal(await state('worker'), 'running');
      compose('pause', 'queue');
      assert.equal(await state('queue'), 'paused');
      compose('unpause', 'queue');
      compose('restart', '-t', '1', 'queue');
      assert.equal(await state('queue'), 'running');
      compose('kill', 'worker');
      assert.equal(await state('worker'), 'exited');
      compose('rm', '-f', 'worker');
      assert.equal((await containers('worker')).length, 0);
    });

    test('profiles start their services when they are asked for', async () => {
      assert.equal((await containers('debug')).length, 0);
      compose('--profile', 'debugging', 'up', '-d', 'debug');
      assert.equal((await containers('debug'))[0]?.State, 'running');
      compose('--profile', 'debugging', 'rm', '-s', '-f', 'debug');
      assert.equal((await containers('debug')).length, 0);
    });

    if (version === 2)
      test('up --wait waits for health; cp, events and ls', async () => {
        compose('up', '-d', '--wait', 'queue');
        assert.equal((await inspect(name('queue'))).State.Health?.Status, 'healthy');
        compose('cp', 'queue:/etc/passwd', join(folder, 'passwd'));
        assert.match(readFileSync(join(folder, 'passwd'), 'utf8'), /^root:/);
        assert.match(compose('ls'), /stack +running\(/);
        const events = cli.start([...use, 'events', '--json'], options);
        await new Promise((resolve) => setTimeout(resolve, 500));
        compose('exec', '-T', 'queue', 'true');
        await events.shows(/"action":"exec_create/);
        await events.kill();
      });

    test('a port in use and a missing image are told', () => {
      const port = compose('port', 'web', '8080');
      cli.folder('broken', { 'compose.yaml': `services:\n  clash:\n    image: bb:1\n    command: sleep 1000\n    ports: ["${port}:1"]\n` });
      const broken = { cwd: join(cli.home, 'broken') };
      cli.fails(['up', '-d'], 1, /(port is already allocated|address already in use)/, broken);
      cli.ok(['down'], broken);
      cli.folder('imageless', { 'compose.yaml': 'services:\n  none:\n    image: 127.0.0.1:9/none:1\n' });
      cli.fails(['up', '-d'], [1, 18], /none/, { cwd: join(cli.home, 'imageless') });
    });

    test('up in the foreground shows the output and ends with the service', () => {
      const yaml = [
        'services:',
        "  main: { image: 'bb:1', command: [sh, -c, 'sleep 1; echo main speaks; exit 7'] }",
        "  side: { image: 'bb:1', command: sleep 1000, stop_grace_period: 0s }",
      ].join('\n');
      const cwd = cli.folder('foreground', { 'compose.yaml': yaml });
      const { stdout } = cli.fails(['up', '--abort-on-container-exit', '--exit-code-from', 'main'], 7, /^/, { cwd });
      assert.match(stdout, /main\S* +\|\S* main speaks/);
      cli.ok(['down'], { cwd });
    });

    test('down -v leaves nothing', async () => {
      compose('down', '-v', '--remove-orphans');
      assert.deepEqual(await containers(), []);
      const named = async (path: string) => (await call(engine.socket, 'GET', path)).text;
      assert.doesNotMatch(await named('/networks'), /stack[_-]/);
      assert.doesNotMatch(await named('/volumes'), /stack[_-]/);
    });
  });
}
