import type { DatabaseClient } from './database/client.ts';
import type { UseKind, Uses } from './port.ts';

const flushEveryMs = 5000;

/** Last uses, gathered in memory and written together: a start or a cache hit never waits for a disk. */
export class BatchedUses implements Uses {
  readonly #database: DatabaseClient;
  #pending = new Map<string, { kind: UseKind; key: string; atMs: number }>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(database: DatabaseClient) {
    this.#database = database;
  }

  async touch(kind: UseKind, key: string): Promise<void> {
    this.#pending.set(`${kind} ${key}`, { kind, key, atMs: Date.now() });
    // Failing to note a use must not fail the use; it is noted again at the next one.
    this.#timer ??= setTimeout(() => void this.flush().catch(() => {}), flushEveryMs);
    this.#timer.unref();
  }

  async last(kind: UseKind, key: string): Promise<number | undefined> {
    return this.#pending.get(`${kind} ${key}`)?.atMs ?? this.#database.call('lastUse', kind, key);
  }

  /** Writes what is pending, after what is being written. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const uses = [...this.#pending.values()];
    const write = this.#writing.then(() => (uses.length === 0 ? undefined : this.#database.call('recordUses', uses)));
    this.#pending = new Map();
    this.#writing = write.catch(() => {});
    return write;
  }
}
