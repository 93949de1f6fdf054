import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isErrno } from '../../base/errors.ts';
import { killProcess } from '../../kernel/process.ts';
import { runtimeMessage } from '../drivers/oci-runtime.ts';
import type { StepRequest } from '../port.ts';
import { SIGKILL } from '../signals.ts';
import { outputPipes } from './step-container.ts';

export type StepResult = {
  exitCode: number;
  /** False when the runtime may have left state and cgroup. */
  clean: boolean;
  /** Set when the process never began. */
  failure?: string | undefined;
};

type Options = { pidFile: string; onOutput: StepRequest['onOutput']; signal: AbortSignal | undefined };

/** Runs the runtime's `run` to the end of the process and of its output. An abort kills the container whole, then the runtime. */
export async function runStepProcess(command: string, args: readonly string[], options: Options): Promise<StepResult> {
  // Real pipes: on the socket pairs of Node's own, `echo > /dev/stderr` inside fails.
  const early = new EarlyErrors(options);
  const pipes = outputPipes((stream, data) => (stream === 'stdout' ? options.onOutput('stdout', data) : early.push(data)));
  const child = spawn(command, args, { stdio: ['ignore', ...pipes.child] });
  pipes.handOver();
  const abort = () => {
    const pid = startedPid(options.pidFile);
    // The first process takes the whole PID namespace with it; the runtime then sees it end and cleans up.
    if (pid !== undefined) killProcess(pid, SIGKILL);
    else child.kill('SIGKILL');
  };
  options.signal?.addEventListener('abort', abort);
  try {
    const { code } = await ended(child);
    await pipes.ended;
    if (early.began()) return { exitCode: code ?? 137, clean: code !== null };
    return { exitCode: 125, clean: false, failure: runtimeMessage(early.held()) };
  } finally {
    early.close();
    options.signal?.removeEventListener('abort', abort);
  }
}

const lookAgainMs = 5;

/**
 * The runtime and the process share a stderr, and the runtime speaks only when the process does not begin. What comes before the pid file,
 * which the runtime writes a moment after the process has begun, is held until one or the other is known.
 */
class EarlyErrors {
  readonly #options: Options;
  #held: Buffer[] = [];
  #began = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  push(data: Buffer): void {
    if (this.#began) {
      this.#options.onOutput('stderr', data);
      return;
    }
    this.#held.push(data);
    this.#look();
  }

  #look(): void {
    clearTimeout(this.#timer);
    if (!this.began()) this.#timer = setTimeout(() => this.#look(), lookAgainMs);
  }

  /** Hands on what was held when the process has begun. */
  began(): boolean {
    if (this.#began) return true;
    if (startedPid(this.#options.pidFile) === undefined) return false;
    this.#began = true;
    for (const data of this.#held.splice(0)) this.#options.onOutput('stderr', data);
    return true;
  }

  held(): string {
    return Buffer.concat(this.#held).toString('utf8').slice(0, 4_096);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

function ended(child: ReturnType<typeof spawn>): Promise<{ code: number | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve({ code }));
  });
}

/** The runtime writes it when the process exists. */
function startedPid(pidFile: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(pidFile, 'latin1'), 10) || undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
