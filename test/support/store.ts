import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OpenStoreOptions, openStore } from '../../src/store/open.ts';
import type { Store } from '../../src/store/port.ts';

export const workerUrl = new URL('../../src/daemon/worker.ts', import.meta.url);
export const databaseUrl = new URL('../../src/store/database/thread.ts', import.meta.url);

/** A store in a folder of its own (or in `root`), closed and removed at the end of the test: `await using store = await openStoreForTest()`. */
export async function openStoreForTest(options: Partial<OpenStoreOptions> = {}): Promise<Store> {
  const root = options.root ?? mkdtempSync(join(tmpdir(), 'slipway-store-'));
  const store = await openStore({ workerUrl, databaseUrl, jobIdleMs: 2000, ...options, root });
  const dispose = async () => {
    await store.close();
    if (options.root === undefined) rmSync(root, { recursive: true, force: true });
  };
  return { ...store, [Symbol.asyncDispose]: dispose };
}
