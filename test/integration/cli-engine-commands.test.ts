import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { FakeDaemon, finished } from './cli-fake-daemon.ts';

const id = 'ef'.repeat(32);

function reading(name: string, containerId: string, cpu: { now: number; before: number }) {
  const cpuStats = (used: number, host: number) => ({ cpu_usage: { total_usage: used }, system_cpu_usage: host, online_cpus: 2 });
  return {
    name: `/${name}`,
    id: containerId,
    cpu_stats: cpuStats(cpu.now, 2_000),
    precpu_stats: cpuStats(cpu.before, 1_000),
    memory_stats: { usage: 3 * 1024 ** 2, limit: 8 * 1024 ** 2, stats: { total_inactive_file: 1024 ** 2 } },
    networks: { eth0: { rx_bytes: 1_000, tx_bytes: 2_000 }, eth1: { rx_bytes: 500, tx_bytes: 0 } },
    blkio_stats: {
      io_service_bytes_recursive: [
        { major: 8, minor: 0, op: 'Read', value: 4_000 },
        { major: 8, minor: 0, op: 'write', value: 1_000_000 },
      ],
    },
    pids_stats: { current: 7 },
  };
}

test('stats --no-stream shows Docker’s table, from one reading of each container', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('GET /containers/json', 200, [{ Id: id }]);
  daemon.onJson(`GET /containers/${id}/stats`, 200, reading('web', id, { now: 300, before: 50 }));
  const shown = await daemon.run(['stats', '--no-stream']);
  assert.equal(
    shown.stdout,
    [
      'CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O   PIDS',
      'efefefefefef   web       50.00%    2MiB / 8MiB         25.00%    1.5kB / 2kB   4kB / 1MB   7',
      '',
    ].join('\n'),
  );
  assert.equal(daemon.requests[1]?.query.get('stream'), '0');
  const json = JSON.parse((await daemon.run(['container', 'stats', '--no-stream', '--no-trunc', '--format', 'json', id])).stdout) as object;
  assert.deepEqual(json, {
    Container: id,
    Name: 'web',
    ID: id,
    CPUPerc: '50.00%',
    MemUsage: '2MiB / 8MiB',
    MemPerc: '25.00%',
    NetIO: '1.5kB / 2kB',
    BlockIO: '4kB / 1MB',
    PIDs: '7',
  });
  const missing = await daemon.run(['stats', '--no-stream', 'gone']);
  assert.equal(missing.status, 1);
});

test('stats follows readings, and containers that come and go', { timeout: 20_000 }, async () => {
  await using daemon = await FakeDaemon.start();
  const second = 'ab'.repeat(32);
  daemon.onJson('GET /containers/json', 200, [{ Id: id }]);
  daemon.on(`GET /containers/${id}/stats`, (_request, response) => {
    response.write(`${JSON.stringify(reading('web', id, { now: 300, before: 50 }))}\n`);
    response.write(`${JSON.stringify(reading('web', id, { now: 550, before: 50 }))}\n`);
  });
  daemon.on(`GET /containers/${second}/stats`, (_request, response) => {
    response.write(`${JSON.stringify(reading('late', second, { now: 50, before: 50 }))}\n`);
  });
  daemon.on('GET /events', (_request, response) => {
    const event = (Action: string, ID: string) => `${JSON.stringify({ Type: 'container', Action, Actor: { ID, Attributes: {} } })}\n`;
    response.writeHead(200);
    response.flushHeaders();
    // One starts when the first is shown, which ends when both are; then the daemon ends, as one that shuts down.
    const stages: [RegExp, () => void][] = [
      [/web 100\.00%\n/, () => response.write(event('start', second))],
      [/late 0\.00%\n/, () => response.write(event('die', id))],
      [/late 0\.00%\nlate 0\.00%\n/, () => response.end()],
    ];
    let shown = '';
    const look = () => {
      while (stages[0]?.[0].test(shown)) stages.shift()?.[1]();
    };
    child.stdout?.on('data', (piece: Buffer) => {
      shown += piece.toString();
      look();
    });
  });
  const child = daemon.spawn(['stats', '--format', '{{.Name}} {{.CPUPerc}}']);
  const result = await finished(child);
  assert.equal(result.status, 0, result.stderr);
  const lines = result.stdout.trim().split('\n');
  assert.equal(lines[0], 'web 100.00%');
  assert.ok(lines.includes('late 0.00%'));
  assert.equal(lines.at(-1), 'late 0.00%');
  assert.ok(!result.stdout.includes('\u001b'), 'nothing of a terminal in a pipe');
});

