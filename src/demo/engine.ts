import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { EngineError, isErrno } from '../base/errors.ts';
import type { Report } from './report.ts';

type ShowOutput = 'all' | 'tail' | 'none';

/** A daemon on a root of its own, and the command line against it: the demo uses what a user uses. */
export class DemoEngine {
  readonly launcher: string;
  readonly socket: string;
  readonly #name: string;
  readonly #root: string;
  readonly #run: string;
  readonly #report: Report;
  #command: ChildProcess | undefined;
  #interrupted = false;

  /** `name`: of its host, for people, and of the folder below `root`. */
  constructor(options: { name: string; root: string; run: string }, report: Report) {
    const launcher = process.env.SLIPWAY_LAUNCHER;
    if (launcher === undefined) throw new EngineError('InvalidArgument', 'NO_LAUNCHER', 'the demo is started through ./slipway demo');
    this.launcher = launcher;
    this.#name = options.name;
    this.#root = join(options.root, options.name);
    this.#run = options.run;
    this.socket = join(options.run, 'slipway.sock');
    this.#report = report;
  }

  pid: number | undefined;

  /** Starts the daemon, after stopping one that an interrupted demo left. `fresh`: with nothing of an earlier demo's. */
  async start(options: { fresh?: boolean } = {}): Promise<void> {
    await this.#stopRunning();
    if (options.fresh === true) await rm(this.#root, { recursive: true, force: true });
    mkdirSync(this.#root, { recursive: true });
    mkdirSync(this.#run, { recursive: true });
    const log = openSync(this.#logFile, 'a');
    // A session of its own: ctrl-C reaches the demo, which then stops the daemon in order.
    const daemon = spawn(this.launcher, ['daemon', '--root', this.#root, '--run', this.#run], {
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    daemon.unref();
    this.pid = daemon.pid;
    let status: number | null | undefined;
    daemon.once('exit', (code) => {
      status = code;
    });
    await waitFor(30_000, async () => {
      if (status !== undefined) throw await this.#startFailed(`it ended with status ${String(status)}`);
      return await answers(this.socket);
    }).catch(async (error: unknown) => {
      throw error instanceof EngineError ? error : await this.#startFailed('its socket did not answer within 30 s');
    });
    this.#report.line(`the engine of ${this.#name} (${this.pid ?? ''}) answers at ${this.socket}`);
  }

  get #logFile(): string {
    return join(this.#run, 'daemon.log');
  }

  async #startFailed(why: string): Promise<EngineError> {
    const log = await readFile(this.#logFile, 'utf8').catch(() => '');
    return new EngineError(
      'Unavailable',
      'DEMO_DAEMON',
      `the engine did not start: ${why}\n${log.trim().split('\n').slice(-5).join('\n')}`,
      {
        hint: 'Run "./slipway doctor" to see what this host lacks.',
      },
    );
  }

  /** What an earlier demo left behind when it was killed or ran with --keep. */
  async removeLeftovers(): Promise<void> {
    await this.cli(['rm', '-f', 'guestbook'], { show: 'none', mayFail: true });
    await this.cli(['volume', 'rm', 'guestbook-data'], { show: 'none', mayFail: true });
  }

  /** Runs one command and shows it with its output. A failure is an error with the output's end. */
  async cli(words: readonly string[], options: { show?: ShowOutput; mayFail?: boolean } = {}): Promise<string[]> {
    const show = options.show ?? 'all';
    if (this.#interrupted) throw new EngineError('Cancelled', 'INTERRUPTED', 'interrupted');
    if (show !== 'none') this.#report.command(words, this.#name);
    const command = spawn(this.launcher, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, SLIPWAY_HOST: `unix://${this.socket}`, NO_COLOR: '1' },
    });
    this.#command = command;
    const lines: string[] = [];
    const take = (line: string) => {
      lines.push(line);
      if (show === 'all') this.#report.line(line);
    };
    createInterface({ input: command.stdout }).on('line', take);
    createInterface({ input: command.stderr }).on('line', take);
    const status = await new Promise<number>((resolve, reject) => {
      command.once('error', reject);
      command.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
    });
    this.#command = undefined;
    if (status !== 0 && options.mayFail !== true) {
      throw new EngineError(
        'Unavailable',
        'DEMO_COMMAND',
        `"slipway ${words.join(' ')}" ended with status ${status}:\n${lines.slice(-15).join('\n')}`,
      );
    }
    if (show === 'tail') for (const line of lines.slice(-3)) this.#report.line(line);
    return lines;
  }

  /** A build; what its summary says of the cache goes into the table. */
  async build(words: readonly string[], report: Report): Promise<void> {
    const lines = await this.cli(words);
    const summary = lines.findLast((line) => /cached/i.test(line) && /\d/.test(line) && /vert/i.test(line));
    if (summary !== undefined) report.remark(summary.trim().replace(/^Built .* in [^:]*: /, ''));
  }

  interrupt(): void {
    this.#interrupted = true;
    this.#command?.kill('SIGINT');
  }

  /** Removes the container and ends the daemon; images and cache stay for the next demo. */
  async stop(): Promise<void> {
    const interrupted = this.#interrupted;
    this.#interrupted = false;
    if (await answers(this.socket)) await this.#removeContainers(interrupted ? 3 : 1);
    await this.#stopRunning();
  }

  /** An interrupted "run" may still be making its container after its client has gone: so the look is repeated. */
  async #removeContainers(looks: number): Promise<void> {
    for (let look = 0; look < looks; look++) {
      if (look > 0) await new Promise((resolve) => setTimeout(resolve, 400));
      const ids = await this.cli(['ps', '-aq'], { show: 'none', mayFail: true });
      if (ids.length > 0) await this.cli(['rm', '-f', ...ids], { show: 'none', mayFail: true });
    }
  }

  async #stopRunning(): Promise<void> {
    const pid = await lockHolder(join(this.#root, 'lock'));
    if (pid === undefined) return;
    process.kill(pid, 'SIGTERM');
    await waitFor(20_000, async () => (await lockHolder(join(this.#root, 'lock'))) === undefined);
  }
}

/** The pid in the lock file when that process lives and is a daemon. */
async function lockHolder(file: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await readFile(file, 'utf8'), 10);
    if (!Number.isInteger(pid) || pid <= 1) return undefined;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'latin1');
    return commandLine.split('\0').includes('daemon') ? pid : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect(socket);
    client.once('connect', () => {
      client.destroy();
      resolve(true);
    });
    client.once('error', () => resolve(false));
  });
}

async function waitFor(deadlineMs: number, done: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await done())) {
    if (performance.now() > end) throw new Error(`not done within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
