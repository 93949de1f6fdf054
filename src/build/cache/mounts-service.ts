import { chmod, rename, rm } from 'node:fs/promises';
import { EngineError } from '../../base/errors.ts';
import { formatPlatform, hostPlatform } from '../../oci/platform.ts';
import type { TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { Archives } from '../../transport/port.ts';
import type { CacheMounts } from '../steps/cache-mounts.ts';
import type { MountRecord } from './mount-folders.ts';
import type { BuildCacheMount, BuildCacheMounts } from './port.ts';

type Parts = {
  readonly store: Pick<Store, 'trees' | 'leases'>;
  readonly archives: Pick<Archives, 'untar' | 'exportTree'>;
  readonly mounts: CacheMounts;
};

/** A cache that is written to while it is read is read again so often. */
const captureAttempts = 3;

/** What there is of cache mounts, outside of builds. */
export class CacheMountsService implements BuildCacheMounts {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async list(): Promise<BuildCacheMount[]> {
    const { folders } = this.#parts.mounts;
    const listed: BuildCacheMount[] = [];
    for (const key of await folders.keys()) {
      const record = await folders.record(key);
      if (record !== undefined) listed.push(await this.#describe(key, record));
    }
    return listed.sort((a, b) => b.lastUsedAtMs - a.lastUsedAtMs);
  }

  async remove(name: string): Promise<{ mount: BuildCacheMount; sizeBytes: number }> {
    const mount = await this.#find(name);
    this.#refuseUsed(mount);
    await this.#parts.mounts.folders.remove(mount.key);
    return { mount, sizeBytes: mount.sizeBytes };
  }

  async export(name: string, { signal }: { signal?: AbortSignal | undefined }): Promise<AsyncIterable<Uint8Array>> {
    const { key } = await this.#find(name);
    const { store, archives } = this.#parts;
    const lease = await store.leases.acquire({ purpose: 'export of a cache mount' });
    try {
      const tree = await this.capture(key, { lease, signal });
      if (tree === undefined) throw notFound(name);
      return leased(archives.exportTree(tree.id, signal === undefined ? {} : { signal }), lease);
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  async import(id: string, file: string, { signal }: { signal?: AbortSignal | undefined }): Promise<BuildCacheMount> {
    const { store, archives, mounts } = this.#parts;
    const { folders } = mounts;
    const name = { id, platform: formatPlatform(hostPlatform()) };
    const key = folders.keyOf(name);
    const before = await folders.record(key);
    if (before !== undefined) this.#refuseUsed({ key, id });
    await using lease = await store.leases.acquire({ purpose: 'import of a cache mount' });
    const tree = await archives.untar(file, { what: `the cache ${id}`, signal, lease });
    await this.#replace(key, (path) => store.trees.checkout(tree.id, path, { signal }));
    const now = Date.now();
    await folders.change(key, (record) => ({
      version: 1,
      ...name,
      sharing: record?.sharing ?? 'shared',
      createdAtMs: record?.createdAtMs ?? now,
      lastUsedAtMs: now,
      uses: record?.uses ?? 0,
      costMs: record?.costMs ?? 0,
    }));
    return this.#find(key);
  }

  /** Takes a cache mount into the store, as it is now; undefined when it has never been used. What did not change since the last time is not read. */
  async capture(key: string, { lease, signal }: { lease: Lease; signal?: AbortSignal | undefined }): Promise<TreeRef | undefined> {
    const { store, mounts } = this.#parts;
    const { folders } = mounts;
    const record = await folders.record(key);
    if (record === undefined) return undefined;
    const earlier = await this.#asCaptured(key, record);
    if (earlier !== undefined) {
      await lease.add('tree', earlier.id);
      return earlier;
    }
    const path = folders.path(key, 0);
    for (let attempt = 1; ; attempt++) {
      const atMs = Date.now();
      try {
        const { id, content } = await store.trees.ingest({ path, statCache: path }, { lease, signal });
        await folders.captured(key, { id, content }, atMs);
        return { id, content };
      } catch (error) {
        const changed = error instanceof EngineError && error.code === 'FILE_CHANGED';
        if (!changed || attempt >= captureAttempts || signal?.aborted) throw error;
      }
    }
  }

  async #asCaptured(key: string, { captured, lastUsedAtMs }: MountRecord): Promise<TreeRef | undefined> {
    if (captured === undefined || captured.atMs <= lastUsedAtMs || this.#parts.mounts.isInUse(key)) return undefined;
    const isThere = await this.#parts.store.trees.get(captured.tree).then(
      () => true,
      () => false,
    );
    return isThere ? { id: captured.tree, content: captured.content } : undefined;
  }

  async #replace(key: string, fill: (path: string) => Promise<void>): Promise<void> {
    const { folders } = this.#parts.mounts;
    const path = folders.path(key, 0);
    const old = `${path}.new-old`;
    await rm(old, { recursive: true, force: true });
    await rename(path, old).catch(() => undefined);
    await folders.add(key, 0, async (made) => {
      await fill(made);
      await chmod(made, 0o755);
    });
    await rm(old, { recursive: true, force: true });
  }

  async #find(name: string): Promise<BuildCacheMount> {
    const { folders } = this.#parts.mounts;
    const found: { key: string; record: MountRecord }[] = [];
    for (const key of await folders.keys()) {
      const record = await folders.record(key);
      if (record !== undefined && (record.id === name || (name.length >= 4 && key.startsWith(name)))) found.push({ key, record });
    }
    const [only, another] = found;
    if (only === undefined) throw notFound(name);
    if (another !== undefined) {
      throw new EngineError('InvalidArgument', 'CACHE_MOUNT_AMBIGUOUS', `"${name}" is the name of several cache mounts`, {
        hint: 'Name it by its key.',
      });
    }
    return this.#describe(only.key, only.record);
  }

  async #describe(key: string, { version: _version, captured, costMs: _costMs, ...record }: MountRecord): Promise<BuildCacheMount> {
    const { bytes, files } = await this.#parts.mounts.folders.usage(key);
    return { key, ...record, inUse: this.#parts.mounts.isInUse(key), sizeBytes: bytes, files, tree: captured?.tree };
  }

  #refuseUsed({ key, id }: Pick<BuildCacheMount, 'key' | 'id'>): void {
    if (!this.#parts.mounts.isInUse(key)) return;
    throw new EngineError('Conflict', 'CACHE_MOUNT_IN_USE', `the cache mount ${id} is in use by a build`, {
      hint: 'Wait for the build, or cancel it.',
    });
  }
}

function notFound(name: string): EngineError {
  return new EngineError('NotFound', 'CACHE_MOUNT_NOT_FOUND', `there is no cache mount "${name.slice(0, 200)}"`, {
    hint: '"slipway build caches ls" lists them.',
  });
}

async function* leased(bytes: AsyncIterable<Uint8Array>, lease: Lease): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } finally {
    await lease.release();
  }
}
