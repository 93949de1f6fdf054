import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadConfig } from './config.ts';
import { keys } from './config-keys.ts';

function fileOf(t: TestContext, content: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-config-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'slipway.toml');
  writeFileSync(path, content);
  return path;
}

test('without anything given there are defaults', () => {
  const config = loadConfig([], {});
  assert.equal(config.root, '/var/lib/slipway');
  assert.equal(config.socket, '/run/slipway/slipway.sock');
  assert.equal(config.dockerSocket, undefined);
  assert.equal(config.logLevel, 'info');
  assert.deepEqual(config.runtimes, {});
});

test('flags win over the environment, and that over the file', (t) => {
  const path = fileOf(t, 'root = "/file/root"\nrun = "/file/run"\nlog-level = "warn"\n[network]\nmtu = 1400\n');
  const config = loadConfig(['--config', path, '--log-level=debug'], {
    SLIPWAY_RUN: '/env/run',
    SLIPWAY_LOG_LEVEL: 'error',
    HOME: '/root',
  });
  assert.equal(config.root, '/file/root');
  assert.equal(config.run, '/env/run');
  assert.equal(config.socket, '/env/run/slipway.sock');
  assert.equal(config.logLevel, 'debug');
  assert.equal(config.network.mtu, 1400);
  assert.equal(loadConfig([], { SLIPWAY_CONFIG: path }).root, '/file/root');
});

test('runtimes and pools come in the form of each source', (t) => {
  const path = fileOf(t, '[runtimes]\nrunsc = "/usr/bin/runsc"\nkata.path = "/opt/kata"\n[network]\npools = ["10.200.0.0/16:24"]\n');
  const config = loadConfig(['--config', path, '--default-runtime', 'runsc'], {});
  assert.deepEqual(config.runtimes, { runsc: { path: '/usr/bin/runsc' }, kata: { path: '/opt/kata' } });
  assert.equal(config.defaultRuntime, 'runsc');
  assert.deepEqual(config.network.pools, [{ base: { family: 4, first: 0x0a_c8_00_00n, prefixLength: 16 }, prefixLength: 24 }]);
  const flags = loadConfig(['--runtime', 'a=/bin/a', '--runtime', 'b=/bin/b', '--network-pools', '10.1.0.0/16:20'], {});
  assert.deepEqual(Object.keys(flags.runtimes), ['a', 'b']);
  assert.equal(flags.network.pools?.[0]?.prefixLength, 20);
});

test('authorization plugins keep their order, and a list that names none is refused', (t) => {
  assert.deepEqual(loadConfig([], {}).authorizationPlugins, []);
  const path = fileOf(t, 'authorization-plugins = ["second", "first", "second"]\n');
  assert.deepEqual(loadConfig(['--config', path], {}).authorizationPlugins, ['second', 'first']);
  assert.deepEqual(loadConfig(['--authorization-plugin', 'a', '--authorization-plugin=b.c'], {}).authorizationPlugins, ['a', 'b.c']);
  for (const bad of [',', '../x', 'a/b', '-a']) {
    assert.throws(() => loadConfig([], { SLIPWAY_AUTHORIZATION_PLUGINS: bad }), { code: 'CONFIG_INVALID' }, bad);
  }
  assert.throws(() => loadConfig(['--config', fileOf(t, 'authorization-plugins = []\n')], {}), { code: 'CONFIG_INVALID' });
});

test('runtimes take arguments; limits, sizes, folders and addresses are read', (t) => {
  const path = fileOf(
    t,
    'tcp = ["127.0.0.1:2376", ":2377", "[::1]:1"]\ndefault-shm-size = "128m"\ndefault-ulimits = ["nofile=5:6", "core=-1"]\n' +
      '[runtimes.runsc]\npath = "/bin/runsc"\nargs = ["--x"]\n[tls]\nca = "/ca"\ncert = "/cert"\nkey = "/key"\n',
  );
  const config = loadConfig(['--config', path, '--cdi-dir', '/a', '--cdi-dir', '/b', '--userns-remap', 'me:us'], {});
  assert.deepEqual(config.runtimes, { runsc: { path: '/bin/runsc', args: ['--x'] } });
  assert.deepEqual(config.tcp, [
    { host: '127.0.0.1', port: 2376 },
    { host: '::', port: 2377 },
    { host: '::1', port: 1 },
  ]);
  assert.deepEqual(config.tls, { ca: '/ca', cert: '/cert', key: '/key' });
  assert.equal(config.defaultShmSize, 128 * 1024 * 1024);
  assert.deepEqual(config.defaultUlimits, [
    { Name: 'nofile', Soft: 5, Hard: 6 },
    { Name: 'core', Soft: -1, Hard: -1 },
  ]);
  assert.deepEqual([config.cdiDirs, config.usernsRemap], [['/a', '/b'], 'me:us']);
});

