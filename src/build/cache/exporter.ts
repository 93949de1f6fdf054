import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Lease, Store } from '../../store/port.ts';
import type { CollectionBuild, TreeCollections } from '../../transport/collections/port.ts';
import { type CachedTree, type CacheEntries, encodeCacheManifest, encodeEntries } from './document.ts';
import { type Merged, mergeEntries, type NewEntries, saysAll } from './merge.ts';
import { isUnsound, type LoadedCache, loadCache } from './remote-cache.ts';
import type { CacheTarget, TargetBlob } from './targets/port.ts';

export type ExportParts = { readonly store: Pick<Store, 'blobs' | 'paths'>; readonly collections: TreeCollections };
export type ExportOptions = { readonly lease: Lease; readonly signal: AbortSignal };
/** `trees`: content digests of all that the entries name. */
export type ToExport = NewEntries & {
  readonly trees: ReadonlyMap<TreeId, TreeRef>;
  /** What is there was found to be damaged: nothing of it is gone on from. */
  readonly anew?: boolean | undefined;
};
export type Exported = { readonly results: number; readonly uploadedBytes: number; readonly changed: boolean };

const maxAttempts = 8;
const uploadsAtOnce = 4;

/**
 * Brings results to a place: what is there stays, within the limits, and only new chunks go up. Exports that happen at the same time each find out that the other was there first, and merge again.
 * Unavailable `CACHE_CONTENDED` when that goes on for too long.
 */
export async function exportCache(parts: ExportParts, target: CacheTarget, toExport: ToExport, options: ExportOptions): Promise<Exported> {
  let uploadedBytes = 0;
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    options.signal.throwIfAborted();
    const before = await readBefore(parts, target, toExport.anew === true, options);
    const nowMs = Date.now();
    if (before.version !== undefined && saysAll(before.cache?.entries, toExport, nowMs))
      return { results: toExport.results.length, uploadedBytes, changed: false };
    const merged = mergeEntries(before.cache?.entries, toExport, nowMs);
    const built = await buildTrees(parts, target, { merged, before, toExport }, options);
    uploadedBytes += await uploadAll(parts, target, built.made as TargetBlob[], { ...options, anew: built.anew });
    const entries = await encodeEntries(toldEntries(merged, listTrees(built, merged, toExport, before.cache?.entries)));
    uploadedBytes += await uploadBytes(parts, target, entries, options);
    const blobs = built.blobs as TargetBlob[];
    const dropped = droppedBlobs(before.cache, [entries.descriptor, ...blobs]);
    const manifest = encodeCacheManifest({ entries: entries.descriptor, blobs });
    if (await target.write(manifest, { version: before.version, blobs: [entries.descriptor, ...blobs], dropped }, options))
      return { results: toExport.results.length, uploadedBytes, changed: true };
    await sleep(20 + Math.random() * 200 * (attempt + 1), undefined, { signal: options.signal });
  }
  throw new EngineError(
    'Unavailable',
    'CACHE_CONTENDED',
    `the cache ${target.name} was changed by others ${maxAttempts} times while it was written`,
    {
      hint: 'Give builds that run at the same time caches of their own.',
    },
  );
}

type Before = { readonly version: string | undefined; readonly cache: LoadedCache | undefined };

/** A cache that cannot be read is begun anew, in the place of the one that is there. */
async function readBefore({ store }: ExportParts, target: CacheTarget, anew: boolean, options: ExportOptions): Promise<Before> {
  const found = await target.read(options);
  if (found === undefined) return { version: undefined, cache: undefined };
  if (anew) return { version: found.version, cache: undefined };
  try {
    const cache = await loadCache(target, { store, ...options });
    return { version: cache?.version, cache };
  } catch (error) {
    if (!isUnsound(error)) throw error;
    return { version: found.version, cache: undefined };
  }
}

async function buildTrees(
  { collections }: ExportParts,
  target: CacheTarget,
  { merged, before, toExport }: { merged: Merged; before: Before; toExport: ToExport },
  options: ExportOptions,
): Promise<CollectionBuild & { anew: boolean }> {
  const trees = [...toExport.trees.keys()].filter((tree) => merged.trees.has(tree));
  const buildAnew = async () => ({ ...(await collections.build({ trees }, options)), anew: true });
  if (before.cache === undefined) return buildAnew();
  const kept = [...before.cache.entries.trees.values()].filter(({ id }) => merged.trees.has(id));
  try {
    const previous = { place: target, blobs: before.cache.manifest.blobs, trees: kept };
    return { ...(await collections.build({ trees, previous }, options)), anew: false };
  } catch (error) {
    if (!isUnsound(error) || options.signal.aborted) throw error;
    return buildAnew();
  }
}

/** Of trees that the collection has. Where it was begun anew, what it does not have is no longer told. */
function listTrees(built: CollectionBuild, merged: Merged, { trees }: ToExport, before: CacheEntries | undefined): Map<TreeId, CachedTree> {
  const listed = new Map<TreeId, CachedTree>();
  for (const { id, packs } of built.trees) {
    const known = before?.trees.get(id);
    const content = trees.get(id)?.content ?? known?.content;
    if (content !== undefined && merged.trees.has(id))
      listed.set(id, { id, content, sizeBytes: built.sizes.get(id) ?? known?.sizeBytes ?? 0, packs });
  }
  return listed;
}

function toldEntries({ results, mounts }: Merged, trees: ReadonlyMap<TreeId, CachedTree>): CacheEntries {
  const isThere = ({ tree }: { tree: TreeId }) => trees.has(tree);
  return { trees, results: results.filter(isThere), mounts: mounts.filter(isThere) };
}

async function uploadAll(
  { store }: Pick<ExportParts, 'store'>,
  target: CacheTarget,
  blobs: readonly TargetBlob[],
  options: ExportOptions & { anew?: boolean },
): Promise<number> {
  let sent = 0;
  const left = [...blobs];
  const worker = async () => {
    for (let blob = left.shift(); blob !== undefined; blob = left.shift()) {
      // One of the same name may be what was found to be damaged.
      if (options.anew !== true && (await target.has(blob, options))) continue;
      await target.upload(blob, store.blobs.path(blob.digest), options);
      sent += blob.size;
    }
  };
  await Promise.all(Array.from({ length: uploadsAtOnce }, worker));
  return sent;
}

async function uploadBytes(
  { store }: ExportParts,
  target: CacheTarget,
  { bytes, descriptor }: { bytes: Buffer; descriptor: TargetBlob },
  options: ExportOptions,
): Promise<number> {
  await options.lease.add('blob', descriptor.digest);
  const source = (async function* () {
    yield bytes;
  })();
  await store.blobs.put(source, { digest: descriptor.digest, sizeBytes: descriptor.size }, options);
  return uploadAll({ store }, target, [descriptor], options);
}

function droppedBlobs(before: LoadedCache | undefined, now: readonly TargetBlob[]): TargetBlob[] {
  const named = new Set<Digest>(now.map(({ digest }) => digest));
  return before === undefined ? [] : [before.manifest.entries, ...before.manifest.blobs].filter(({ digest }) => !named.has(digest));
}
