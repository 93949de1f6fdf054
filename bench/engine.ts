import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { inNamespace } from './namespace.ts';

const run = promisify(execFile);
export const launcher = fileURLToPath(new URL('../slipway', import.meta.url));

const tmpfsMagic = 0x01021994;

/** Where run directories are: in memory, as /run is wherever systemd runs. */
export function runParent(): string {
  return ['/run', '/dev/shm'].find((path) => existsSync(path) && statfsSync(path).type === tmpfsMagic) ?? tmpdir();
}

/** A daemon on temporary directories, and the command line against it. */
export class BenchEngine implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'slipway-bench-'));
  readonly runDirectory = mkdtempSync(join(runParent(), 'slipway-bench-run-'));
  readonly socket = join(this.runDirectory, 'slipway.sock');
  #daemon: ChildProcess | undefined;

  /** `namespaceOf`: a process in whose network namespace the daemon is to be. */
  static async start(options: { namespaceOf?: number | undefined } = {}): Promise<BenchEngine> {
    const engine = new BenchEngine();
    const log = openSync(join(engine.directory, 'daemon.log'), 'a');
    const words = [launcher, 'daemon', '--root', join(engine.directory, 'root'), '--run', engine.runDirectory];
    const [command = '', ...rest] = inNamespace(options.namespaceOf, ...words);
    engine.#daemon = spawn(command, rest, { stdio: ['ignore', log, log] });
    const end = performance.now() + 20_000;
    while (!(await answers(engine.socket))) {
      if (performance.now() > end || engine.#daemon.exitCode !== null)
        throw new Error(`the daemon did not start:\n${readFileSync(join(engine.directory, 'daemon.log'), 'utf8')}`);
      await sleep(20);
    }
    return engine;
  }

  get pid(): number {
    const pid = this.#daemon?.pid;
    if (pid === undefined) throw new Error('the daemon does not run');
    return pid;
  }

  get launcher(): string {
    return launcher;
  }

  get environment(): NodeJS.ProcessEnv {
    return { ...process.env, SLIPWAY_HOST: `unix://${this.socket}`, NO_COLOR: '1' };
  }

  async cli(...words: string[]): Promise<string> {
    const { stdout } = await run(launcher, words, { env: this.environment, maxBuffer: 64 << 20 });
    return stdout.trim();
  }

  /** An image with a static busybox: the smallest thing that runs `true`. */
  async importBusybox(): Promise<string> {
    const root = mkdtempSync(join(tmpdir(), 'slipway-busybox-'));
    try {
      await run(
        'sh',
        [
          '-c',
          'mkdir -p bin etc tmp && cp "$(command -v busybox)" bin/ && for name in sh true sleep echo cat yes head; do ln -s busybox bin/$name; done && echo root:x:0:0:root:/:/bin/sh > etc/passwd && tar cf ../busybox.tar .',
          '--',
        ],
        { cwd: root },
      );
      const tar = join(root, '../busybox.tar');
      await this.cli('import', tar, 'busybox:bench');
      rmSync(tar);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
    return 'busybox:bench';
  }

  /** Processes that hold containers. */
  monitors(): number[] {
    return execFileSync('ps', ['-C', 'conmon', '-o', 'pid=,args='], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes(this.runDirectory))
      .map((line) => Number.parseInt(line, 10));
  }

  async removeContainers(): Promise<void> {
    const ids = (await this.cli('ps', '-aq')).split('\n').filter(Boolean);
    for (let at = 0; at < ids.length; at += 100) await this.cli('rm', '-f', '-v', ...ids.slice(at, at + 100));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.removeContainers().catch(() => undefined);
    const daemon = this.#daemon;
    if (daemon !== undefined && daemon.exitCode === null) {
      const ended = new Promise((resolve) => daemon.once('exit', resolve));
      daemon.kill('SIGTERM');
      await ended;
    }
    for (const directory of [this.runDirectory, this.directory]) {
      await unmountBelow(directory);
      rmSync(directory, { recursive: true, force: true });
    }
  }
}

/** Memory of a process in MB, pages that others share with it divided among them (Pss). */
export function proportionalMegabytes(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024;
}

/** Resident memory of a process in MB (VmRSS). */
export function residentMegabytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

export async function unmountBelow(directory: string): Promise<void> {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${directory}/`));
  for (const path of mounts.reverse()) await run('umount', ['-l', path]).catch(() => undefined);
}

export function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect(socket);
    client.once('connect', () => {
      client.destroy();
      resolve(true);
    });
    client.once('error', () => resolve(false));
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