test('registries have a table for each host; flags add mirrors and what is insecure', (t) => {
  assert.deepEqual(loadConfig([], {}).registries, {});
  const path = fileOf(
    t,
    'insecure-registries = ["a.example", "10.1.0.0/16"]\n[registries."r.example:5000"]\nmirrors = ["m.example", "http://n.example/hub"]\nca = "/ca"\n' +
      'cert = "/cert"\nkey = "/key"\nauth-file = "/auth.json"\nmax-requests = 3\n[registries."docker.io"]\ninsecure = true\n',
  );
  const files = { ca: '/ca', cert: '/cert', key: '/key', authFile: '/auth.json' };
  const none = { ca: undefined, cert: undefined, key: undefined, authFile: undefined, maxRequests: undefined };
  assert.deepEqual(
    loadConfig(['--config', path, '--registry-mirror=https://m.example', '--registry-mirror', 'r.example:5000=o.example'], {}).registries,
    {
      'r.example:5000': { mirrors: ['m.example', 'http://n.example/hub', 'o.example'], insecure: false, ...files, maxRequests: 3 },
      'docker.io': { mirrors: ['https://m.example'], insecure: true, ...none },
      'a.example': { mirrors: [], insecure: true },
      '10.1.0.0/16': { mirrors: [], insecure: true },
    },
  );
  const wrong: [string, string, RegExp][] = [
    ['[registries."r.example"]\nmirors = []\n', 'CONFIG_UNKNOWN_KEY', /registries\."r\.example"\.mirors/],
    ['[registries]\ninsecure = true\n', 'CONFIG_INVALID', /must be a table/],
    ['[registries."http://r.example"]\ninsecure = true\n', 'CONFIG_INVALID', /is not the host of a registry/],
    ['[registries."r.example"]\ninsecure = "yes"\n', 'CONFIG_INVALID', /neither true nor false/],
    ['[registries."r.example"]\ncert = "/x"\n', 'CONFIG_INVALID', /cert and key belong together/],
    ['[registries."r.example"]\nca = "x"\n', 'CONFIG_INVALID', /absolute/],
    ['[registries."r.example"]\nmirrors = ["m.example/?x"]\n', 'CONFIG_INVALID', /is not a mirror/],
    ['[registries."r.example"]\nmax-requests = 0\n', 'CONFIG_INVALID', /from 1 to 100/],
    ['insecure-registries = ["a b"]\n', 'CONFIG_INVALID', /is not the host/],
    ['insecure-registries = ["10.0.0.0/33"]\n', 'CONFIG_INVALID', /is not the host/],
    ['[registries."r.example"]\nauth-file = "x"\n', 'CONFIG_INVALID', /absolute/],
  ];
  for (const [content, code, message] of wrong) {
    assert.throws(() => loadConfig(['--config', fileOf(t, content)], {}), { code, message }, content);
  }
  assert.throws(() => loadConfig(['--registries', 'x'], {}), { code: 'CONFIG_UNKNOWN_KEY' });
});

