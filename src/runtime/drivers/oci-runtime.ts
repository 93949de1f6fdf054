import { constants, openSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { runCommand } from './command.ts';

export type RuntimeStatus = 'creating' | 'created' | 'running' | 'paused' | 'stopped';

/**
 * An OCI runtime by its command line (runc, crun, runsc, krun). Its state lies in a folder of this engine's own, so that two engines on a
 * host do not see each other's containers.
 */
export class OciRuntime {
  readonly name: string;
  readonly command: string;
  readonly #root: string;

  constructor(options: { name: string; command: string; root: string }) {
    this.name = options.name;
    this.command = options.command;
    this.#root = options.root;
  }

  get root(): string {
    return this.#root;
  }

  /** Arguments that precede the verb. */
  get globalArguments(): string[] {
    return [`--root=${this.#root}`];
  }

  /** Undefined when the runtime does not know it. */
  async state(id: string): Promise<{ status: RuntimeStatus; pid: number } | undefined> {
    const result = await this.#run('state', id);
    if (result.exitCode !== 0) {
      if (/does not exist|no such file/i.test(result.stderr)) return undefined;
      throw this.#failure('state', id, result.stderr);
    }
    const { status, pid } = JSON.parse(result.stdout) as { status: RuntimeStatus; pid: number };
    return { status, pid };
  }

  /**
   * Lets a created container's process go. runc's process waits for a reader of `exec.fifo`; being that reader is what `runc start` does,
   * and saves its 10 ms. Other runtimes, and a FIFO that does not answer, go through the command.
   */
  async start(id: string): Promise<void> {
    if (basename(this.command) === 'runc' && (await this.#release(id))) return;
    const result = await this.#run('start', id);
    if (result.exitCode !== 0) throw this.#failure('start', id, result.stderr);
  }

  async #release(id: string): Promise<boolean> {
    const path = join(this.#root, id, 'exec.fifo');
    const released = await readOne(path, 5_000);
    if (!released) return false;
    // While the FIFO exists, the runtime calls the container "created".
    await unlink(path).catch(() => undefined);
    return true;
  }

  /** Whether a created container still waits to be let go. */
  async isCreated(id: string): Promise<boolean> {
    return (await this.state(id))?.status === 'created';
  }

  /** Removes state and cgroup; `force` kills first. A no-op when there is nothing. */
  async delete(id: string, options: { force?: boolean } = {}): Promise<void> {
    const result = await this.#run('delete', ...(options.force ? ['--force'] : []), id);
    if (result.exitCode !== 0 && !/does not exist/i.test(result.stderr)) throw this.#failure('delete', id, result.stderr);
  }

  async pause(id: string): Promise<void> {
    const result = await this.#run('pause', id);
    if (result.exitCode !== 0) throw this.#failure('pause', id, result.stderr);
  }

  async resume(id: string): Promise<void> {
    const result = await this.#run('resume', id);
    if (result.exitCode !== 0) throw this.#failure('resume', id, result.stderr);
  }

  /** argv (without the command) that runs a process, given as the specification's process object, in a container, in the foreground. */
  execArguments(id: string, options: { processFile: string; pidFile: string }): string[] {
    return [...this.globalArguments, 'exec', '--process', options.processFile, '--pid-file', options.pidFile, id];
  }

  /** argv (without the command) that creates, starts, awaits and deletes a container, in the foreground. */
  runArguments(id: string, options: { bundle: string; pidFile: string }): string[] {
    return [...this.globalArguments, 'run', '--bundle', options.bundle, '--pid-file', options.pidFile, id];
  }

  #run(...args: string[]) {
    return runCommand(this.command, [...this.globalArguments, ...args]);
  }

  #failure(verb: string, id: string, stderr: string): EngineError {
    return new EngineError('Internal', 'RUNTIME_FAILED', `${this.name} ${verb} ${id.slice(0, 12)}: ${runtimeMessage(stderr)}`);
  }
}

/** The runtime's own words, without its log prefix: `time="…" level=error msg="…"`. */
export function runtimeMessage(stderr: string): string {
  const messages = [...stderr.matchAll(/level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => unquote(text));
  return (messages.join('; ') || stderr).trim().replace(/^runc (create|run) failed: /, '') || 'it gave no reason';
}

function unquote(text: string): string {
  return text
    .replace(/\\(["\\])/g, '$1')
    .replaceAll('\\n', '\n')
    .replaceAll('\\t', '\t');
}

/** Reads a byte from a FIFO without holding a thread. False when it is not there, or nobody writes in time. */
function readOne(path: string, timeoutMs: number): Promise<boolean> {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return Promise.resolve(false);
    throw error;
  }
  return new Promise((resolve) => {
    const socket = new Socket({ fd, readable: true, writable: false });
    const finish = (result: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => finish(false), timeoutMs);
    socket.on('data', () => finish(true));
    socket.on('error', () => finish(false));
    socket.on('end', () => finish(false));
  });
}
