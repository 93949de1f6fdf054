import { closeSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { orphanEnded } from '../../kernel/orphans.ts';
import { killProcess } from '../../kernel/process.ts';
import { runProgram } from '../../kernel/run-program.ts';
import { spawnProcess } from '../../kernel/spawn.ts';
import { pipe } from '../../kernel/stdio.ts';
import type { Cgroups } from '../cgroups.ts';
import { type OciRuntime, runtimeMessage } from '../drivers/oci-runtime.ts';
import { SIGKILL } from '../signals.ts';
import { encodeSpec } from '../spec/build.ts';
import type { Bundle } from './step-bundle.ts';

export type Parts = { readonly runtime: OciRuntime; readonly cgroups: Cgroups };

/** How a process ended. `memoryKills`: how many processes of its group the kernel killed at the limit of its memory. */
export type End = { readonly exitCode: number; readonly memoryKills: number };

/**
 * A process that the runtime starts and leaves, as the engine's child: its control group is still there when it has ended, and can be asked what happened. `remove`
 * is to be awaited in any case.
 */
export class StepContainer {
  readonly pid: number;
  readonly ended: Promise<End>;
  readonly #parts: Parts;
  readonly #bundle: Bundle;

  private constructor(pid: number, bundle: Bundle, parts: Parts) {
    this.pid = pid;
    this.#bundle = bundle;
    this.#parts = parts;
    // At once: what nobody awaits is reaped by somebody else.
    this.ended = orphanEnded(pid).then((exitCode) => ({
      exitCode: exitCode ?? 255,
      memoryKills: memoryKills(parts.cgroups, bundle.cgroupsPath),
    }));
  }

  /** `stdio`: what becomes the descriptors 0 to 2, closed by the caller. Internal `STEP_FAILED` in the runtime's words; nothing is left then. */
  static async start(bundle: Bundle, parts: Parts, stdio: readonly (number | 'ignore')[], consoleSocket?: string): Promise<StepContainer> {
    const { runtime } = parts;
    const files = { bundle: bundle.path, pidFile: join(bundle.path, 'pid'), log: join(bundle.path, 'log') };
    try {
      const child = spawnProcess(runtime.command, runtime.detachedRunArguments(bundle.id, { ...files, consoleSocket }), {
        env: process.env,
        stdio,
        newSession: true,
      });
      const end = await within(runtime.timeoutMs, child.ended);
      if (end === undefined) {
        killProcess(-child.pid, SIGKILL);
        throw failed(`${runtime.name} did not begin it within ${runtime.timeoutMs / 1000} s`);
      }
      if (end.exitCode !== 0) throw failed(runtimeMessage(await textOf(files.log)));
      const pid = Number.parseInt(await textOf(files.pidFile), 10);
      if (!(pid > 0)) throw failed(`${runtime.name} did not say which process it began`);
      return new StepContainer(pid, bundle, parts);
    } catch (error) {
      await removeContainer(bundle.id, bundle.cgroupsPath, parts);
      throw error;
    }
  }

  /** Ends it with all that it started: its first process takes the PID namespace with it. */
  kill(): void {
    killProcess(this.pid, SIGKILL);
  }

  /** Runs a program inside, by the runtime; its exit code, or undefined when it takes longer. */
  async run(args: readonly string[], options: { timeoutMs: number }): Promise<number | undefined> {
    const { runtime } = this.#parts;
    const file = join(this.#bundle.path, 'process.json');
    await writeFile(file, encodeSpec({ ...this.#bundle.process, args: [...args] }), { mode: 0o600 });
    const result = await runProgram(runtime.program, runtime.execArguments(this.#bundle.id, file), {
      env: process.env,
      timeoutMs: options.timeoutMs,
      outputLimitBytes: 4096,
    });
    return result.timedOut ? undefined : (result.exitCode ?? 137);
  }

  /** Kills what is left of it and takes its state and group away. */
  async remove(): Promise<void> {
    this.kill();
    await this.ended;
    await removeContainer(this.#bundle.id, this.#bundle.cgroupsPath, this.#parts);
  }
}

export async function removeContainer(id: string, cgroupsPath: string, { runtime, cgroups }: Parts): Promise<void> {
  await runtime.delete(id, { force: true });
  await cgroups.remove(cgroupsPath);
}

/** `oom_kill` of memory.oom_control (v1) or memory.events (v2). */
function memoryKills(cgroups: Cgroups, path: string): number {
  const text = cgroups.read(path, 'memory', cgroups.version === 1 ? 'memory.oom_control' : 'memory.events');
  return Number(/^oom_kill (\d+)$/m.exec(text ?? '')?.[1] ?? 0);
}

/** Pipes for a process's output, read to their end. */
export function outputPipes(onOutput: (stream: 'stdout' | 'stderr', data: Buffer) => void): {
  child: number[];
  /** To be called when the child has its own copies. */
  handOver(): void;
  ended: Promise<unknown>;
} {
  const [stdout, stderr] = [pipe(), pipe()];
  const ended = Promise.all([pump(stdout.read, (data) => onOutput('stdout', data)), pump(stderr.read, (data) => onOutput('stderr', data))]);
  return {
    child: [stdout.write, stderr.write],
    handOver() {
      closeSync(stdout.write);
      closeSync(stderr.write);
    },
    ended,
  };
}

/** What is read of a stream in a turn; the process then waits at its pipe until the next one. More than people read, and little work for the engine. */
const turn = { bytes: 512 << 10, ms: 20 };

/** Reads to the end, some 25 MB a second at most: output without end takes neither the engine's time nor, in those who are told of it, its memory. */
function pump(fd: number, use: (data: Buffer) => void): Promise<void> {
  return new Promise((resolve) => {
    const socket = new Socket({ fd, readable: true, writable: false });
    let bytes = 0;
    let startedAt = performance.now();
    socket.on('data', (data: Buffer) => {
      use(data);
      bytes += data.length;
      if (bytes < turn.bytes) return;
      bytes = 0;
      const waitMs = startedAt + turn.ms - performance.now();
      startedAt = performance.now() + Math.max(0, waitMs);
      if (waitMs <= 0) return;
      socket.pause();
      setTimeout(() => socket.resume(), waitMs);
    });
    socket.on('close', () => resolve());
    socket.on('error', () => socket.destroy());
  });
}

function failed(why: string): EngineError {
  return new EngineError('Internal', 'STEP_FAILED', `the build step cannot be started: ${why}`);
}

async function within<T>(timeoutMs: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: deadline, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}
