import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { EngineError, fromErrorData, toErrorData } from '../../base/errors.ts';
import { SweepGate } from '../collect/sweep-gate.ts';
import type { DatabaseClient } from '../database/client.ts';
import type { JobOptions, Jobs, StorePaths } from '../port.ts';
import { CancelFlag, cancelled } from './cancel-flag.ts';
import type { JobMessage, JobRequest, JobThreadData } from './protocol.ts';
import { WitnessBook } from './witness-book.ts';

export type JobPoolOptions = {
  /** The worker entry: src/daemon/worker.ts, or its bundled form. */
  workerUrl: URL;
  paths: StorePaths;
  database: DatabaseClient;
  /** Threads of a lane at once; more jobs wait in line. */
  maxJobs?: number | undefined;
  maxStreams?: number | undefined;
  /** How long a thread waits for another job before it ends and its memory comes back. */
  idleMs?: number | undefined;
  /** How long an aborted job may take to notice before its thread is ended. */
  graceMs?: number | undefined;
};

type Task = {
  name: string;
  params: unknown;
  options: JobOptions;
  tmpDir: string;
  cancel: CancelFlag;
  resolve(result: unknown): void;
  reject(error: unknown): void;
};

/** Runs jobs in worker threads made on demand. */
export class JobPool implements Jobs {
  /** What jobs rely on, for the collector. */
  readonly witnesses: WitnessBook;
  readonly gate = new SweepGate();
  readonly #options: JobPoolOptions;
  readonly #lanes: Readonly<Record<'work' | 'stream' | 'collect', Lane>>;
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;

  constructor(options: JobPoolOptions) {
    this.#options = options;
    const { maxJobs = 2, maxStreams = 4 } = options;
    // A thread that is being ended may still have its notes when the next one begins.
    this.witnesses = new WitnessBook(2 * (maxJobs + maxStreams + 1));
    const parts = { ...options, witnesses: this.witnesses, gate: this.gate };
    this.#lanes = { work: new Lane(parts, maxJobs), stream: new Lane(parts, maxStreams), collect: new Lane(parts, 1) };
  }

  async run<R>(name: string, params: unknown, options: JobOptions = {}): Promise<R> {
    if (this.#closed) throw new EngineError('Unavailable', 'STORE_CLOSED', 'the engine is stopping');
    if (options.signal?.aborted) throw cancelled();
    const tmpDir = join(this.#options.paths.tmp, `job-${randomBytes(8).toString('hex')}`);
    const lane = this.#lanes[options.lane ?? 'work'];
    const promise = new Promise<R>((resolve, reject) => {
      const settle = resolve as (result: unknown) => void;
      lane.add({ name, params, options, tmpDir, cancel: new CancelFlag(), resolve: settle, reject });
    });
    this.#running.add(promise);
    options.signal?.addEventListener('abort', lane.dropAborted, { once: true });
    try {
      return await promise;
    } finally {
      this.#running.delete(promise);
      options.signal?.removeEventListener('abort', lane.dropAborted);
    }
  }

  /** Refuses new jobs, cancels what runs, ends all threads. */
  async close(): Promise<void> {
    this.#closed = true;
    const lanes = Object.values(this.#lanes);
    for (const lane of lanes) lane.cancel();
    await Promise.allSettled(this.#running);
    await Promise.all(lanes.map((lane) => lane.end()));
  }
}

type LaneOptions = JobPoolOptions & { witnesses: WitnessBook; gate: SweepGate };

/** A line of jobs, and the threads that take them. */
class Lane {
  readonly #options: LaneOptions;
  readonly #maxThreads: number;
  readonly #waiting: Task[] = [];
  readonly #threads = new Set<JobThread>();

  constructor(options: LaneOptions, maxThreads: number) {
    this.#options = options;
    this.#maxThreads = maxThreads;
  }

  add(task: Task): void {
    this.#waiting.push(task);
    this.#dispatch();
  }

  cancel(): void {
    for (const task of this.#waiting.splice(0)) task.reject(cancelled());
    for (const thread of this.#threads) thread.cancel();
  }

  async end(): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.end()));
  }

  readonly dropAborted = (): void => {
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      if (this.#waiting[i]?.options.signal?.aborted) for (const task of this.#waiting.splice(i, 1)) task.reject(cancelled());
    }
  };

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const thread = this.#idleThread() ?? this.#newThread();
      if (thread === undefined) return;
      const task = this.#waiting.shift();
      if (task !== undefined) void thread.run(task).finally(() => this.#dispatch());
    }
  }

  #idleThread(): JobThread | undefined {
    for (const thread of this.#threads) if (thread.idle) return thread;
    return undefined;
  }

  #newThread(): JobThread | undefined {
    if (this.#threads.size >= this.#maxThreads) return undefined;
    const thread = new JobThread(this.#options, () => {
      this.#threads.delete(thread);
      this.#dispatch();
    });
    this.#threads.add(thread);
    return thread;
  }
}

/** One worker thread and the job that it runs now. */
class JobThread {
  readonly #options: LaneOptions;
  readonly #worker: Worker;
  readonly #onEnd: () => void;
  #task: Task | undefined;
  #finish: ((message: JobMessage) => void) | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(options: LaneOptions, onEnd: () => void) {
    this.#options = options;
    this.#onEnd = onEnd;
    const data: JobThreadData = { paths: options.paths, entry: options.workerUrl.href };
    // Descriptors that come from system calls of our own look unmanaged to Node, which would warn at each close.
    this.#worker = new Worker(options.workerUrl, { name: 'job', workerData: data, trackUnmanagedFds: false });
    this.#worker.on('message', (message: JobMessage) => this.#receive(message));
    this.#worker.on('error', (error) => this.#fail(error));
    this.#worker.on('exit', (code) => this.#fail(new Error(`the thread ended with ${code}`)));
  }

