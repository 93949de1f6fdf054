import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { newDocker, oldDocker } from '../clients/support.ts';
import { call, cannotRunDaemon, DaemonPlace, type DaemonProcess } from './api-daemon-harness.ts';
import { Certificates } from './daemon-certificates.ts';

const main = join(import.meta.dirname, '../../src/daemon/main.ts');
const cli = join(import.meta.dirname, '../../src/cli/main.ts');
/** Docker's command lines: the newest here, and Debian 12's. */
const dockers = [newDocker, oldDocker].filter(({ path }) => existsSync(path));

/** Takes what ssh would run on the far side and runs it here; what ssh was asked is kept in a file. */
const ssh = (home: string) => `#!/bin/sh
echo "$*" >> ${home}/asked
while [ "$1" != -- ]; do shift; done
[ "$2" != unreachable ] || { echo 'ssh: connect to host unreachable port 22: No route to host' >&2; exit 255; }
shift 2
PATH=${home}/far:$PATH exec sh -c "$*"
`;

describe('a daemon from afar', { skip: cannotRunDaemon, timeout: 180_000 }, () => {
  const here = new DaemonPlace();
  const near = join(here.folder, 'near');
  const far = join(near, 'far');
  let certificates: Certificates;
  let daemon: DaemonProcess;
  let port = 0;

  type Options = { env?: Record<string, string> | undefined; input?: string | Buffer | undefined };
  function run(program: string, args: readonly string[], { env = {}, input = '' }: Options = {}) {
    const found = spawnSync(program, args, {
      env: { PATH: `${near}${delimiter}${process.env.PATH}`, HOME: here.folder, DOCKER_BUILDKIT: '0', ...env },
      input,
      timeout: 60_000,
      maxBuffer: 64 * 1024 * 1024,
    });
    return { status: found.status, stdout: found.stdout.toString('latin1'), stderr: found.stderr.toString() };
  }
  const slipway = (args: readonly string[], options?: Options) => run(process.execPath, [cli, ...args], options);
  const tls = (client = 'client') => ({
    DOCKER_HOST: `tcp://127.0.0.1:${port}`,
    DOCKER_TLS_VERIFY: '1',
    DOCKER_CERT_PATH: certificates.home(client),
  });

  before(async () => {
    certificates = new Certificates(join(here.folder, 'certificates'));
    mkdirSync(far, { recursive: true });
    const program = (path: string, text: string) => {
      writeFileSync(path, text);
      chmodSync(path, 0o755);
    };
    program(join(near, 'ssh'), ssh(near));
    const command = `#!/bin/sh\nSLIPWAY_HOST=\${SLIPWAY_HOST:-unix://${here.socket}} exec ${process.execPath} ${cli} "$@"\n`;
    // What runs on the far side: slipway by its own name, and as docker's.
    program(join(far, 'slipway'), command);
    program(join(far, 'docker'), command);
    daemon = await here.start('--tcp', '127.0.0.1:0', ...certificates.flags);
    port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(daemon.log)?.[1]);
    const imported = slipway(['-H', `unix://${here.socket}`, 'import', here.imageTar(), 'bb:1']);
    assert.equal(imported.status, 0, imported.stderr);
  });
  after(() => here.remove());

  const bytes = Buffer.alloc(3_000_000, 'abcdefg');
  /** Input, its end, output and the exit status go both ways; build contexts and archives too. */
  function exercise(use: (args: readonly string[], options?: Options) => ReturnType<typeof run>): void {
    const ran = use(['run', '--rm', '-i', '--network', 'none', 'bb:1', 'sh', '-c', 'cat; echo err >&2; exit 3'], { input: bytes });
    assert.deepEqual([ran.status, ran.stdout.length, ran.stderr], [3, bytes.length, 'err\n']);
    const name = use(['run', '-d', '--network', 'none', 'bb:1', 'sleep', '600']).stdout.trim();
    try {
      const counted = use(['exec', '-i', name, 'wc', '-c'], { input: bytes });
      assert.deepEqual([counted.status, counted.stdout.trim()], [0, String(bytes.length)], counted.stderr);
      assert.ok(use(['cp', `${name}:/bin/busybox`, '-']).stdout.length > 100_000);
    } finally {
      use(['rm', '-f', name]);
    }
    writeFileSync(join(here.folder, 'Dockerfile'), 'FROM bb:1\nRUN echo built > /x\n');
    const built = use(['build', '-q', '-f', join(here.folder, 'Dockerfile'), near]);
    assert.equal(built.status, 0, built.stderr);
  }

  for (const { name, path: docker } of dockers) {
    test(`${name} over mutual TLS`, () => exercise((args, options) => run(docker, args, { ...options, env: tls() })));
    test(`${name} over ssh`, () => exercise((args, options) => run(docker, ['-H', 'ssh://me@far:2222', ...args], options)));
  }
  test('slipway over mutual TLS', () => exercise((args, options) => slipway(args, { ...options, env: tls() })));
  test('slipway over ssh', () => exercise((args, options) => slipway(['-H', 'ssh://me@far:2222', ...args], options)));

  test('what ssh is asked to run', () => {
    const asked = readFileSync(join(near, 'asked'), 'utf8').split('\n');
    assert.ok(asked.includes('-o ConnectTimeout=30 -T -l me -p 2222 -- far slipway system dial-stdio'), asked.join('\n'));
    slipway(['-H', `ssh://far${here.socket}`, 'version']);
    assert.match(readFileSync(join(near, 'asked'), 'utf8'), /-- far slipway --host 'unix:\/\/.*slipway\.sock' system dial-stdio\n$/);
  });

  test('a client is told why it is not let in', () => {
    const cannot = (args: readonly string[], env: Record<string, string>, message: RegExp) => {
      const refused = slipway([...args, 'ps'], { env });
      assert.equal(refused.status, 1, refused.stdout);
      assert.match(refused.stderr, message);
    };
    const { DOCKER_HOST, DOCKER_CERT_PATH } = tls();
    cannot([], { DOCKER_HOST }, /closed the connection before it answered.*\nOver TCP it wants TLS/);
    cannot(
      ['--tlscacert', certificates.file('ca.pem')],
      { DOCKER_HOST, DOCKER_CERT_PATH: '/nonexistent' },
      /certificate required.*\n.*showed no certificate/,
    );
    certificates.authority('other');
    cannot([], { ...tls(), DOCKER_CERT_PATH: certificates.home('client', 'other') }, /No secure connection to tcp:.*\nCheck --tlscacert/);
    cannot(
      [],
      { DOCKER_HOST: `tcp://127.0.0.2:${port}`, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH },
      /Cannot connect to the Slipway daemon at tcp:/,
    );
    cannot(
      ['-H', 'ssh://unreachable'],
      {},
      /Cannot connect to the Slipway daemon at ssh:\/\/unreachable: .*\nssh: connect to host unreachable port 22: No route/,
    );
    cannot(
      ['-H', 'ssh://far/nonexistent.sock'],
      {},
      /at ssh:\/\/far\/nonexistent\.sock: ssh ended with status 1\n.*unix:\/\/\/nonexistent\.sock/,
    );
  });

  test('dial-stdio ends when the daemon has said all, though its input stays open', async () => {
    const child = spawn(process.execPath, [cli, '-H', `unix://${here.socket}`, 'system', 'dial-stdio'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const status = new Promise((resolve) => child.once('close', resolve));
    let said = '';
    child.stdout.on('data', (piece: Buffer) => {
      said += piece.toString();
    });
    child.stdin.write('GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    assert.equal(await status, 0);
    assert.match(said, /^HTTP\/1\.1 200 OK[\s\S]*OK$/);
  });

  test('SIGHUP renews certificates and leaves connections and containers alone', async () => {
    const followed = connect(here.socket);
    followed.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => followed.once('data', resolve));
    const before = readFileSync(certificates.file('server.pem'));
    writeFileSync(certificates.file('server.pem'), 'damaged');
    daemon.signal('SIGHUP');
    await until(() => /could not reload; what was in use stays/.test(daemon.log));
    assert.equal(slipway(['version', '-f', '{{.Server.Os}}'], { env: tls() }).stdout, 'linux\n');
    writeFileSync(certificates.file('server.pem'), before);
    daemon.signal('SIGHUP');
    await until(() => /"msg":"reloaded"/.test(daemon.log));
    assert.equal(slipway(['version', '-f', '{{.Server.Os}}'], { env: tls() }).stdout, 'linux\n');
    assert.equal(followed.readyState, 'open');
    followed.destroy();
  });

  test('a second daemon is refused, whatever it shares with the first', async () => {
    const start = async (...flags: string[]) => {
      const { status, stderr } = spawnSync(process.execPath, [main, ...flags], { encoding: 'utf8', timeout: 30_000, env: process.env });
      return { status, stderr };
    };
    const elsewhere = join(here.folder, 'elsewhere');
    const same = await start('--root', here.root, '--run', here.run);
    assert.deepEqual(
      [same.status, new RegExp(`in use by another Slipway daemon \\(pid ${daemon.pid}\\)\nStop that one first`).test(same.stderr)],
      [125, true],
    );
    const root = await start('--root', here.root, '--run', join(elsewhere, 'run'));
    assert.match(root.stderr, new RegExp(`${here.root} is in use by another Slipway daemon`));
    const run_ = await start('--root', join(elsewhere, 'root'), '--run', here.run);
    assert.match(run_.stderr, new RegExp(`${here.run} is in use by another Slipway daemon`));
    const socket = await start('--root', join(elsewhere, 'root'), '--run', join(elsewhere, 'run2'), '--socket', here.socket);
    assert.match(socket.stderr, /another process is listening on .*slipway\.sock\nStop it first/);
    assert.equal((await call(here.socket, 'GET', '/_ping')).text, 'OK', 'the first one does not mind');
  });

  test('TCP without certificates is refused at start', () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [main, '--root', join(here.folder, 'r'), '--run', join(here.folder, 'n'), '--tcp', ':0'],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(status, 125);
    assert.match(
      stderr,
      /tcp \(--tcp\): TCP is served with mutual TLS only, and tls\.ca and tls\.cert and tls\.key are missing\. Give tls\.ca/,
    );
    assert.equal(existsSync(join(here.folder, 'r')), false, 'nothing was touched');
  });
});

