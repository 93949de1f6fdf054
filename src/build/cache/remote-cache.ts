import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { TreeCollections } from '../../transport/collections/port.ts';
import type { BuildEvent } from '../port.ts';
import type { RemoteResults, Solved } from '../solver/results.ts';
import {
  type CachedMount,
  type CachedResult,
  type CachedTree,
  type CacheEntries,
  type CacheManifest,
  decodeCacheManifest,
  decodeEntries,
} from './document.ts';
import { type CachePolicy, type Speeds, TooSlow, TransferWatch } from './speed.ts';
import type { CacheTarget } from './targets/port.ts';

/** A cache as it was when a build began. */
export type LoadedCache = { readonly version: string; readonly manifest: CacheManifest; readonly entries: CacheEntries };

export type RemoteCacheOptions = {
  readonly store: Pick<Store, 'blobs' | 'trees'>;
  readonly collections: TreeCollections;
  readonly speeds: Speeds;
  readonly policy: CachePolicy;
  readonly signal: AbortSignal;
  readonly lease: Lease;
  readonly onEvent: (event: BuildEvent) => void;
};

type Source = { readonly target: CacheTarget; readonly loading: Promise<Index | undefined>; failures: number };
type Index = LoadedCache & { readonly byKey: ReadonlyMap<Hex, CachedResult> };

/** After so many failures a cache is not asked again in this build. */
const maxFailures = 2;

/**
 * The caches that one build reads. Each is read once, beside what the build does meanwhile; a tree comes when a step's result is asked for. Nothing that goes wrong here is more than a warning, and
 * nothing is waited for longer than the step itself would take.
 */
export class RemoteCache implements RemoteResults {
  readonly #options: RemoteCacheOptions;
  readonly #sources: readonly Source[];
  readonly #patience: Promise<void>;
  readonly #trees = new Map<TreeId, Promise<TreeRef | undefined>>();
  readonly #timer: NodeJS.Timeout;
  readonly #stop = new AbortController();
  #fetched: TreeId[] = [];
  /** Places, by name, that have content which is not what it should be. */
  readonly damaged = new Set<string>();

  /** Begins to read. Dispose of it while the lease is held. */
  constructor(targets: readonly CacheTarget[], options: RemoteCacheOptions) {
    this.#options = { ...options, signal: AbortSignal.any([options.signal, this.#stop.signal]) };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#patience = promise;
    this.#timer = setTimeout(resolve, options.policy.patienceMs);
    this.#sources = targets.map((target, index) => ({ target, loading: this.#load(target, index), failures: 0 }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#stop.abort();
    await Promise.allSettled([...this.#sources.map(({ loading }) => loading), ...this.#trees.values()]);
  }

  async get(key: Hex, lease: Lease): Promise<Solved | undefined> {
    for (const source of this.#sources) {
      const index = await this.#index(source);
      const result = index?.byKey.get(key);
      if (index === undefined || result === undefined) continue;
      const { leastCostMs, unknownCostMs } = this.#options.policy;
      const worthMs = result.totalMs ?? unknownCostMs;
      if (worthMs < leastCostMs) continue;
      const tree = await this.#tree(source, index, result.tree, worthMs);
      if (tree === undefined) continue;
      await lease.add('tree', tree.id);
      const { createdAtMs, madeAtMs, costMs } = result;
      return { tree, createdAtMs, madeAtMs, costMs, contentKey: result.recipe === key ? result.content : undefined };
    }
    return undefined;
  }

  /** What is said of a result, without fetching it. */
  async told(key: Hex): Promise<CachedResult | undefined> {
    for (const source of this.#sources) {
      const result = (await this.#index(source))?.byKey.get(key);
      if (result !== undefined) return result;
    }
    return undefined;
  }

  /** What a cache mount had on another host. It is not waited for longer than a step with it took. */
  async mount(id: string, platform: string): Promise<TreeRef | undefined> {
    for (const source of this.#sources) {
      const index = await this.#index(source);
      const mount: CachedMount | undefined = index?.entries.mounts.find((each) => each.id === id && each.platform === platform);
      if (index === undefined || mount === undefined) continue;
      const tree = await this.#tree(source, index, mount.tree, mount.costMs);
      if (tree !== undefined) return tree;
    }
    return undefined;
  }

  async #index(source: Source): Promise<Index | undefined> {
    if (source.failures >= maxFailures) return undefined;
    const { speeds } = this.#options;
    const late = speeds.isLate(source.target.name) ? Promise.resolve() : this.#patience;
    const settled = await Promise.race([source.loading, late.then(() => 'late' as const)]);
    if (settled !== 'late') return settled;
    // Whoever asks next does not wait.
    speeds.late(source.target.name);
    return undefined;
  }

  async #load(target: CacheTarget, number: number): Promise<Index | undefined> {
    const { signal, store, lease, onEvent, speeds } = this.#options;
    const startedAt = performance.now();
    const vertex = `cache-import-${number}`;
    const tell = (state: 'running' | 'done', more: { reason?: string } = {}) =>
      onEvent({ kind: 'vertex', vertex, name: `read the cache ${target.name}`, state, durationMs: performance.now() - startedAt, ...more });
    tell('running');
    try {
      const loaded = await loadCache(target, { store, lease, signal });
      speeds.onTime(target.name);
      tell('done', { reason: loaded === undefined ? 'there is none yet' : `${loaded.entries.results.length} results of steps` });
      if (loaded === undefined) return undefined;
      const byKey = new Map<Hex, CachedResult>();
      for (const result of loaded.entries.results) {
        if (result.content !== undefined && !byKey.has(result.content)) byKey.set(result.content, result);
      }
      for (const result of loaded.entries.results) byKey.set(result.recipe, result);
      return { ...loaded, byKey };
    } catch (error) {
      if (!signal.aborted) {
        speeds.late(target.name);
        tell('done', { reason: 'it cannot be used' });
        onEvent({ kind: 'warning', message: `the build goes on without the cache ${target.name}: ${messageOf(error)}` });
      }
      return undefined;
    }
  }

  /** Each tree is fetched once a build, and given up once. */
  #tree(source: Source, index: Index, id: TreeId, worthMs: number): Promise<TreeRef | undefined> {
    const known = this.#trees.get(id);
    if (known !== undefined) return known;
    const tree = index.entries.trees.get(id);
    const fetching = tree === undefined ? Promise.resolve(undefined) : this.#fetch(source, index, tree, worthMs);
    this.#trees.set(id, fetching);
    return fetching;
  }

