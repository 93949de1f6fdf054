import { randomBytes } from 'node:crypto';
import { EngineError } from '../base/errors.ts';
import type { DatabaseClient } from './database/client.ts';
import { treeNotFound } from './jobs/node-source.ts';
import type { TreeId } from './model.ts';
import type { Lease, Leases } from './port.ts';

const defaultTtlMs = 60 * 60 * 1000;

/** Leases in the metadata database. While the engine lives it extends those that are held; after a crash they run out by themselves. */
export class StoredLeases implements Leases {
  readonly #database: DatabaseClient;
  readonly #held = new Set<HeldLease>();

  constructor(database: DatabaseClient) {
    this.#database = database;
  }

  async acquire({ ttlMs = defaultTtlMs, purpose }: { purpose: string; ttlMs?: number }): Promise<Lease> {
    const id = randomBytes(16).toString('hex');
    await this.#database.call('addLease', id, purpose, Date.now() + ttlMs);
    const lease = new HeldLease(this.#database, id, ttlMs, () => this.#held.delete(lease));
    this.#held.add(lease);
    return lease;
  }

  /** Forgets leases whose time is over. Those that are held in this process are not, whatever the clock says. */
  async removeExpired(): Promise<void> {
    await Promise.all([...this.#held].map((lease) => lease.extend()));
    await this.#database.call('removeExpiredLeases', Date.now());
  }

  /** Stops extending; what is still held runs out by itself. */
  close(): void {
    for (const lease of this.#held) lease.stop();
    this.#held.clear();
  }
}

class HeldLease implements Lease {
  readonly id: string;
  readonly #database: DatabaseClient;
  readonly #ttlMs: number;
  readonly #timer: NodeJS.Timeout;
  readonly #onRelease: () => void;
  #released = false;

  constructor(database: DatabaseClient, id: string, ttlMs: number, onRelease: () => void) {
    this.id = id;
    this.#database = database;
    this.#onRelease = onRelease;
    this.#ttlMs = ttlMs;
    // A failed extension is made up for by the next one; two fit into the lease's time.
    this.#timer = setInterval(() => void this.extend().catch(() => {}), ttlMs / 3);
    this.#timer.unref();
  }

  async extend(): Promise<void> {
    await this.#database.call('extendLease', this.id, Date.now() + this.#ttlMs);
  }

  async add(kind: 'tree' | 'image' | 'blob', key: string): Promise<void> {
    if (!(await this.#database.call('addLeaseItem', this.id, kind, key))) throw treeNotFound(key);
  }

  tryAdd(tree: TreeId): Promise<boolean> {
    return this.#database.call('addLeaseItem', this.id, 'tree', tree);
  }

  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    this.stop();
    this.#onRelease();
    await this.#database.call('removeLease', this.id).catch((error: unknown) => {
      // On a full disk it runs out by itself. What was to be told, and what is to be removed next, must not be lost over it.
      if (!(error instanceof EngineError) || error.kind !== 'NoSpace') throw error;
    });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
