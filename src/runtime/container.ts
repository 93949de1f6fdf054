import type { ContainerRecord } from './port.ts';
import type { ProcessId } from './processes.ts';

/** What runs for a container, so that a later engine knows it again. */
export type Run = {
  process: ProcessId;
  monitor: ProcessId;
  /** Process numbers of another boot mean nothing. */
  bootId: string;
  runtime: string;
};

/** Written before the step that it names and taken away after: what a crash in between left is repaired by the next engine. */
export type Intent =
  /** `run`: it is to be started and removes itself, and nobody else would if the start never came. */
  | { action: 'run' | 'start'; atMs: number }
  /** `volumes`: names of anonymous ones that are being made for it. */
  | { action: 'create'; atMs: number; volumes: string[] }
  /** `volumes`: its anonymous ones go with it. */
  | { action: 'remove'; atMs: number; volumes: boolean };

export type Exit = { exitCode: number; error?: string | undefined };

/** A container in memory: its record, and who waits for it. */
export class Container {
  record: ContainerRecord;
  run: Run | undefined;
  intent: Intent | undefined;
  /** Of the terminal, asked before it was there. */
  size: { rows: number; columns: number } | undefined;
  exits = 0;
  lastExit: Exit | undefined;
  removed = false;
  /** A removal that was asked for and is under way. */
  removal: Promise<void> | undefined;
  /** While it is being restarted its end is no reason to remove it. */
  keep = false;
  /** A descriptor for the process, open while it runs. */
  pidfd: number | undefined;
  monitorWatch: { ended: Promise<void>; close(): void } | undefined;
  restartTimer: NodeJS.Timeout | undefined;
  backoffMs = 0;
  /** Whether it has been told of this run that the kernel killed in it. */
  oomTold = false;
  /** Under way after an end: until then its ports and its name are not free. */
  cleaning: Promise<void> | undefined;
  /** Called when the monitor takes connections and the process has not begun. */
  readonly onCreated = new Set<() => void>();
  readonly #watchers = new Set<() => void>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(record: ContainerRecord) {
    this.record = record;
  }

  get id(): string {
    return this.record.id;
  }

  /** Whether it is to be removed by itself and so frees its name soon. */
  get isGoing(): boolean {
    const { status } = this.record.state;
    return status === 'removing' || (status === 'exited' && !this.keep && (this.record.hostConfig.AutoRemove ?? false));
  }

  /** One at a time, in order of asking. Not re-entrant. */
  exclusive<T>(use: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(use);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** Tells those who wait that something is different. */
  changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Resolves with the first defined answer, now or after a change. */
  waitFor<T>(look: () => T | undefined, signal?: AbortSignal): Promise<T> {
    const now = look();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const finish = () => {
        this.#watchers.delete(watcher);
        signal?.removeEventListener('abort', abort);
      };
      const watcher = () => {
        const value = look();
        if (value === undefined) return;
        finish();
        resolve(value);
      };
      const abort = () => {
        finish();
        reject(signal?.reason);
      };
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      this.#watchers.add(watcher);
      signal?.addEventListener('abort', abort);
    });
  }
}
