import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { kill } from './child.ts';

const program = '/usr/bin/docker-registry';
const startTimeoutMs = 20_000;

/** For tests that need the registry: `test(name, needsRegistry, …)`. */
export const needsRegistry = { skip: !existsSync(program) && "needs Debian's docker-registry" };

export type RegistryServerOptions = {
  /** Passwords by user; without, everybody may do everything. */
  users?: Record<string, string> | undefined;
  /** PEM files; the address is then spoken to by HTTPS only. `clientCa`: whose certificates clients must show. */
  tls?: { cert: string; key: string; clientCa?: string | undefined } | undefined;
  /** Manifests and blobs may be deleted; true when not given. */
  deletes?: boolean | undefined;
  /** A pull-through cache of this registry's, `http://127.0.0.1:5000`: it cannot be pushed to. */
  proxyOf?: string | undefined;
  /** Where its files lie; a temporary folder that is removed at the end when not given. */
  folder?: string | undefined;
};

export type RegistryServer = {
  /** `127.0.0.1:40123`; the same after a restart. */
  readonly address: string;
  /** Its storage: `docker/registry/v2/{blobs,repositories}` is below. */
  readonly folder: string;
  readonly pid: number;
  /** SIGTERM, and gone. */
  stop(): Promise<void>;
  /** Starts it again over the same files, on the same port. */
  start(): Promise<void>;
  restart(): Promise<void>;
  kill(signal?: NodeJS.Signals): Promise<void>;
  /**
   * The registry's own mark and sweep. It is stopped meanwhile, as its manual asks. `untagged`: manifests without a tag go too, among which docker-registry 2.8
   * counts those that only an index names.
   */
  collectGarbage(options?: { untagged?: boolean }): Promise<void>;
  /** What it has logged. */
  log(): string;
};

/** Debian's docker-registry (2.8) on a free port of loopback, until the test ends. */
export async function startRegistry(t: Pick<TestContext, 'after'>, options: RegistryServerOptions = {}): Promise<RegistryServer> {
  const work = mkdtempSync(join(tmpdir(), 'slipway-registry-'));
  const folder = options.folder ?? join(work, 'storage');
  const config = join(work, 'config.yml');
  let child: ChildProcess | undefined;
  let log = '';
  let address = '';

  const start = async () => {
    for (let attempt = 1; ; attempt++) {
      if (address === '') address = `127.0.0.1:${await freePort()}`;
      writeFileSync(config, JSON.stringify(configuration(work, folder, address, options)));
      const started = spawn(program, ['serve', config], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH: process.env.PATH, OTEL_TRACES_EXPORTER: 'none' },
      });
      for (const stream of [started.stdout, started.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          log = (log + text).slice(-1_000_000);
        });
      }
      child = started;
      if (await answers(address, started)) return;
      await kill(started);
      // Another test's server may have taken the port between the look and the start.
      if (attempt === 3) throw new Error(`docker-registry did not start:\n${log.slice(-4000)}`);
      address = '';
    }
  };
  const end = async (signal: NodeJS.Signals) => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    running.kill(signal);
    for (let waited = 0; waited < 5000 && running.exitCode === null && running.signalCode === null; waited += 20) await sleep(20);
    await kill(running);
  };

  t.after(async () => {
    await end('SIGKILL');
    rmSync(work, { recursive: true, force: true });
  });
  await start();
  return {
    get address() {
      return address;
    },
    folder,
    get pid() {
      return child?.pid ?? 0;
    },
    stop: () => end('SIGTERM'),
    start,
    async restart() {
      await end('SIGTERM');
      await start();
    },
    kill: (signal = 'SIGKILL') => end(signal),
    async collectGarbage({ untagged = false } = {}) {
      const running = child !== undefined;
      await end('SIGTERM');
      execFileSync(program, ['garbage-collect', ...(untagged ? ['--delete-untagged'] : []), config], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      if (running) await start();
    },
    log: () => log,
  };
}

/** YAML takes JSON. */
function configuration(work: string, folder: string, address: string, options: RegistryServerOptions): Record<string, unknown> {
  const { users, tls, proxyOf, deletes = true } = options;
  const passwords = join(work, 'htpasswd');
  if (users !== undefined)
    writeFileSync(
      passwords,
      Object.entries(users)
        .map(([user, password]) => `${user}:${bcrypt(password)}\n`)
        .join(''),
    );
  return {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: folder }, delete: { enabled: deletes }, cache: { blobdescriptor: 'inmemory' } },
    http: {
      addr: address,
      secret: 'the same after a restart: uploads go on',
      ...(tls === undefined
        ? {}
        : { tls: { certificate: tls.cert, key: tls.key, ...(tls.clientCa === undefined ? {} : { clientcas: [tls.clientCa] }) } }),
    },
    ...(users === undefined ? {} : { auth: { htpasswd: { realm: 'test', path: passwords } } }),
    ...(proxyOf === undefined ? {} : { proxy: { remoteurl: proxyOf } }),
  };
}

/** Perl's crypt is libxcrypt's, and perl is part of every Debian. */
function bcrypt(password: string): string {
  const script = 'print crypt($ARGV[0], q($2y$04$abcdefghijklmnopqrstuu))';
  return execFileSync('/usr/bin/perl', ['-e', script, password], { encoding: 'utf8' });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Waits for it to take connections; false when it has ended instead. */
async function answers(address: string, child: ChildProcess): Promise<boolean> {
  const [host = '', port = ''] = address.split(':');

  for (const until = Date.now() + startTimeoutMs; Date.now() < until; await sleep(20)) {
    if (child.exitCode !== null || child.signalCode !== null) return false;
    const connected = await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port: Number(port) });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (connected) return child.exitCode === null;
  }
  return false;
}
