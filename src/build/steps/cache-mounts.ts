import { randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mountFilesystem, unmount } from '../../kernel/mount.ts';
import { formatPlatform, hostPlatform } from '../../oci/platform.ts';
import type { TreeRef } from '../../store/model.ts';
import type { MountFolders, MountName } from '../cache/mount-folders.ts';
import type { RunMount } from '../graph/vertex.ts';
import { Semaphore } from '../solver/limits.ts';

type CacheMount = Extract<RunMount, { kind: 'cache' }>;
/** MOUNT_ATTR_NOSUID and NODEV. */
const attributes = 2 | 4;
type Fill = (path: string) => Promise<void>;
export type Held = { readonly path: string; readonly release: () => Promise<void> };

/** What a cache that is new here begins with, of another host; undefined when there is nothing. */
export type MountSource = (mount: MountName, signal: AbortSignal) => Promise<TreeRef | undefined>;

/**
 * The directories of `RUN --mount=type=cache`. All share number 0; `private` steps that run at the same time take further ones, and `locked` ones wait for each other. They outlive builds, failed
 * ones too.
 */
export class CacheMounts {
  readonly folders: MountFolders;
  readonly #memory: string;
  readonly #checkout: (tree: TreeRef, path: string, signal: AbortSignal) => Promise<void>;
  readonly #sources = new Set<MountSource>();
  readonly #locks = new Map<string, Semaphore>();
  readonly #taken = new Map<string, Set<number>>();
  readonly #opening = new Map<string, Promise<unknown>>();
  readonly #users = new Map<string, number>();

  /** `memory`: where file systems in memory are mounted while steps run. */
  constructor(options: {
    folders: MountFolders;
    memory: string;
    checkout: (tree: TreeRef, path: string, signal: AbortSignal) => Promise<void>;
  }) {
    this.folders = options.folders;
    this.#memory = options.memory;
    this.#checkout = options.checkout;
  }

  /** Caches that are new while the source is there begin with what it has. */
  offer(source: MountSource): Disposable {
    this.#sources.add(source);
    return { [Symbol.dispose]: () => void this.#sources.delete(source) };
  }

  isInUse(key: string): boolean {
    return (this.#users.get(key) ?? 0) > 0;
  }

  /** `fill` is called with the folder of a cache that is new; when it fails, the cache stays new. `platform`: this host's when not given. */
  async acquire(
    mount: CacheMount,
    signal: AbortSignal,
    fill: Fill = async () => undefined,
    platform: string = formatPlatform(hostPlatform()),
  ): Promise<Held> {
    const name = { id: mount.id, platform };
    const key = this.folders.keyOf(name);
    if (mount.sharing === 'shared') return this.#open({ mount, name, key, number: 0, fill, signal });
    if (mount.sharing === 'private') return this.#acquireFree({ mount, name, key, fill, signal });
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
    return this.#open({ mount, name, key, number: 0, fill, signal }, release);
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

  async #acquireFree(opening: Omit<Opening, 'number'>): Promise<Held> {
    const taken = this.#taken.get(opening.key) ?? new Set<number>();
    this.#taken.set(opening.key, taken);
    let number = 0;
    while (taken.has(number)) number++;
    taken.add(number);
    return this.#open({ ...opening, number }, () => void taken.delete(number));
  }

  async #open(opening: Opening, release: () => void = () => undefined): Promise<Held> {
    const { key, number } = opening;
    const path = this.folders.path(key, number);
    const startedAt = performance.now();
    this.#users.set(key, (this.#users.get(key) ?? 0) + 1);
    const leave = () => {
      this.#users.set(key, (this.#users.get(key) ?? 1) - 1);
      release();
    };
    try {
      await this.#made(opening, path);
    } catch (error) {
      leave();
      throw error;
    }
    return {
      path,
      release: async () => {
        leave();
        // A number in a listing is not worth a step.
        await this.#used(opening, Math.round(performance.now() - startedAt)).catch(() => undefined);
      },
    };
  }

  /** Whoever comes second waits until the cache is filled, and fills it when the first one was cancelled. */
  async #made(opening: Opening, path: string): Promise<void> {
    for (let making = this.#opening.get(path); making !== undefined; making = this.#opening.get(path)) {
      await making.catch(() => undefined);
      opening.signal.throwIfAborted();
    }
    const making = this.#make(opening);
    this.#opening.set(path, making);
    await making.finally(() => this.#opening.delete(path));
  }

  async #make({ mount, name, key, number, fill, signal }: Opening): Promise<void> {
    await this.#used({ mount, name, key }, 0);
    await this.folders.add(key, number, async (path) => {
      if (!(await this.#bring(name, path, number, signal))) await fill(path);
      // Owner and mode are those of the first use; later uses with others share it as it is.
      await chown(path, mount.uid, mount.gid);
      await chmod(path, mount.mode);
    });
  }

  async #bring(name: MountName, path: string, number: number, signal: AbortSignal): Promise<boolean> {
    if (number > 0) return false;
    for (const source of this.#sources) {
      const tree = await source(name, signal);
      if (tree === undefined) continue;
      await this.#checkout(tree, path, signal);
      return true;
    }
    return false;
  }

  #used({ mount, name, key }: Pick<Opening, 'mount' | 'name' | 'key'>, ranMs: number): Promise<void> {
    const now = Date.now();
    return this.folders.change(key, (record) => ({
      version: 1,
      ...name,
      sharing: mount.sharing,
      createdAtMs: record?.createdAtMs ?? now,
      lastUsedAtMs: now,
      uses: (record?.uses ?? 0) + (ranMs === 0 ? 1 : 0),
      costMs: Math.max(record?.costMs ?? 0, ranMs),
      captured: record?.captured,
    }));
  }
}

type Opening = {
  readonly mount: CacheMount;
  readonly name: MountName;
  readonly key: string;
  readonly number: number;
  readonly fill: Fill;
  readonly signal: AbortSignal;
};
