import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../src/host/programs.ts';
import { call, cannotRunDaemon, DaemonPlace, upload } from '../integration/api-daemon-harness.ts';

/**
 * The socket of another daemon to run these tests against, to see that what they expect is what Docker does:
 * `SLIPWAY_TEST_ENGINE=/run/docker.sock`. Everything in that daemon is removed afterwards.
 */
const reference = process.env.SLIPWAY_TEST_ENGINE;
export const againstDocker = reference !== undefined;

const fetched = join(import.meta.dirname, '../../.clients');
const notFetched = 'not fetched: run "sh scripts/setup.sh test" where a Debian mirror can be reached';

export type Client = { name: string; path: string; skip: string | false };

function client(name: string, path: string): Client {
  return { name, path, skip: cannotRunDaemon || (!existsSync(path) && notFetched) };
}

/** The newest docker command line here: one on PATH when it is newer than Debian 13's. */
function newestDocker(): Client {
  const found = findProgram('docker');
  const major = found === undefined ? 0 : Number(/version (\d+)/.exec(execFileSync(found, ['--version'], { encoding: 'utf8' }))?.[1]);
  return major > 26 ? client(`docker ${major}`, found ?? '') : client('docker 26', join(fetched, 'docker-26/docker'));
}

export const oldDocker = client('docker 20.10', join(fetched, 'docker-20/docker'));
export const newDocker = newestDocker();
export const buildx = client('docker buildx', join(fetched, 'buildx-0/docker-buildx'));
export const compose2 = client('docker compose 2', join(fetched, 'compose-2/docker-compose'));
export const compose1 = composeOne();

function composeOne(): Client {
  const path = findProgram('docker-compose') ?? '';
  const version = path === '' ? '' : execFileSync(path, ['--version'], { encoding: 'utf8' });
  return { name: 'docker-compose 1.29', path, skip: cannotRunDaemon || (!/version 1\./.test(version) && 'needs docker-compose 1.29') };
}

/** A daemon of our own, with a busybox image called `bb:1`. */
export class Engine {
  readonly place = new DaemonPlace();
  readonly folder = this.place.folder;
  readonly socket = reference ?? this.place.socket;

  async start(...flags: string[]): Promise<void> {
    if (!againstDocker) await this.place.start(...flags);
    const query = new URLSearchParams({ fromSrc: '-', repo: 'bb', tag: '1', changes: 'CMD ["sh"]' });
    const imported = await upload(this.socket, `/images/create?${query}`, imageTar(this.folder));
    assert.ok(imported.status === 200 && !imported.text.includes('"error"'), imported.text);
  }

  async remove(): Promise<void> {
    if (againstDocker) await this.#empty();
    await this.place.remove();
  }

  /** Removes everything but the image, so that what one test leaves when it fails does not fail the next. */
  async sweep(): Promise<void> {
    const containers = await this.#list<{ Id: string }>('/containers/json?all=1');
    await Promise.all(containers.map(({ Id }) => call(this.socket, 'DELETE', `/containers/${Id}?force=1&v=1`)));
    await call(this.socket, 'POST', '/networks/prune');
    await call(this.socket, 'POST', `/volumes/prune?filters=${encodeURIComponent('{"all":["true"]}')}`);
    for (const { RepoTags } of await this.#list<{ RepoTags: string[] | null }>('/images/json'))
      for (const tag of RepoTags ?? []) if (tag !== 'bb:1') await call(this.socket, 'DELETE', `/images/${tag}?force=1`);
    await call(this.socket, 'POST', '/images/prune');
  }

  async #list<T>(path: string): Promise<T[]> {
    return JSON.parse((await call(this.socket, 'GET', path)).text) as T[];
  }

  async #empty(): Promise<void> {
    await this.sweep();
    await call(this.socket, 'DELETE', '/images/bb:1?force=1');
    await call(this.socket, 'POST', '/build/prune?all=1');
  }
}

