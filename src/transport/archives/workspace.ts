import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A folder for one operation's temporary files: on the store's file system, removed when the operation ends, and at the next start after a crash. */
export async function makeWorkspace(tmp: string, purpose: string): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmp, `${purpose}-`));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
