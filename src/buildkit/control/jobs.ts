import { EngineError } from '../../base/errors.ts';
import type { BuildResult } from '../../build/port.ts';
import type { ExportRequest } from '../port.ts';
import type { Session } from '../session/sessions.ts';
import { BuildProgress } from './progress.ts';

/** How long a call waits for the solve that it belongs to: client libraries send both at once. */
const arrivalMs = 10_000;
/** How long a finished build's progress stays for a watcher that has not come yet. */
const lingerMs = 15_000;
const maxJobs = 1000;

/** What the client's own frontend function made of the build: names of results, '' for one without a platform; or why it failed. */
export type GatewayReturn = { refs: ReadonlyMap<string, string> } | { error: unknown };

/** One build of a client, from its solve to its end. */
export class BuildJob {
  readonly ref: string;
  readonly exporters: readonly ExportRequest[];
  readonly session: Session;
  readonly progress: BuildProgress;
  /** Aborts when the client went away or the build is over. */
  readonly signal: AbortSignal;
  /** What the client allows the steps (`--allow`). */
  readonly entitlements: readonly string[];
  readonly results = new Map<string, BuildResult>();
  /** Why the frontend failed last. The client hands it back as text of its own. */
  failure: unknown;
  readonly returned: Promise<GatewayReturn>;
  readonly #return: (value: GatewayReturn) => void;

  constructor(options: {
    ref: string;
    exporters: readonly ExportRequest[];
    session: Session;
    progress: BuildProgress;
    signal: AbortSignal;
    entitlements: readonly string[];
  }) {
    this.ref = options.ref;
    this.exporters = options.exporters;
    this.session = options.session;
    this.progress = options.progress;
    this.signal = options.signal;
    this.entitlements = options.entitlements;
    const { promise, resolve } = Promise.withResolvers<GatewayReturn>();
    this.returned = promise;
    this.#return = resolve;
  }

  finishGateway(value: GatewayReturn): void {
    this.#return(value);
  }

  result(ref: string): BuildResult {
    const result = this.results.get(ref);
    if (result === undefined) throw new EngineError('NotFound', 'RESULT_NOT_FOUND', `no such ref: ${ref.slice(0, 100)}`);
    return result;
  }
}

/** What is told of a build may be asked for before the build has begun. */
export class BuildJobs {
  readonly #progress = new Map<string, BuildProgress>();
  readonly #jobs = new Map<string, BuildJob>();
  readonly #waiting = new Set<() => void>();

  /** Conflict `BUILD_EXISTS`. */
  begin(ref: string): BuildProgress {
    if (ref === '' || ref.length > 256) throw new EngineError('InvalidArgument', 'BUILD_INVALID', 'the build has no proper ref');
    if (this.#progress.has(ref)) throw new EngineError('Conflict', 'BUILD_EXISTS', `the build ${ref} already exists`);
    if (this.#progress.size >= maxJobs) throw new EngineError('Unavailable', 'BUILDS_TOO_MANY', `there are ${maxJobs} builds already`);
    const progress = new BuildProgress(ref);
    this.#progress.set(ref, progress);
    this.#announce();
    return progress;
  }

  open(job: BuildJob): void {
    this.#jobs.set(job.ref, job);
    this.#announce();
  }

  end(ref: string): void {
    this.#jobs.delete(ref);
    const progress = this.#progress.get(ref);
    progress?.end();
    setTimeout(() => {
      if (this.#progress.get(ref) === progress) this.#progress.delete(ref);
    }, lingerMs).unref();
  }

  counts(ref: string): { cached: number; total: number; completed: number; warnings: number } | undefined {
    return this.#progress.get(ref);
  }

  /** What a build that still runs has made. NotFound `RESULT_NOT_FOUND`. */
  result({ job, ref }: { job: string; ref: string }): BuildResult {
    const open = this.#jobs.get(job);
    if (open === undefined) throw new EngineError('NotFound', 'RESULT_NOT_FOUND', 'the build whose result is wanted is over');
    return open.result(ref);
  }

  job(ref: string, signal: AbortSignal): Promise<BuildJob> {
    return this.#await(() => this.#jobs.get(ref), ref, signal);
  }

  progress(ref: string, signal: AbortSignal): Promise<BuildProgress> {
    return this.#await(() => this.#progress.get(ref), ref, signal);
  }

  async #await<T>(find: () => T | undefined, ref: string, signal: AbortSignal): Promise<T> {
    const late = AbortSignal.timeout(arrivalMs);
    const stop = AbortSignal.any([signal, late]);
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (stop.aborted)
        throw signal.aborted ? signal.reason : new EngineError('NotFound', 'BUILD_NOT_FOUND', `no such job ${ref.slice(0, 100)}`);
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          stop.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        stop.addEventListener('abort', wake);
      });
    }
  }

  #announce(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
