import { constants, openSync } from 'node:fs';
import { open, rm, unlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { Resources, RuntimeSpec } from '../spec/types.ts';
import { runCommand } from './command.ts';
import { CompiledFilters } from './compiled-filters.ts';

export type RuntimeStatus = 'creating' | 'created' | 'running' | 'paused' | 'stopped';

export type OciRuntimeOptions = {
  name: string;
  command: string;
  root: string;
  /** Program and arguments that run the runtime where it makes containers (`crunPrefix` of the host's facts). */
  prefix?: readonly string[] | undefined;
  /** The configuration's arguments for this runtime, ahead of its verbs. */
  args?: readonly string[] | undefined;
  /** Has systemd make the control groups. */
  systemdCgroup?: boolean | undefined;
  /** How long a verb that answers at once may take: state, start, kill, delete, pause, resume, update. Default 30 s. */
  timeoutMs?: number | undefined;
};

/** How the process that a runtime has created is let go without a program being started for it. */
type Release = (fifo: string) => Promise<boolean>;
const releases: Readonly<Record<string, Release>> = { runc: releaseRunc, crun: releaseCrun };

/**
 * An OCI runtime by its command line (runc, crun, runsc, krun). Its state lies in a folder of this engine's own, so that two engines on a
 * host do not see each other's containers.
 */
export class OciRuntime {
  readonly name: string;
  /** What to spawn with `globalArguments` or `runArguments`: the prefix's program when there is one. Only making containers needs that. */
  readonly command: string;
  readonly #program: string;
  readonly #prefix: readonly string[];
  readonly #root: string;
  /** How long a verb that answers at once may take. */
  readonly timeoutMs: number;
  readonly #args: readonly string[];
  readonly #systemdCgroup: boolean;
  readonly #filters: CompiledFilters | undefined;

  constructor({ name, command, root, prefix = [], timeoutMs = 30_000, args = [], systemdCgroup = false }: OciRuntimeOptions) {
    this.#args = args;
    this.#systemdCgroup = systemdCgroup;
    this.name = name;
    this.#program = command;
    this.#root = root;
    this.timeoutMs = timeoutMs;
    const [first, ...rest] = prefix;
    this.command = first ?? command;
    this.#prefix = first === undefined ? [] : [...rest, command];
    this.#filters = basename(command) === 'crun' ? new CompiledFilters() : undefined;
  }

  /** The runtime's own path, without a prefix. */
  get program(): string {
    return this.#program;
  }

  get root(): string {
    return this.#root;
  }

  /** Arguments that precede the verb. */
  get globalArguments(): string[] {
    return [...this.#prefix, ...this.#ownArguments];
  }

  get #ownArguments(): string[] {
    return [...this.#args, `--root=${this.#root}`, ...(this.#systemdCgroup ? ['--systemd-cgroup'] : [])];
  }

  /** The specification as this runtime takes it, fastest. */
  prepare(spec: RuntimeSpec): RuntimeSpec {
    const { linux } = spec;
    const adapted = { ...spec, linux: { ...linux, resources: this.#adapt(linux.resources) } };
    return this.#filters?.apply(adapted) ?? adapted;
  }

  /** crun writes the specification's word for no limit, -1, to a file of the kernel's that does not know it. */
  #adapt<T extends Pick<Resources, 'pids'>>(resources: T): T {
    if (basename(this.#program) !== 'crun' || (resources.pids?.limit ?? 0) >= 0) return resources;
    const { pids: _, ...others } = resources;
    return others as T;
  }

  /** To be called with what `prepare` was given, once the container has been created. */
  async created(id: string, spec: RuntimeSpec): Promise<void> {
    await this.#filters?.keep(spec, join(this.#root, id, 'seccomp.bpf'));
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
   * Lets a created container's process go. It waits on `exec.fifo`; being who it waits for is what `runc start` and `crun start` do, and saves the
   * 6 to 10 ms that they take to load. Other runtimes, and a FIFO that nobody waits on, go through the command.
   */
  async start(id: string): Promise<void> {
    const release = releases[basename(this.#program)];
    if (release && (await release(join(this.#root, id, 'exec.fifo')))) return;
    const result = await this.#run('start', id);
    if (result.exitCode !== 0) throw this.#failure('start', id, result.stderr);
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

  /** Changes limits of a container that runs, to what is said; the rest stays. `file` is written for the time of the call. */
  async update(id: string, resources: Omit<Resources, 'devices'>, file: string): Promise<void> {
    const told = this.#adapt(resources);
    if (Object.keys(told).length === 0) return;
    await writeFile(file, JSON.stringify(told), { mode: 0o600 });
    try {
      const result = await this.#run('update', '--resources', file, id);
      if (result.exitCode !== 0) throw this.#failure('update', id, result.stderr);
    } finally {
      await rm(file, { force: true });
    }
  }

  /**
   * argv (without the command, `program`) that begins a process, given as the specification's process object, in a container, and ends once it has begun. Its
   * terminal, when it has one, is sent to `consoleSocket`; what goes wrong is in `log`.
   */
  detachedExecArguments(
    id: string,
    options: { processFile: string; pidFile: string; log: string; consoleSocket: string | undefined },
  ): string[] {
    const { processFile, pidFile, log, consoleSocket } = options;
    const console = consoleSocket === undefined ? [] : ['--console-socket', consoleSocket];
    return [...this.#ownArguments, '--log', log, 'exec', '--detach', '--process', processFile, '--pid-file', pidFile, ...console, id];
  }

  /** argv (without the command) that creates, starts, awaits and deletes a container, in the foreground. */
  runArguments(id: string, options: { bundle: string; pidFile: string }): string[] {
    return [...this.globalArguments, 'run', '--bundle', options.bundle, '--pid-file', options.pidFile, id];
  }

  /** argv (without `command`) that creates and starts a container and ends; what goes wrong is in `log`. */
  detachedRunArguments(id: string, options: { bundle: string; pidFile: string; log: string; consoleSocket: string | undefined }): string[] {
    const { bundle, pidFile, log, consoleSocket } = options;
    const console = consoleSocket === undefined ? [] : ['--console-socket', consoleSocket];
    return [...this.globalArguments, '--log', log, 'run', '--detach', '--bundle', bundle, '--pid-file', pidFile, ...console, id];
  }

  /** argv (without the command, `program`) that runs a process, given as the specification's process object, in a container, and ends with it. */
  execArguments(id: string, processFile: string): string[] {
    return [...this.#ownArguments, 'exec', '--process', processFile, id];
  }

  #run(verb: string, ...args: string[]) {
    const what = `${this.name} ${verb} ${args.at(-1)?.slice(0, 12)}`;
    return runCommand(this.#program, [...this.#ownArguments, verb, ...args], { timeoutMs: this.timeoutMs, what });
  }

  #failure(verb: string, id: string, stderr: string): EngineError {
    return new EngineError('Internal', 'RUNTIME_FAILED', `${this.name} ${verb} ${id.slice(0, 12)}: ${runtimeMessage(stderr)}`);
  }
}

/** The runtime's own words, without its log prefix: `time="…" level=error msg="…"` (runc), `2026-11-22T20:18:28.780003Z: …` (crun). */
export function runtimeMessage(stderr: string): string {
  const messages = [...stderr.matchAll(/level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) => unquote(text));
  const text = (messages.join('; ') || stderr).trim();
  return text.replace(/^runc (create|run) failed: /, '').replace(/^(\d{4}-\d\d-\d\dT[\d:.]+Z: |crun: )/gm, '') || 'it gave no reason';
}

function unquote(text: string): string {
  return text
    .replace(/\\(["\\])/g, '$1')
    .replaceAll('\\n', '\n')
    .replaceAll('\\t', '\t');
}

/** runc's process writes a byte into the FIFO, and so waits for a reader. While the FIFO exists, the runtime calls the container "created". */
async function releaseRunc(fifo: string): Promise<boolean> {
  const released = await readOne(fifo, 5_000);
  if (released) await unlink(fifo).catch(() => undefined);
  return released;
}

/**
 * crun's process has the FIFO open, waits for a byte, and is called "created" while the file exists. The byte goes first: were the file gone and the engine killed
 * before it had written, the process would wait for ever. Where nobody reads, an engine that was killed has let it go already.
 */
async function releaseCrun(fifo: string): Promise<boolean> {
  try {
    // Without O_NONBLOCK the open would wait for ever when nobody reads.
    await using file = await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    await file.write('\0');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    if (!isErrno(error, 'ENXIO', 'EPIPE')) throw error;
  }
  await unlink(fifo).catch(() => undefined);
  return true;
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