/** A tar of a root file system with every applet of busybox. */
function imageTar(folder: string): string {
  const [root, tar] = [join(folder, 'client-image'), join(folder, 'client-image.tar')];
  for (const name of ['bin', 'etc', 'tmp', 'root', 'www', 'var']) mkdirSync(join(root, name), { recursive: true });
  copyFileSync('/usr/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of execFileSync('/usr/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n'))
    if (applet !== '' && applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:an app:/home/app:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nappgroup:x:1235:\n');
  writeFileSync(join(root, 'www/index.html'), 'hello from the web\n');
  writeFileSync(join(root, 'etc/not-executable'), 'x\n', { mode: 0o644 });
  execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-cf', tar, '.']);
  return tar;
}

export type Outcome = { status: number | null; stdout: string; stderr: string };
type RunOptions = { input?: string | Buffer; cwd?: string; env?: Record<string, string> };

/** One command line, talking to one engine, with a home of its own. */
export class Cli {
  readonly #client: Client;
  readonly #engine: Engine;
  readonly #running = new Set<Running>();
  readonly home: string;
  readonly env: Record<string, string>;

  constructor(client: Client, engine: Engine) {
    this.#client = client;
    this.#engine = engine;
    this.home = mkdtempSync(join(tmpdir(), 'slipway-home-'));
    this.env = {
      PATH: process.env.PATH ?? '',
      HOME: this.home,
      DOCKER_HOST: `unix://${engine.socket}`,
      DOCKER_BUILDKIT: '0',
      TERM: 'xterm',
      // They leave folders there.
      TMPDIR: this.home,
    };
  }

  get path(): string {
    return this.#client.path;
  }

  /** A folder inside the home, made. */
  folder(name: string, files: Record<string, string> = {}): string {
    const folder = join(this.home, name);
    mkdirSync(folder, { recursive: true });
    for (const [file, content] of Object.entries(files)) {
      mkdirSync(join(folder, file, '..'), { recursive: true });
      writeFileSync(join(folder, file), content);
    }
    return folder;
  }

  run(args: readonly string[], { input = '', cwd = this.home, env = {} }: RunOptions = {}): Outcome {
    const options = { env: { ...this.env, ...env }, input, cwd, encoding: 'utf8', timeout: 60_000 } as const;
    const { status, stdout, stderr, error } = spawnSync(this.path, args, options);
    if (error !== undefined) throw new Error(`${args.join(' ')}: ${error.message}; ${stdout}${stderr}`);
    return { status, stdout, stderr };
  }

  /** Standard output, trimmed, of a command that succeeds. */
  ok(args: readonly string[], options: RunOptions = {}): string {
    const { status, stdout, stderr } = this.run(args, options);
    assert.equal(status, 0, `${args.join(' ')} ended with ${status}: ${stderr || stdout}`);
    return stdout.trim();
  }

  /** Standard output and error of a command that fails with `status` and says `pattern`. */
  fails(args: readonly string[], status: number | readonly number[], pattern: RegExp, options: RunOptions = {}): Outcome {
    const outcome = this.run(args, options);
    assert.match(outcome.stderr + outcome.stdout, pattern, args.join(' '));
    const allowed = typeof status === 'number' ? [status] : status;
    assert.ok(
      allowed.includes(outcome.status ?? -1),
      `${args.join(' ')} ended with ${outcome.status} and not ${status}: ${outcome.stderr}`,
    );
    return outcome;
  }

  /** The values of a Go template over `inspect`. */
  show(target: string, template: string): string {
    return this.ok(['inspect', '-f', template, target]);
  }

  /** Starts a command and leaves it running. */
  start(args: readonly string[], options: RunOptions = {}): Running {
    return this.#track(spawn(this.path, args, { env: { ...this.env, ...options.env }, cwd: options.cwd ?? this.home }));
  }

  /** Starts a command on a terminal of 24 rows and 80 columns. `before` are shell commands to run on that terminal first. */
  startOnTerminal(args: readonly string[], before = ''): Running {
    const quoted = [this.path, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
    const line = `stty rows 24 cols 80; ${before}\n${quoted}`;
    return this.#track(spawn('script', ['-qec', line, '/dev/null'], { env: { ...this.env, SHELL: '/bin/sh' }, cwd: this.home }));
  }

  #track(child: ChildProcess): Running {
    const running = new Running(child);
    this.#running.add(running);
    running.ended.then(() => this.#running.delete(running));
    return running;
  }

  /** Ends the commands that still run and removes every container. */
  async sweep(): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.kill()));
    await this.#engine.sweep();
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** A command that runs beside the test. */
export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  stdout = '';
  stderr = '';

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdin?.on('error', () => undefined);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve) => child.on('close', (code) => resolve(code)));
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  /** Waits until the output so far matches. */
  async shows(pattern: RegExp, milliseconds = 20_000): Promise<RegExpExecArray> {
    return until(() => pattern.exec(this.stdout + this.stderr) ?? undefined, String(pattern), milliseconds).catch((error) => {
      throw new Error(`${pattern} did not come; output so far: ${JSON.stringify(this.stdout + this.stderr)}`, { cause: error });
    });
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** Asks again and again until there is an answer. */
export async function until<T>(ask: () => T | undefined | Promise<T | undefined>, what: string, milliseconds = 20_000): Promise<T> {
  for (const deadline = Date.now() + milliseconds; ; ) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${milliseconds} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