test('stats of named containers ends when they have gone', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.on('GET /containers/web/stats', (_request, response) =>
    response.end(`${JSON.stringify(reading('web', id, { now: 1, before: 1 }))}\n`),
  );
  assert.equal((await daemon.run(['stats', 'web'])).status, 0);
  assert.equal((await daemon.run(['stats', 'gone'])).status, 1);
});

test('update prints names, warns, and refuses to change nothing', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /containers/web/update', 200, { Warnings: ['no swap here'] });
  const done = await daemon.run(['update', '-m', '64m', 'web']);
  assert.deepEqual([done.status, done.stdout, done.stderr], [0, 'web\n', 'WARNING: no swap here\n']);
  assert.deepEqual(JSON.parse(daemon.requests[0]?.body.toString() ?? ''), { Memory: 64 * 1024 ** 2 });
  const nothing = await daemon.run(['update', 'web']);
  assert.deepEqual([nothing.status, nothing.stderr.split('\n')[0]], [125, 'Error: there is nothing to change: give one flag or more']);
});

test('events keep their nanoseconds; templates know Docker’s names', async () => {
  await using daemon = await FakeDaemon.start();
  const line =
    '{"status":"die","id":"abc","Type":"container","Action":"die","Actor":{"ID":"abc","Attributes":{"name":"web","exitCode":"3"}},' +
    '"scope":"local","time":1700000000,"timeNano":1700000000123456789}';
  daemon.on('GET /events', (_request, response) => response.end(`${line}\n`));
  const plain = await daemon.run(['events', '--until', '0s'], { env: { TZ: 'Europe/Paris' } });
  assert.equal(plain.stdout, '2023-11-14T23:13:20.123456789+01:00 container die abc (exitCode=3, name=web)\n');
  assert.equal((await daemon.run(['events', '--format', 'json'])).stdout, `${line}\n`);
  const template = '{{.TimeNano}} {{.ID}} {{.Status}} {{.Actor.Attributes.name}} {{.Scope}}';
  assert.equal((await daemon.run(['events', '--format', template])).stdout, '1700000000123456789 abc die web local\n');
});

test('system df sums up, and shows what could go', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('GET /system/df', 200, {
    LayersSize: 100_000,
    Images: [
      { Id: `sha256:${id}`, RepoTags: ['web:2'], RepoDigests: [], Created: 1, Size: 60_000, SharedSize: 20_000, Containers: 1 },
      { Id: `sha256:${id}`, RepoTags: [], RepoDigests: [], Created: 1, Size: 60_000, SharedSize: 20_000, Containers: 0 },
    ],
    Containers: [
      { Id: id, Names: ['/a'], Image: 'web:2', Command: 'x', Created: 1, State: 'running', Status: 'Up', SizeRw: 3_000, Mounts: [] },
      { Id: id, Names: ['/b'], Image: 'web:2', Command: 'x', Created: 1, State: 'exited', Status: 'Exited', SizeRw: 1_000, Mounts: [] },
    ],
    Volumes: [
      { Name: 'used', UsageData: { Size: 10, RefCount: 1 } },
      { Name: 'free', UsageData: { Size: 30, RefCount: 0 } },
    ],
    BuildCache: null,
  });
  const summary = await daemon.run(['system', 'df']);
  assert.deepEqual(
    summary.stdout.split('\n').map((line) => line.split(/ {2,}/)),
    [
      ['TYPE', 'TOTAL', 'ACTIVE', 'SIZE', 'RECLAIMABLE'],
      ['Images', '2', '1', '100kB', '60kB (60%)'],
      ['Containers', '2', '1', '4kB', '1kB (25%)'],
      ['Local Volumes', '2', '1', '40B', '30B (75%)'],
      ['Build Cache', '0', '0', '0B', '0B'],
      [''],
    ],
  );
  const each = (await daemon.run(['system', 'df', '-v'])).stdout;
  assert.match(each, /REPOSITORY +TAG +IMAGE ID .*\nweb +2 +efefefefefef .* 60kB +20kB +40kB +1\n<none> +<none> /);
  assert.match(each, /VOLUME NAME +LINKS +SIZE\nused +1 +10B\nfree +0 +30B\n/);
  const json = JSON.parse((await daemon.run(['system', 'df', '-v', '--format', 'json'])).stdout) as { Volumes: { Name: string }[] };
  assert.deepEqual(
    json.Volumes.map(({ Name: name }) => name),
    ['used', 'free'],
  );
});

