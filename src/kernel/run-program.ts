import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { killProcess } from './process.ts';
import { type ProcessEnd, type SpawnedProcess, spawnProcess } from './spawn.ts';
import { pipe } from './stdio.ts';

export type ProgramOptions = {
  /** The whole environment. */
  env: Readonly<Record<string, string | undefined>>;
  /** Written to its standard input, which is then closed; without it /dev/null. */
  input?: string | undefined;
  timeoutMs: number;
  /** Kept of each stream; the rest is read and dropped. */
  outputLimitBytes?: number | undefined;
  /** Wraps the start, for a caller that starts it in another namespace. Calls it once, synchronously. */
  start?: ((spawn: () => void) => void) | undefined;
};

/** `timedOut`: it was killed, with its process group. */
export type ProgramResult = ProcessEnd & { stdout: string; stderr: string; timedOut: boolean };

const sigkill = 9;
/** What a program has written is there when it ends; what it left running may hold its output open for ever. */
const drainMs = 500;

/**
 * Runs a program in a session of its own to its end. Throws when it cannot be run; resolves whatever its exit status, and `timeoutMs` and a moment
 * after its start at the latest, even when it waits in the kernel and not even SIGKILL ends it.
 */
export async function runProgram(file: string, args: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  const [stdin, stdout, stderr] = [options.input === undefined ? undefined : pipe(), pipe(), pipe()];
  let child: SpawnedProcess | undefined;
  try {
    const spawn = () => {
      child = spawnProcess(file, args, {
        env: options.env,
        stdio: [stdin?.read ?? 'ignore', stdout.write, stderr.write],
        newSession: true,
      });
    };
    if (options.start) options.start(spawn);
    else spawn();
    if (child === undefined) throw new Error(`${file} was not started`);
  } catch (error) {
    for (const fd of [stdin?.write, stdout.read, stderr.read]) if (fd !== undefined) closeSync(fd);
    throw error;
  } finally {
    for (const fd of [stdin?.read, stdout.write, stderr.write]) if (fd !== undefined) closeSync(fd);
  }
  if (stdin) feed(stdin.write, options.input ?? '');
  return collect(child, [new Output(stdout.read, options.outputLimitBytes), new Output(stderr.read, options.outputLimitBytes)], options);
}

async function collect({ pid, ended }: SpawnedProcess, outputs: [Output, Output], { timeoutMs }: ProgramOptions): Promise<ProgramResult> {
  const end = await within(timeoutMs, ended);
  if (end === undefined) killProcess(-pid, sigkill);
  await within(drainMs, Promise.all(outputs.map((output) => output.ended)));
  for (const output of outputs) output.close();
  return { ...(end ?? { signal: sigkill }), stdout: outputs[0].text, stderr: outputs[1].text, timedOut: end === undefined };
}

/** Undefined when it takes longer. */
async function within<T>(timeoutMs: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: deadline, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  const result = await Promise.race([promise, deadline]);
  clearTimeout(timer);
  return result;
}

/** A program that ends without reading its input is judged by its exit status. */
function feed(fd: number, text: string): void {
  const stream = new Socket({ fd, readable: false, writable: true });
  stream.on('error', () => undefined);
  stream.end(text);
}

class Output {
  readonly ended: Promise<void>;
  readonly #stream: Socket;
  #text = '';

  constructor(fd: number, limitBytes = 4 << 20) {
    this.#stream = new Socket({ fd, readable: true, writable: false });
    this.#stream.setEncoding('utf8').on('data', (chunk: string) => {
      if (this.#text.length < limitBytes) this.#text += chunk;
    });
    this.ended = new Promise((resolve) => this.#stream.once('close', () => resolve()));
    this.#stream.on('error', () => undefined);
  }

  get text(): string {
    return this.#text;
  }

  close(): void {
    this.#stream.destroy();
  }
}