test('an unknown key is named, with the nearest there is, whatever the source', (t) => {
  const cases: [string[], Record<string, string>, RegExp, RegExp][] = [
    [['--docker-sokcet', '/x'], {}, /--docker-sokcet/, /--docker-socket/],
    [['extra'], {}, /unknown option: extra/, /--help/],
    [[], { SLIPWAY_LOGLEVEL: 'info' }, /SLIPWAY_LOGLEVEL/, /SLIPWAY_LOG_LEVEL/],
    [['--config', fileOf(t, '[network]\nmtv = 1400\n')], {}, /network\.mtv/, /network\.mtu/],
    [['--config', fileOf(t, 'rot = "/x"\n')], {}, /: rot$/, /root/],
    [['--config', fileOf(t, '[runtimes.runsc]\npth = "/x"\n')], {}, /runtimes\.runsc\.pth/, /runtimes\.runsc\.path/],
    [['--config', fileOf(t, '[nonsense]\na = 1\n')], {}, /nonsense/, /--help/],
  ];
  for (const [argv, env, message, hint] of cases) {
    assert.throws(
      () => loadConfig(argv, env),
      (error: Error & { code?: string; hint?: string }) => {
        assert.equal(error.code, 'CONFIG_UNKNOWN_KEY');
        assert.match(error.message, message);
        assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  }
});

test("variables of the command line and of tests are not the daemon's", () => {
  loadConfig([], { SLIPWAY_HOST: 'unix:///x', SLIPWAY_DEBUG: '1', SLIPWAY_LAUNCHER: '/x', SLIPWAY_TEST_ANYTHING: '1' });
});

test('values that cannot be are refused with their key and source', (t) => {
  const cases: [string[], RegExp][] = [
    [['--log-level', 'loud'], /log-level \(--log-level\).*debug, info/],
    [['--network-mtu', '12'], /network\.mtu/],
    [['--network-mtu', '1e3'], /network\.mtu/],
    [['--network-subnet', '10.0.0.1/24'], /network\.subnet.*10\.0\.0\.0\/24/],
    [['--network-pools', '10.0.0.0/16'], /network\.pools/],
    [['--network-pools', '10.0.0.0/16:12'], /network\.pools/],
    [['--root', '/'], /root \(--root\)/],
    [['--root', '/srv', '--run', '/srv/run'], /run/],
    [['--default-runtime', 'runsc'], /runc, crun/],
    [['--runtime', 'runsc'], /runsc=\/path/],
    [['--snapshotter', 'zfs'], /erofs-overlay/],
    [['--group', 'not a group'], /group/],
    [['--tcp', '127.0.0.1:2376'], /mutual TLS only, and tls\.ca and tls\.cert and tls\.key are missing/],
    [['--tcp', ':1', '--tls-ca', '/a', '--tls-cert', '/b'], /tls\.key is missing/],
    [['--tls-ca', '/a'], /belong together/],
    [['--tcp', 'example.com:1', '--tls-ca', '/a', '--tls-cert', '/b', '--tls-key', '/c'], /example\.com:1/],
    [['--tcp', '127.0.0.1:65536'], /ADDRESS:PORT/],
    [['--default-ulimit', 'nofile=6:5'], /default-ulimits.*nofile=6:5/],
    [['--default-ulimit', 'nofiles=6'], /nofiles/],
    [['--default-shm-size', '0'], /default-shm-size/],
    [['--cgroup-driver', 'systemdd'], /auto, cgroupfs, systemd/],
    [['--userns-remap', 'a b'], /userns-remap/],
    [['--network-ipv6-pool', 'fd00::'], /ipv6-pool/],
    [['--seccomp-profile', ''], /not a path/],
    [['--root'], /--root needs a value/],
    [['--config', fileOf(t, 'root = "relative"\n')], /absolute/],
    [['--config', fileOf(t, 'root = 7\n')], /not a path/],
    [['--config', fileOf(t, 'root = "/x\n')], /line 1, column/],
    [['--config', '/nonexistent/slipway.toml'], /no such file/],
  ];
  for (const [argv, message] of cases) assert.throws(() => loadConfig(argv, {}), { kind: 'InvalidArgument', message }, argv.join(' '));
});

test('the example in packaging shows every key, and is valid with each of them in effect', (t) => {
  const example = readFileSync(fileURLToPath(new URL('../../packaging/slipway.toml', import.meta.url)), 'utf8');
  assert.deepEqual(
    loadConfig(['--config', fileOf(t, example)], {}),
    loadConfig(['--config', fileOf(t, '')], {}),
    'as installed it changes nothing',
  );
  const effective = example.replace(/^#(?=[a-z[])/gm, '');
  loadConfig(['--config', fileOf(t, effective)], {});
  for (const { name, inFile } of keys) {
    if (inFile) assert.match(effective, new RegExp(`^(\\[)?${name.split('.').pop()}\\b`, 'm'), name);
  }
});