  get idle(): boolean {
    return this.#task === undefined && !this.#ended;
  }

  /** Runs a task to its end: committed, or cleaned away. Never rejects. */
  async run(task: Task): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.#task = task;
    const { signal } = task.options;
    const abort = () => this.cancel();
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    const { witnesses } = this.#options;
    const notes = witnesses.open();
    const message = await this.#execute(task, notes);
    signal?.removeEventListener('abort', abort);
    await this.#conclude(task, message);
    // With a lease they are in it already.
    witnesses.close(notes, message.kind === 'done' && task.options.lease === undefined ? message.roots : []);
    this.#task = undefined;
    this.#rest();
  }

  /** Asks the job to stop; a job that does not notice loses its thread. */
  cancel(): void {
    const task = this.#task;
    if (task === undefined) return;
    task.cancel.raise();
    setTimeout(() => {
      if (this.#task === task && this.#finish !== undefined) void this.end();
    }, this.#options.graceMs ?? 300).unref();
  }

  async end(): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.#leave();
    await this.#worker.terminate();
  }

  #execute(task: Task, witness: SharedArrayBuffer): Promise<JobMessage> {
    return new Promise((resolve) => {
      this.#finish = (message) => {
        this.#finish = undefined;
        resolve(message);
      };
      const request: JobRequest = { name: task.name, params: task.params, tmpDir: task.tmpDir, cancel: task.cancel.shared, witness };
      try {
        this.#worker.postMessage(request);
      } catch (error) {
        this.#finish({ kind: 'failed', error: toErrorData(error) });
      }
    });
  }

  async #conclude(task: Task, message: JobMessage): Promise<void> {
    try {
      if (task.options.signal?.aborted || task.cancel.raised) throw cancelled();
      if (message.kind !== 'done') throw message.kind === 'failed' ? fromErrorData(message.error) : cancelled();
      await this.#commit(task, message);
      await removeFolder(task.tmpDir);
      task.resolve(message.result);
    } catch (error) {
      await removeFolder(task.tmpDir);
      task.reject(error);
    }
  }

  async #commit(task: Task, { commit, roots }: Extract<JobMessage, { kind: 'done' }>): Promise<void> {
    const lease = task.options.lease?.id;
    await this.#options.gate.settled();
    if (commit === undefined && (lease === undefined || roots.length === 0)) return;
    const nodes = commit?.nodes ?? new Uint8Array();
    await this.#options.database.callWithTransfer([nodes.buffer], 'commitTrees', { nodes, roots: commit?.roots ?? [] }, roots, lease);
  }

  #receive(message: JobMessage): void {
    if (message.kind === 'progress') this.#task?.options.onProgress?.(message.progress);
    else this.#finish?.(message);
  }

  /** The thread is gone, or never came up. */
  #fail(cause: unknown): void {
    this.#leave();
    const name = this.#task?.name ?? 'a job';
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = new EngineError('Internal', 'JOB_FAILED', `${name} failed: ${reason}`, { cause });
    this.#finish?.({ kind: 'failed', error: { kind: error.kind, code: error.code, message: error.message, stack: stackOf(cause) } });
  }

  #leave(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
  }

  #rest(): void {
    if (this.#ended) return;
    this.#idleTimer = setTimeout(() => void this.end(), this.#options.idleMs ?? 1500);
    this.#idleTimer.unref();
  }
}

/** Nothing to do, in the usual case: the folder exists only when the job wrote something. */
async function removeFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

function stackOf(cause: unknown): string | undefined {
  return cause instanceof Error ? cause.stack : undefined;
}
