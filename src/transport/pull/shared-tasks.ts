import type { TransferProgress } from '../port.ts';

/** What a task gave, kept for those who wait until `release`. */
export type Held<T> = { value: T; release(): Promise<void> };
export type TaskOptions = { signal: AbortSignal; report(progress: TransferProgress): void };
export type JoinOptions<T> = {
  signal: AbortSignal | undefined;
  onProgress(progress: TransferProgress): void;
  /** Takes what is needed of the value before it is released. */
  take(value: T): Promise<void>;
};

type Task<T> = {
  readonly held: Promise<Held<T>>;
  readonly stop: AbortController;
  readonly listeners: Set<(progress: TransferProgress) => void>;
  waiting: number;
};

/** Work that several want at the same time and that is done once. It is cancelled when the last of them no longer wants it. */
export class SharedTasks<T> {
  readonly #tasks = new Map<string, Task<T>>();
  readonly #tails = new Map<string, Promise<void>>();

  /** Joins the task of this key, or starts it after what was started at the same place before. */
  async join(place: string, key: string, start: (options: TaskOptions) => Promise<Held<T>>, options: JoinOptions<T>): Promise<T> {
    options.signal?.throwIfAborted();
    const task = this.#tasks.get(key) ?? this.#start(place, key, start);
    task.waiting += 1;
    task.listeners.add(options.onProgress);
    try {
      const { value } = await unlessAborted(task.held, options.signal);
      await options.take(value);
      return value;
    } finally {
      task.listeners.delete(options.onProgress);
      task.waiting -= 1;
      if (task.waiting === 0) await this.#end(key, task, options.signal?.reason);
    }
  }

  #start(place: string, key: string, start: (options: TaskOptions) => Promise<Held<T>>): Task<T> {
    const stop = new AbortController();
    const listeners: Task<T>['listeners'] = new Set();
    const report = (progress: TransferProgress) => {
      for (const listener of listeners) listener(progress);
    };
    const held = (this.#tails.get(place) ?? Promise.resolve()).then(() => {
      stop.signal.throwIfAborted();
      return start({ signal: stop.signal, report });
    });
    const tail = held.then(
      () => {},
      () => {},
    );
    this.#tails.set(place, tail);
    void tail.then(() => {
      if (this.#tails.get(place) === tail) this.#tails.delete(place);
    });
    const task = { held, stop, listeners, waiting: 0 };
    this.#tasks.set(key, task);
    return task;
  }

  /** Nobody waits any more: stops what still runs and waits for it, so that nothing goes on behind the last one's back. */
  async #end(key: string, task: Task<T>, reason: unknown): Promise<void> {
    if (this.#tasks.get(key) === task) this.#tasks.delete(key);
    task.stop.abort(reason);
    const held = await task.held.catch(() => undefined);
    await held?.release();
  }
}

function unlessAborted<V>(promise: Promise<V>, signal: AbortSignal | undefined): Promise<V> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
