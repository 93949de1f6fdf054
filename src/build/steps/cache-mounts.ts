import { randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mountFilesystem, unmount } from '../../kernel/mount.ts';
import { sha256 } from '../../oci/digest.ts';
import type { RunMount } from '../graph/vertex.ts';
import { Semaphore } from '../solver/limits.ts';

type CacheMount = Extract<RunMount, { kind: 'cache' }>;
/** MOUNT_ATTR_NOSUID and NODEV. */
const attributes = 2 | 4;
type Fill = (path: string) => Promise<void>;
export type Held = { readonly path: string; readonly release: () => Promise<void> };

/**
 * The directories of `RUN --mount=type=cache`: `<directory>/<digest of the id>/<number>`. Number 0 is the one that all share; `private` steps that run at the
 * same time take further ones, and `locked` ones wait for each other. They outlive builds, failed ones too.
 */
export class CacheMounts {
  readonly #directory: string;
  readonly #memory: string;
  readonly #locks = new Map<string, Semaphore>();
  readonly #taken = new Map<string, Set<number>>();

  /** `memory`: where file systems in memory are mounted while steps run. */
  constructor(options: { directory: string; memory: string }) {
    this.#directory = options.directory;
    this.#memory = options.memory;
  }

  /** `fill` is called with the folder of a cache that is new; when it fails, the cache stays new. */
  async acquire(mount: CacheMount, signal: AbortSignal, fill: Fill = async () => undefined): Promise<Held> {
    const key = sha256(mount.id).slice(0, 32);
    if (mount.sharing === 'shared') return this.#open(mount, key, 0, fill);
    if (mount.sharing === 'private') return this.#acquireFree(mount, key, fill);
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
      return await this.#open(mount, key, 0, fill, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** An empty directory in memory for a step's own use, of at most `sizeBytes`. */
  async scratch(sizeBytes: number | undefined): Promise<Held> {
    const path = join(this.#memory, `scratch-${randomUUID().slice(0, 8)}`);
    await mkdir(path, { recursive: true, mode: 0o700 });
    const remove = () => rm(path, { recursive: true, force: true });
    try {
      const size = sizeBytes === undefined || sizeBytes === 0 ? [] : [['size', String(sizeBytes)] as const];
      mountFilesystem({ type: 'tmpfs', source: 'slipway-step', target: path, attributes, options: [['mode', '1777'], ...size] });
    } catch (error) {
      await remove();
      throw error;
    }
    return {
      path,
      release: async () => {
        unmount(path, { detach: true });
        await remove();
      },
    };
  }

  async #acquireFree(mount: CacheMount, key: string, fill: Fill): Promise<Held> {
    const taken = this.#taken.get(key) ?? new Set<number>();
    this.#taken.set(key, taken);
    let number = 0;
    while (taken.has(number)) number++;
    taken.add(number);
    const free = () => void taken.delete(number);
    try {
      return await this.#open(mount, key, number, fill, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  async #open(mount: CacheMount, key: string, number: number, fill: Fill, release?: () => void): Promise<Held> {
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
      try {
        await fill(path);
      } catch (error) {
        await rm(path, { recursive: true, force: true });
        throw error;
      }
      await chown(path, mount.uid, mount.gid);
      await chmod(path, mount.mode);
    }
    return { path, release: async () => release?.() };
  }
}
