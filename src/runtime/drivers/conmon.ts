import { closeSync, constants, openSync, readSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { mkfifo } from '../../kernel/files.ts';
import { connectSeqpacket } from '../../kernel/socket.ts';
import { spawnProcess } from '../../kernel/spawn.ts';
import { pipe, socketStream } from '../../kernel/stdio.ts';
import { endBundle } from '../processes.ts';
import { ControlQueue } from './conmon-control.ts';
import { type OciRuntime, runtimeMessage } from './oci-runtime.ts';

export type LaunchOptions = {
  id: string;
  bundle: string;
  runtime: OciRuntime;
  terminal: boolean;
  /** `once`: ends with the client that first attached; `open`: never ends. */
  stdin: 'none' | 'once' | 'open';
  /** The spool, as docs/formats/log-spool.md. */
  logPath: string;
  /** Kept open by the monitor for its life: sockets that hold the container's ports. */
  keep: readonly number[];
};

/** A monitor that has been started and waits before it makes the container. */
export type Launch = {
  /** For moving it to a cgroup before it forks on. */
  readonly pid: number;
  /**
   * Makes the container from the bundle's config.json. Its process waits to be started. Throws what the runtime said; Unavailable `CREATE_TIMEOUT`
   * when it said nothing for `createTimeoutMs`. Whatever is thrown, `abort` is to follow.
   */
  create(): Promise<{ pid: number; monitorPid: number }>;
  /** Ends the monitor and with it a creation that is under way, whose `create` then throws. Idempotent. */
  abort(): Promise<void>;
};

export type ExitRecord = { exitCode: number; finishedAtMs: number; oomKilled: boolean };

const file = {
  alive: 'alive',
  attach: 'attach',
  control: 'ctl',
  pid: 'pid',
  monitorPid: 'conmon.pid',
  oom: 'oom',
};

/**
 * conmon: one small process a container, which holds its stdio, writes its spool and records its exit, and so outlives the engine. What
 * it writes lies in the container's bundle. Its end shows on a FIFO, `alive`, that only it holds open for writing: no polling, and a
 * later engine can look too.
 */
export class ConmonMonitor {
  readonly command: string;
  /** In the bundle, once the kernel has killed in the container for want of memory. */
  readonly oomFile = file.oom;
  readonly #createTimeoutMs: number;
  readonly #control = new ControlQueue();

  /** `createTimeoutMs`: how long a runtime may take to create a container (default 2 min: a host that starts hundreds at once is slow, not stuck). */
  constructor(options: { command: string; createTimeoutMs?: number | undefined }) {
    this.command = options.command;
    this.#createTimeoutMs = options.createTimeoutMs ?? 120_000;
  }

  launch(options: LaunchOptions): Launch {
    const { bundle } = options;
    mkfifo(join(bundle, file.alive), 0o600);
    // A FIFO opens for writing without blocking only once it has a reader.
    const reader = openSync(join(bundle, file.alive), constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(join(bundle, file.alive), constants.O_WRONLY);
    const [stderr, sync, start] = [pipe(), pipe(), pipe()];
    try {
      const { pid } = spawnProcess(this.command, conmonArguments(options), {
        cwd: bundle,
        stdio: ['ignore', 'ignore', stderr.write, sync.write, start.read, writer, ...options.keep],
        // Local time would go into the spool without a way to tell which.
        env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', TZ: 'UTC', _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' },
        newSession: true,
      });
      const ends = { stderr: stderr.read, sync: sync.read, start: start.write };
      return new ConmonLaunch(pid, ends, { bundle, timeoutMs: this.#createTimeoutMs, runtime: options.runtime.name });
    } catch (error) {
      for (const fd of [stderr.read, sync.read, start.write]) closeSync(fd);
      if (!isErrno(error, 'ENOENT', 'EACCES')) throw error;
      throw new EngineError('Unavailable', 'MONITOR_MISSING', 'conmon cannot be run', { hint: 'apt-get install conmon', cause: error });
    } finally {
      for (const fd of [stderr.write, sync.write, start.read, writer, reader]) closeSync(fd);
    }
  }

  /** `ended` resolves when the monitor is gone (at once when it is already). `close` stops looking. */
  watch(bundle: string): { ended: Promise<void>; close(): void } {
    let fd: number;
    try {
      fd = openSync(join(bundle, file.alive), constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return { ended: Promise.resolve(), close: () => undefined };
      throw error;
    }
    if (!hasWriter(fd)) {
      closeSync(fd);
      return { ended: Promise.resolve(), close: () => undefined };
    }
    const socket = new Socket({ fd, readable: true, writable: false });
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.on('end', resolve).on('error', () => resolve());
    socket.resume();
    return { ended: promise, close: () => socket.destroy() };
  }

  /** What the monitor recorded when the container ended; undefined when it has not. Its times and codes hold whether or not an engine ran. */
  async exit(bundle: string, id: string): Promise<ExitRecord | undefined> {
    try {
      const path = join(bundle, id);
      const [text, stats] = await Promise.all([readFile(path, 'latin1'), stat(path)]);
      const exitCode = Number.parseInt(text, 10);
      if (!Number.isInteger(exitCode)) return undefined;
      const oomKilled = await stat(join(bundle, file.oom)).then(
        () => true,
        () => false,
      );
      return { exitCode, finishedAtMs: Math.round(stats.mtimeMs), oomKilled };
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  async resize(bundle: string, size: { rows: number; columns: number }): Promise<void> {
    await this.#control.resize(join(bundle, file.control), size);
  }

  /** Has the monitor open its spool's path anew. See SpoolRotator for when that is safe. */
  async reopenLog(bundle: string): Promise<void> {
    await this.#control.reopen(join(bundle, file.control));
  }

  /** A connection to the container's stdin. What comes back on it is output, which is read and dropped: a reader that stalls would stall the container. */
  openStdin(bundle: string): Socket {
    const socket = socketStream(connectSeqpacket(join(bundle, file.attach)));
    socket.resume();
    return socket;
  }
}

function conmonArguments(options: LaunchOptions): string[] {
  const { id, bundle, runtime } = options;
  return [
    '--api-version=1',
    ...['--cid', id, '--cuuid', id, '--name', id],
    ...['--runtime', runtime.command, ...runtime.globalArguments.flatMap((argument) => ['--runtime-arg', argument])],
    ...['--bundle', bundle, '--container-pidfile', join(bundle, file.pid), '--conmon-pidfile', join(bundle, file.monitorPid)],
    ...['--log-path', `k8s-file:${options.logPath}`, '--log-level', 'error'],
    // The exit file is named by the container's id; the bundle is as good a folder as any.
    ...['--exit-dir', bundle, '--persist-dir', bundle],
    '--full-attach',
    // An fsync of the spool at every exit would wait for whatever else the disk does.
    '--no-sync-log',
    ...(options.terminal ? ['--terminal'] : []),
    ...(options.stdin === 'none' ? [] : ['--stdin']),
    ...(options.stdin === 'open' ? ['--leave-stdin-open'] : []),
  ];
}

type LaunchFacts = { bundle: string; timeoutMs: number; runtime: string };

class ConmonLaunch implements Launch {
  readonly pid: number;
  readonly #facts: LaunchFacts;
  readonly #answer: Promise<string>;
  readonly #stderr: Socket;
  readonly #sync: Socket;
  readonly #start: Socket;
  #said = '';
  #aborted = false;

  constructor(pid: number, ends: { stderr: number; sync: number; start: number }, facts: LaunchFacts) {
    this.pid = pid;
    this.#facts = facts;
    this.#stderr = new Socket({ fd: ends.stderr, readable: true, writable: false });
    this.#stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(0, 65_536);
    });
    this.#sync = new Socket({ fd: ends.sync, readable: true, writable: false });
    this.#start = new Socket({ fd: ends.start, readable: false, writable: true });
    for (const stream of [this.#stderr, this.#start]) stream.on('error', () => undefined);
    this.#answer = firstLine(this.#sync);
    this.#answer.catch(() => undefined);
  }

  async create(): Promise<{ pid: number; monitorPid: number }> {
    const { bundle, timeoutMs, runtime } = this.#facts;
    const timer = setTimeout(() => this.#sync.destroy(createTimeout(runtime, timeoutMs)), timeoutMs);
    try {
      if (this.#aborted) throw createFailure('the start was given up');
      this.#start.end('\n');
      const { data, message } = parseAnswer(await this.#answer);
      if (data <= 0) throw createFailure(message ?? this.#said);
      const monitorPid = await readPid(join(bundle, file.monitorPid));
      if (monitorPid === undefined) throw createFailure('the monitor wrote no pid file');
      return { pid: data, monitorPid };
    } finally {
      clearTimeout(timer);
      this.#close();
    }
  }

  async abort(): Promise<void> {
    this.#aborted = true;
    this.#close();
    await endBundle(this.#facts.bundle);
  }

  #close(): void {
    for (const stream of [this.#stderr, this.#sync, this.#start]) stream.destroy();
  }
}

function createTimeout(runtime: string, timeoutMs: number): EngineError {
  return new EngineError(
    'Unavailable',
    'CREATE_TIMEOUT',
    `OCI runtime create failed: ${runtime} did not answer within ${timeoutMs / 1000} s`,
    {
      hint: 'It was killed. See what the host waits for ("slipway doctor", dmesg), or choose another runtime with --runtime.',
      exitCode: 125,
    },
  );
}

/** The sync pipe carries one JSON object: the container's pid, or a negative number and what the runtime said on its stderr. */
function parseAnswer(line: string): { data: number; message?: string } {
  if (line.trim() === '') return { data: -1 };
  try {
    return JSON.parse(line) as { data: number; message?: string };
  } catch {
    return { data: -1, message: line };
  }
}

/** The runtime's words decide Docker's exit status: what the engine could not foresee (a command below a mount) is told apart here. */
function createFailure(said: string): EngineError {
  const message = runtimeMessage(said || 'the monitor ended without an answer');
  const exitCode =
    /permission denied|is a directory/.test(message) && /exec: /.test(message)
      ? 126
      : /exec: .*(not found|no such file)/.test(message)
        ? 127
        : undefined;
  if (exitCode !== undefined)
    return new EngineError('InvalidArgument', exitCode === 127 ? 'COMMAND_NOT_FOUND' : 'COMMAND_NOT_EXECUTABLE', message, { exitCode });
  return new EngineError('Internal', 'CREATE_FAILED', `OCI runtime create failed: ${message}`, { exitCode: 125 });
}

function firstLine(stream: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('\n')) resolve(text);
    });
    stream.on('end', () => resolve(text));
    stream.on('close', () => resolve(text));
    stream.on('error', reject);
  });
}

function hasWriter(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(1), 0, 1, null) > 0;
  } catch (error) {
    if (isErrno(error, 'EAGAIN')) return true;
    throw error;
  }
}

async function readPid(path: string): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await readFile(path, 'latin1'), 10);
    return pid > 0 ? pid : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