test('system prune goes through everything in turn, after one question', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /containers/prune', 200, { ContainersDeleted: [id], SpaceReclaimed: 1_000 });
  daemon.onJson('POST /networks/prune', 200, { NetworksDeleted: ['app'] });
  daemon.onJson('POST /volumes/prune', 200, { VolumesDeleted: ['v'], SpaceReclaimed: 500 });
  daemon.onJson('POST /images/prune', 200, { ImagesDeleted: [{ Untagged: 'a:1' }, { Deleted: 'sha256:1' }], SpaceReclaimed: 500 });
  daemon.onJson('POST /build/prune', 501, { message: 'not here' });
  const no = await daemon.run(['system', 'prune', '--volumes'], { stdin: 'n\n' });
  assert.equal(no.status, 1);
  assert.match(no.stderr, /- all stopped containers\n.*- all networks.*\n.*- all anonymous volumes.*\n.*- all images without a name/);
  assert.equal(daemon.requests.length, 0);
  const yes = await daemon.run(['system', 'prune', '-f', '-a', '--volumes', '--filter', 'label=x']);
  assert.equal(yes.status, 0, yes.stderr);
  assert.equal(
    yes.stdout,
    `Deleted Containers:\n${id}\n\nDeleted Networks:\napp\n\nDeleted Volumes:\nv\n\nDeleted Images:\nUntagged: a:1\nDeleted: sha256:1\n\n` +
      'Total reclaimed space: 2kB\n',
  );
  const filters = daemon.requests.map(({ path, query }) => [path, JSON.parse(query.get('filters') ?? '{}') as unknown]);
  assert.deepEqual(filters, [
    ['/containers/prune', { label: ['x'] }],
    ['/networks/prune', { label: ['x'] }],
    ['/volumes/prune', { label: ['x'] }],
    ['/images/prune', { label: ['x'], dangling: ['false'] }],
    ['/build/prune', { label: ['x'] }],
  ]);
  const without = await daemon.run(['system', 'prune', '-f']);
  assert.equal(without.status, 0);
  assert.ok(!daemon.requests.slice(5).some(({ path }) => path === '/volumes/prune'), 'volumes only when asked for');
  assert.equal((await daemon.run(['system', 'prune', '-f', '--volumes', '--filter', 'until=1h'])).status, 125);
});

test('network create puts ranges and gateways with their subnets, and refuses those without', async () => {
  await using daemon = await FakeDaemon.start();
  for (const [flags, message] of [
    [['--gateway', '10.5.0.1'], /no --subnet holds 10\.5\.0\.1 \(--gateway\)/],
    [['--subnet', '10.5.0.0/24', '--gateway', '10.6.0.1'], /no --subnet holds 10\.6\.0\.1/],
    [['--subnet', '10.5.0.0/24', '--gateway', '10.5.0.1', '--gateway', '10.5.0.2'], /for the same subnet/],
    [['--subnet', '10.5.0.0/24', '--subnet', '10.5.0.0/16'], /overlap/],
    [['--subnet', '10.5.0.0'], /--subnet: expected a range/],
    [['--subnet', '10.5.0.0/24', '--ip-range', '10.5.0.7'], /--ip-range: expected a range/],
    [['--subnet', '10.5.0.0/24', '--aux-address', '10.5.0.7'], /--aux-address: expected name=address/],
    [['--subnet', '10.5.0.0/24', '--aux-address', 'x=printer'], /no IP address/],
  ] as const) {
    const refused = await daemon.run(['network', 'create', ...flags, 'app']);
    assert.equal(refused.status, 125, flags.join(' '));
    assert.match(refused.stderr, message);
  }
  assert.equal(daemon.requests.length, 0);
});

