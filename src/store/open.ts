import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { StoredActions } from './actions.ts';
import { FsBlobs } from './blobs.ts';
import { StoreSweeper } from './collect/sweeper.ts';
import { DatabaseClient } from './database/client.ts';
import { StoredImages } from './images.ts';
import { JobPool } from './jobs/pool.ts';
import { StoredLayers } from './layers.ts';
import { StoredLeases } from './leases.ts';
import { createLayout, emptyTmp, storePaths } from './paths.ts';
import type { Store } from './port.ts';
import { checkVersion, lockRoot } from './root-lock.ts';
import { JobTrees } from './trees.ts';
import { BatchedUses } from './uses.ts';

export type OpenStoreOptions = {
  /** The engine's root directory; made when it is missing. */
  root: string;
  /** The entry of job threads: src/daemon/worker.ts, or its bundled form. */
  workerUrl: URL;
  /** The entry of the database thread: src/store/database/thread.ts, or its bundled form. */
  databaseUrl: URL;
  /** Job threads at once; 2 when not given. */
  maxJobs?: number | undefined;
  /** How long an idle job thread waits for more, in milliseconds; 1,500 when not given. */
  jobIdleMs?: number | undefined;
};

/**
 * Opens the store under a root, for one process at a time. Conflict `ROOT_IN_USE` when another one has it; Unsupported `STORE_NEWER` when
 * a newer engine wrote it. Leftovers of work that a crash cut off are removed.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const paths = storePaths(resolve(options.root));
  mkdirSync(paths.root, { recursive: true, mode: 0o711 });
  const unlock = lockRoot(paths.root);
  try {
    checkVersion(paths.root);
    createLayout(paths);
    emptyTmp(paths);
    const database = await DatabaseClient.open(options.databaseUrl, paths.database);
    try {
      await database.call('removeExpiredLeases', Date.now());
      const jobs = new JobPool({ workerUrl: options.workerUrl, paths, database, maxJobs: options.maxJobs, idleMs: options.jobIdleMs });
      const trees = await JobTrees.open(jobs, database, paths);
      const uses = new BatchedUses(database);
      const leases = new StoredLeases(database);
      const images = new StoredImages(database, trees, uses);
      const close = once(async () => {
        leases.close();
        await jobs.close();
        await uses.flush();
        await database.close();
        unlock();
      });
      const actions = new StoredActions(database);
      const layers = new StoredLayers(database);
      const blobs = new FsBlobs(paths, database);
      const sweeper = new StoreSweeper({ database, jobs, leases, blobs, empty: trees.empty.id });
      return { paths, jobs, trees, images, blobs, layers, leases, uses, actions, sweeper, close, [Symbol.asyncDispose]: close };
    } catch (error) {
      await database.close();
      throw error;
    }
  } catch (error) {
    unlock();
    throw error;
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= work();
    return running;
  };
}