  async #fetch(source: Source, { manifest }: Index, tree: CachedTree, worthMs: number): Promise<TreeRef | undefined> {
    const { store, collections, speeds, policy, signal, lease, onEvent } = this.#options;
    const { target } = source;
    const here = await store.trees.get(tree.id).catch(() => undefined);
    if (here !== undefined) return { id: tree.id, content: tree.content };
    using watch = new TransferWatch({ worthMs: Math.max(worthMs, policy.graceMs), speed: speeds.of(target.name) });
    try {
      const fetched = await collections.fetch(
        { place: target, blobs: manifest.blobs, tree, near: this.#fetched },
        {
          lease,
          signal: AbortSignal.any([signal, watch.signal]),
          onPlan: ({ bytes }) => watch.planned(bytes),
          onBytes: (received) => watch.received(received),
        },
      );
      if (fetched.content !== tree.content)
        throw new EngineError('DataLoss', 'CACHE_DAMAGED', `tree ${tree.id} has another content than is said`);
      speeds.measured(target.name, watch.measured());
      this.#fetched = [fetched.id, ...this.#fetched].slice(0, 4);
      return fetched;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (watch.signal.aborted && watch.signal.reason instanceof TooSlow) {
        speeds.measured(target.name, watch.measured());
        onEvent({
          kind: 'warning',
          message: `a result is made anew: to fetch it from the cache ${target.name} ${watch.signal.reason.message}`,
        });
        return undefined;
      }
      source.failures++;
      if (isUnsound(error)) this.damaged.add(target.name);
      onEvent({ kind: 'warning', message: `a result cannot be taken from the cache ${target.name}: ${messageOf(error)}` });
      return undefined;
    }
  }
}

/** Undefined when the place has no cache. The entries are kept among the store's blobs: the next build that finds the same need not fetch them. */
export async function loadCache(
  target: CacheTarget,
  { store, lease, signal }: { store: Pick<Store, 'blobs'>; lease: Lease; signal: AbortSignal },
): Promise<LoadedCache | undefined> {
  const found = await target.read({ signal });
  if (found === undefined) return undefined;
  const manifest = decodeCacheManifest(found.bytes, target.name);
  const { digest, size } = manifest.entries;
  const { blobs } = store;
  await lease.add('blob', digest);
  if (!(await blobs.has(digest))) await blobs.put(target.blob(manifest.entries, { signal }), { digest, sizeBytes: size }, { signal });
  const bytes = Buffer.concat(await Array.fromAsync(blobs.read(digest)));
  return { version: found.version, manifest, entries: await decodeEntries(bytes, target.name) };
}

/** Whether it is the cache itself that is at fault, and not the way to it. */
export function isUnsound(error: unknown): boolean {
  return error instanceof EngineError && ['InvalidArgument', 'DataLoss', 'NotFound', 'Unsupported'].includes(error.kind);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
