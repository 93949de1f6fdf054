import type { TreeId } from '../../store/model.ts';
import type { JobOptions } from '../../store/port.ts';
import type { ProjectionInfo } from '../erofs/format.ts';

/** A tree's derived form, ready to be an overlay's lower. */
export type Lower = {
  readonly info: ProjectionInfo;
  readonly directory: string;
  /** Data-only lower, for a form without content. */
  readonly data?: string | undefined;
};

/** How a driver gives a tree as a directory. Derived and disposable: what is missing is made again. */
export interface Projections {
  /** Makes the derived form when it is missing. Idempotent; one at a time for a tree. */
  ensure(tree: TreeId, options?: JobOptions): Promise<void>;
  /** The derived form as a directory, made and mounted when it is not. */
  lower(tree: TreeId, options?: JobOptions): Promise<Lower>;
  /** Removes a tree's derived form; false when a snapshot still needs it. */
  discard(tree: TreeId): Promise<boolean>;
  /** All there are: bytes of blocks, and when each was made or last used. */
  list(): Promise<{ tree: TreeId; bytes: number; lastUsedAtMs: number }[]>;
  close(): Promise<void>;
}

/** Runs one piece of work for a key at a time: who comes while it runs waits for it, and does it himself when the first one gave up. */
export class SingleFlight<K> {
  readonly #running = new Map<K, Promise<void>>();

  async run(key: K, signal: AbortSignal | undefined, work: () => Promise<void>): Promise<void> {
    for (let running = this.#running.get(key); running !== undefined; running = this.#running.get(key)) {
      try {
        await running;
        return;
      } catch {
        // The other's failure, or cancellation, is the other's: try on one's own account.
        signal?.throwIfAborted();
      }
    }
    const own = work();
    this.#running.set(key, own);
    try {
      await own;
    } finally {
      if (this.#running.get(key) === own) this.#running.delete(key);
    }
  }
}