const activate = findProgram('systemd-socket-activate');
const cannotActivate = cannotRunDaemon || (activate === undefined && 'needs systemd-socket-activate');
describe('a daemon that systemd starts by its socket', { skip: cannotActivate, timeout: 60_000 }, () => {
  const here = new DaemonPlace();
  after(() => here.remove());

  test('answers the connection that woke it, and leaves the socket to systemd', async () => {
    const socket = join(here.folder, 'activated.sock');
    const daemon = spawn(
      activate ?? '',
      ['-E', 'PATH', '-l', socket, process.execPath, main, '--root', here.root, '--run', here.run, '--socket', socket],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let log = '';
    daemon.stderr.on('data', (piece: Buffer) => {
      log += piece.toString();
    });
    const ended = new Promise((resolve) => daemon.once('close', resolve));
    try {
      await until(() => log.includes('Listening on'));
      assert.equal((await call(socket, 'GET', '/_ping')).text, 'OK');
      assert.match(log, new RegExp(`"sockets":\\["${socket}"\\]`));
      const open = execFileSync('ls', ['-l', `/proc/${daemon.pid}/fd`], { encoding: 'utf8' });
      assert.match(open, / 3 -> socket:/);
    } finally {
      daemon.kill('SIGTERM');
      await ended;
    }
    assert.ok(existsSync(socket), 'systemd listens on it still');
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition(); waited += 20) {
    assert.ok(waited < 30_000, 'it did not happen in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