type Auth = { auths?: Record<string, { auth?: string; identitytoken?: string }>; other?: number };

test('login keeps credentials in config.json as docker does; logout forgets them', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /auth', 200, { Status: 'Login Succeeded', IdentityToken: '' });
  const home = join(daemon.folder, 'home');
  const file = join(home, 'config.json');
  const env = { DOCKER_CONFIG: home };
  const done = await daemon.run(['login', '-u', 'me', '--password-stdin', 'reg.example.com'], { stdin: 'se cret\r\n', env });
  assert.deepEqual([done.status, done.stdout], [0, 'Login Succeeded\n']);
  assert.match(done.stderr, /unencrypted in .*config\.json/);
  const body = JSON.parse(daemon.requests[0]?.body.toString() ?? '') as Record<string, string>;
  assert.deepEqual([body.username, body.password, body.serveraddress], ['me', 'se cret', 'reg.example.com']);
  const kept = () => JSON.parse(readFileSync(file, 'utf8')) as Auth;
  assert.deepEqual(kept(), { auths: { 'reg.example.com': { auth: Buffer.from('me:se cret').toString('base64') } } });
  assert.equal(statSync(file).mode & 0o777, 0o600);
  // Again, with what is kept; what others wrote stays.
  writeFileSync(file, JSON.stringify({ ...kept(), other: 1 }));
  assert.equal((await daemon.run(['login', 'reg.example.com'], { env })).status, 0);
  assert.equal((JSON.parse(daemon.requests[1]?.body.toString() ?? '') as { password: string }).password, 'se cret');
  assert.equal(kept().other, 1);
  const out = await daemon.run(['--config', home, 'logout', 'https://reg.example.com/v1/']);
  assert.equal(out.stdout, 'Removing login credentials for reg.example.com\n');
  assert.deepEqual(kept(), { auths: {}, other: 1 });
  assert.equal((await daemon.run(['logout', 'reg.example.com'], { env })).stdout, 'Not logged in to reg.example.com\n');
});

test('a refused login keeps nothing; a token takes the place of the password; a link to the file stays one', async () => {
  await using daemon = await FakeDaemon.start();
  const home = join(daemon.folder, 'home');
  const env = { DOCKER_CONFIG: home };
  const login = (server: string) => daemon.run(['login', '-u', 'me', '--password-stdin', server], { stdin: 'pw', env });
  daemon.onJson('POST /auth', 401, { message: 'unauthorized: incorrect username or password' });
  const refused = await login('reg.example.com');
  assert.deepEqual([refused.status, refused.stderr], [1, 'Error: unauthorized: incorrect username or password\n']);
  assert.equal(existsSync(home), false);
  mkdirSync(home);
  writeFileSync(join(daemon.folder, 'real.json'), '{}', { mode: 0o640 });
  symlinkSync('../real.json', join(home, 'config.json'));
  daemon.onJson('POST /auth', 200, { Status: 'Login Succeeded', IdentityToken: 'tok' });
  assert.equal((await login('reg.example.com')).status, 0);
  const real = join(daemon.folder, 'real.json');
  const { auths } = JSON.parse(readFileSync(real, 'utf8')) as Auth;
  assert.equal(auths?.['reg.example.com']?.identitytoken, 'tok');
  assert.doesNotMatch(Buffer.from(auths?.['reg.example.com']?.auth ?? '', 'base64').toString(), /pw/);
  assert.equal(statSync(real).mode & 0o777, 0o640);
  writeFileSync(real, 'not json');
  const damaged = await login('reg.example.com');
  assert.match(damaged.stderr, /config\.json is not a JSON object/);
  assert.equal(readFileSync(real, 'utf8'), 'not json');
});

