import { stat } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import type { Digest, Hex } from '../../oci/digest.ts';
import type { FsBlobs } from '../blobs.ts';
import type { DatabaseClient } from '../database/client.ts';
import type { JobPool } from '../jobs/pool.ts';
import type { StoredLeases } from '../leases.ts';
import type { TreeId } from '../model.ts';
import type { Sweep, Sweeper } from '../port.ts';
import type { Swept } from './sweep-objects.ts';

/** Rows that one transaction removes: the database thread is busy with it for some milliseconds. */
const rowsAtOnce = 500;
const blobsAtOnce = 200;
const youngBlobMs = 10 * 60_000;

type Parts = { database: DatabaseClient; jobs: JobPool; leases: StoredLeases; blobs: FsBlobs; empty: TreeId };

/**
 * Removes what no record refers to, from the top: trees, then the nodes that no tree reaches, then the objects that no node names. Safe beside everything
 * that runs (docs/adr/0140): work that goes on holds leases, tells what it relies on, and is looked at again after each step.
 */
export class StoreSweeper implements Sweeper {
  readonly #parts: Parts;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** One at a time: a second call waits for the first. */
  sweep(options: Parameters<Sweeper['sweep']>[0] = {}): Promise<Sweep> {
    const mine = this.#last.then(() => this.#sweep(options));
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /** Blobs that no image, layer or lease names. */
  async #sweepBlobs(signal: AbortSignal | undefined): Promise<{ blobs: number; bytes: number }> {
    const { database, blobs } = this.#parts;
    const all = await blobs.list();
    const { leased } = await database.call('blobsInUse', all);
    const named = await this.#parts.jobs.run<Digest[]>('store.namedBlobs', undefined, { lane: 'collect', signal });
    const used = new Set([...leased, ...named]);
    const swept = { blobs: 0, bytes: 0 };
    const unused = all.filter((digest) => !used.has(digest));
    for (let from = 0; from < unused.length; from += blobsAtOnce) {
      signal?.throwIfAborted();
      const batch = unused.slice(from, from + blobsAtOnce);
      const files = await Promise.all(batch.map((digest) => stat(blobs.path(digest)).catch(() => undefined)));
      // A job writes a blob before anything names it.
      const settled = batch.filter((_, index) => Date.now() - (files[index]?.mtimeMs ?? 0) > youngBlobMs);
      const removed = new Set(await blobs.remove(settled));
      for (const [index, digest] of batch.entries()) {
        if (!removed.has(digest)) continue;
        swept.blobs++;
        swept.bytes += (files[index]?.blocks ?? 0) * 512;
      }
    }
    return swept;
  }

  async forgetResults(keys: readonly Hex[], sinceMs: number): Promise<boolean> {
    return (await this.#parts.database.call('removeActions', keys, sinceMs)) === keys.length;
  }

  async forgetLayer(digest: Digest): Promise<void> {
    await this.#parts.database.call('removeLayer', digest);
  }

  async #sweep({ kept, share = 1, signal, onProgress }: NonNullable<Parameters<Sweeper['sweep']>[0]>): Promise<Sweep> {
    const { database, jobs, leases, empty } = this.#parts;
    const { witnesses, gate } = jobs;
    await leases.removeExpired();
    await database.call('beginCollection');
    using _watch = witnesses.watch();
    const run = <R>(name: string, params: unknown, report?: (progress: unknown) => void) =>
      jobs.run<R>(name, params, { lane: 'collect', signal, onProgress: report });
    const inBatches = async (operation: 'removeTrees' | 'removeNodes', packed: Uint8Array): Promise<number> => {
      let removed = 0;
      for (let from = 0; from < packed.length; from += 32 * rowsAtOnce) {
        signal?.throwIfAborted();
        const startedAt = performance.now();
        removed += await database.call(operation, packed.slice(from, from + 32 * rowsAtOnce), witnesses.all);
        const spentMs = performance.now() - startedAt;
        if (share < 1) await setTimeout(spentMs / share - spentMs);
      }
      return removed;
    };
    try {
      const roots = [empty, ...((await kept?.()) ?? []), ...witnesses.recent()];
      const trees = await inBatches('removeTrees', await run('store.unusedTrees', { kept: roots }));
      const nodes = await inBatches('removeNodes', await run('store.unusedNodes', { notes: witnesses.all }));
      const { blobs, bytes: blobBytes } = await this.#sweepBlobs(signal);
      const report = (progress: unknown) => onProgress?.({ trees, nodes, blobs, ...(progress as Swept) });
      const swept = await run<Swept>('store.sweepObjects', { notes: witnesses.all, gate: gate.shared, share }, report);
      return { trees, nodes, blobs, objects: swept.objects, bytes: swept.bytes + blobBytes };
    } finally {
      // A thread that was ended in the middle cannot do it, and commits would wait for ever.
      gate.lower();
      await database.call('endCollection');
    }
  }
}
