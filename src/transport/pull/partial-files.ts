import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { type Digest, hexOf, isHex } from '../../oci/digest.ts';
import type { Store } from '../../store/port.ts';

const dayMs = 24 * 60 * 60 * 1000;

export type PartialLimits = {
  /** How long one may lie that nobody goes on with. */
  maxAgeMs: number;
  /** What all may measure together. */
  maxBytes: number;
};

export const defaultPartialLimits: PartialLimits = { maxAgeMs: 7 * dayMs, maxBytes: 20 * 2 ** 30 };

/** Blobs that have not come whole yet: `downloads/<hex>` under the store's root, the first bytes of each. They outlive pulls and the engine. */
export class PartialFiles {
  readonly #store: Store;
  readonly #folder: string;
  readonly #limits: PartialLimits;
  readonly #busy = new Set<string>();

  constructor(store: Store, limits: PartialLimits = defaultPartialLimits) {
    this.#store = store;
    this.#folder = join(store.paths.root, 'downloads');
    this.#limits = limits;
  }

  /** Opens one to be gone on with; nobody else may have it. Its bytes are as they were left, and unchecked. */
  async open(digest: Digest): Promise<PartialFile> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const name = hexOf(digest);
    const path = join(this.#folder, name);
    this.#busy.add(name);
    try {
      const handle = await open(path, 'a+', 0o600);
      const { size } = await handle.stat();
      return {
        path,
        size,
        append: async (chunks) => {
          let left = chunks.reduce((sum, { length }) => sum + length, 0);
          for (let rest: readonly Uint8Array[] = chunks; left > 0; ) {
            const { bytesWritten } = await handle.writev(rest as Uint8Array[]);
            left -= bytesWritten;
            if (left > 0) rest = withoutFirst(rest, bytesWritten);
          }
        },
        empty: () => handle.truncate(0),
        publish: async () => {
          await handle.sync();
          const place = this.#store.blobs.path(digest);
          await rename(path, place);
          await syncFolder(join(place, '..'));
        },
        remove: () => rm(path, { force: true }),
        close: async () => {
          const { size: left } = await handle.stat();
          await handle.close();
          if (left === 0) await rm(path, { force: true });
          this.#busy.delete(name);
        },
      };
    } catch (error) {
      this.#busy.delete(name);
      throw error;
    }
  }

  /** Removes what is too old, and the oldest of what is too much. What is being gone on with stays. */
  async sweep(): Promise<{ files: number; bytes: number }> {
    const found = (await this.#list()).sort((a, b) => b.mtimeMs - a.mtimeMs);
    const removed = { files: 0, bytes: 0 };
    let kept = 0;
    for (const { name, size, mtimeMs } of found) {
      kept += size;
      if (Date.now() - mtimeMs <= this.#limits.maxAgeMs && kept <= this.#limits.maxBytes) continue;
      if (this.#busy.has(name)) continue;
      await rm(join(this.#folder, name), { force: true });
      kept -= size;
      removed.files += 1;
      removed.bytes += size;
    }
    return removed;
  }

  async #list(): Promise<{ name: string; size: number; mtimeMs: number }[]> {
    const names = await readdir(this.#folder).catch((error: unknown) => {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    });
    const found = [];
    for (const name of names) {
      if (!isHex(name)) continue;
      const { size, mtimeMs } = await stat(join(this.#folder, name)).catch((error: unknown) => {
        // It became a blob meanwhile.
        if (isErrno(error, 'ENOENT')) return { size: 0, mtimeMs: Date.now() };
        throw error;
      });
      found.push({ name, size, mtimeMs });
    }
    return found;
  }
}

export type PartialFile = {
  readonly path: string;
  /** What was there when it was opened. */
  readonly size: number;
  append(chunks: readonly Uint8Array[]): Promise<void>;
  empty(): Promise<void>;
  /** It is whole and checked: makes it durable, then a blob. */
  publish(): Promise<void>;
  remove(): Promise<void>;
  /** Nothing is left of one that got no bytes. */
  close(): Promise<void>;
};

function withoutFirst(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest = [...chunks];
  let left = count;
  for (let first = rest[0]; first !== undefined && left > 0; first = rest[0]) {
    if (first.length > left) rest[0] = first.subarray(left);
    else rest.shift();
    left -= Math.min(left, first.length);
  }
  return rest;
}

/** The name too: after a power cut a rename may vanish though the data survived. */
async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}