/** Keeps what it is given in a folder of files, as docker-credential-pass does in its own way. */
const helper = `#!/bin/sh
input=$(cat)
case $1 in
  store) printf %s "$input" > "$STORE/kept" ;;
  get) [ -f "$STORE/kept" ] && cat "$STORE/kept" || { echo 'credentials not found in native keychain'; exit 1; } ;;
  erase) [ "$input" = "$(sed -n 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/p' "$STORE/kept")" ] && rm "$STORE/kept" ;;
esac
`;

test('a credential helper keeps the password, and config.json only says that there is one', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /auth', 200, { Status: 'Login Succeeded', IdentityToken: '' });
  const home = join(daemon.folder, 'home');
  mkdirSync(home);
  writeFileSync(join(home, 'config.json'), '{"credHelpers":{"reg.example.com":"fake"}}');
  writeFileSync(join(home, 'docker-credential-fake'), helper);
  chmodSync(join(home, 'docker-credential-fake'), 0o755);
  const env = { DOCKER_CONFIG: home, STORE: home, PATH: `${home}${delimiter}${process.env.PATH}` };
  const done = await daemon.run(['login', '-u', 'me', '--password-stdin', 'reg.example.com'], { stdin: 'pw', env });
  assert.deepEqual([done.status, done.stderr], [0, '']);
  assert.deepEqual(JSON.parse(readFileSync(join(home, 'kept'), 'utf8')), { ServerURL: 'reg.example.com', Username: 'me', Secret: 'pw' });
  assert.deepEqual((JSON.parse(readFileSync(join(home, 'config.json'), 'utf8')) as Auth).auths, { 'reg.example.com': {} });
  assert.equal((await daemon.run(['login', 'reg.example.com'], { env })).status, 0);
  assert.equal((JSON.parse(daemon.requests[1]?.body.toString() ?? '') as { password: string }).password, 'pw');
  assert.equal((await daemon.run(['logout', 'reg.example.com'], { env })).status, 0);
  assert.equal(existsSync(join(home, 'kept')), false);
  const missing = await daemon.run(['login', 'reg.example.com'], { env: { ...env, PATH: '/usr/bin:/bin' } });
  assert.match(missing.stderr, /docker-credential-fake is not in PATH/);
});

test('login without a terminal says what to give', async () => {
  await using daemon = await FakeDaemon.start();
  const env = { DOCKER_CONFIG: join(daemon.folder, 'none') };
  const nobody = await daemon.run(['login', 'reg.example.com'], { env });
  assert.match(nobody.stderr, /standard input is no terminal\nUse --username and --password-stdin/);
  for (const argv of [['--password-stdin'], ['-u', '', '-p', 'x'], ['-u', 'me', '-p', ''], ['-u', 'me', '-p', 'x', '--password-stdin']]) {
    assert.equal((await daemon.run(['login', ...argv, 'reg.example.com'], { env })).status, 125, argv.join(' '));
  }
  assert.equal(daemon.requests.length, 0);
});

test('login on a terminal asks, and does not show the password', { timeout: 20_000 }, async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /auth', 200, { Status: 'Login Succeeded', IdentityToken: '' });
  const child = daemon.spawnOnTerminal(['--config', join(daemon.folder, 'home'), 'login', 'reg.example.com']);
  let shown = '';
  let typed = 0;
  child.stdout?.on('data', (piece: Buffer) => {
    shown += piece.toString();
    if (typed === 0 && shown.includes('Username: ')) {
      typed = 1;
      child.stdin?.write('me\n');
    } else if (typed === 1 && shown.includes('Password: ')) {
      typed = 2;
      child.stdin?.write('se cret\n');
    }
  });
  const result = await finished(child);
  assert.equal(result.status, 0, shown);
  const body = JSON.parse(daemon.requests[0]?.body.toString() ?? '') as Record<string, string>;
  assert.deepEqual([body.username, body.password], ['me', 'se cret']);
  assert.doesNotMatch(shown, /se cret/);
});
