import { randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../../oci/digest.ts';
import type { RunMount } from '../graph/vertex.ts';
import { Semaphore } from '../solver/limits.ts';

type CacheMount = Extract<RunMount, { kind: 'cache' }>;
export type Held = { readonly path: string; readonly release: () => Promise<void> };

/**
 * The directories of `RUN --mount=type=cache`: `<directory>/<digest of the id>/<number>`. Number 0 is the one that all share; `private` steps that run at the
 * same time take further ones, and `locked` ones wait for each other. They outlive builds, failed ones too.
 */
export class CacheMounts {
  readonly #directory: string;
  readonly #tmp: string;
  readonly #locks = new Map<string, Semaphore>();
  readonly #taken = new Map<string, Set<number>>();

  constructor(options: { directory: string; tmp: string }) {
    this.#directory = options.directory;
    this.#tmp = options.tmp;
  }

  async acquire(mount: CacheMount, signal: AbortSignal): Promise<Held> {
    const key = sha256(mount.id).slice(0, 32);
    if (mount.sharing === 'shared') return this.#open(mount, key, 0);
    if (mount.sharing === 'private') return this.#acquireFree(mount, key);
    const lock = this.#locks.get(key) ?? new Semaphore(1);
    this.#locks.set(key, lock);
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const { promise: entered, resolve: enter, reject } = Promise.withResolvers<void>();
    lock
      .run(signal, () => {
        enter();
        return released;
      })
      .catch(reject);
    await entered;
    try {
      return await this.#open(mount, key, 0, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** An empty directory for a step's own use. */
  async scratch(): Promise<Held> {
    const path = join(this.#tmp, `scratch-${randomUUID()}`);
    await mkdir(path, { mode: 0o1777 });
    await chmod(path, 0o1777);
    return { path, release: () => rm(path, { recursive: true, force: true }) };
  }

  async #acquireFree(mount: CacheMount, key: string): Promise<Held> {
    const taken = this.#taken.get(key) ?? new Set<number>();
    this.#taken.set(key, taken);
    let number = 0;
    while (taken.has(number)) number++;
    taken.add(number);
    const free = () => void taken.delete(number);
    try {
      return await this.#open(mount, key, number, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  async #open(mount: CacheMount, key: string, number: number, release?: () => void): Promise<Held> {
    const path = join(this.#directory, key, String(number));
    await mkdir(join(this.#directory, key), { recursive: true, mode: 0o700 });
    // Owner and mode are those of the first use; later uses with others share it as it is.
    const made = await mkdir(path).then(
      () => true,
      async (error: unknown) => {
        await readdir(path).catch(() => Promise.reject(error));
        return false;
      },
    );
    if (made) {
      await chown(path, mount.uid, mount.gid);
      await chmod(path, mount.mode);
    }
    return { path, release: async () => release?.() };
  }
}
