import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { databaseEntry, workerEntry } from '../src/daemon/entries.ts';
import { openStore } from '../src/store/open.ts';
import type { Store } from '../src/store/port.ts';

/** A store on a temporary directory, as the daemon opens it. */
export async function withStore<T>(use: (store: Store) => Promise<T>): Promise<T> {
  const root = mkdtempSync(join(tmpdir(), 'slipway-bench-'));
  const store = await openStore({ root, workerUrl: workerEntry, databaseUrl: databaseEntry });
  try {
    return await use(store);
  } finally {
    await store.close();
    rmSync(root, { recursive: true, force: true });
  }
}

/** Reads every file once, so that a cold run measures the engine and not what the page cache happens to hold. */
export function warmPageCache(directory: string): void {
  execFileSync('sh', ['-c', 'find "$0" -type f -print0 | xargs -0 cat > /dev/null', directory]);
}
