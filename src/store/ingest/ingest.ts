import { EngineError } from '../../base/errors.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import { createIgnore } from '../../oci/ignore.ts';
import type { JobContext } from '../jobs/context.ts';
import type { Root, TreeRef } from '../model.ts';
import type { IngestParams, IngestResult } from '../port.ts';
import { adoptRoot } from '../trees/adopt.ts';
import { StatCacheFolder } from './stat-cache.ts';
import { Walker } from './walker.ts';

/** `store.ingest`: a host directory becomes a tree. See Trees.ingest. */
export function ingestDirectory(context: JobContext, params: IngestParams): IngestResult {
  const caches = new StatCacheFolder(context.paths.statCache);
  const fingerprint = fingerprintOf(params);
  const cache = params.statCache === undefined ? undefined : caches.read(params.statCache, fingerprint);
  for (const trustNodes of cache === undefined ? [false] : [true, false]) {
    const walker = new Walker(context, {
      cache,
      trustNodes,
      ignore: params.ignore === undefined ? undefined : createIgnore(params.ignore),
      owner: params.owner,
      xattrs: params.xattrs ?? true,
      keepCache: params.statCache !== undefined,
    });
    const walked = walker.walk(params.path);
    const committed = commit(context, walked.root, params);
    if (committed === undefined) continue;
    const file = walked.cacheFile(fingerprint);
    if (file !== undefined && params.statCache !== undefined) caches.write(params.statCache, file, context.tmpDir);
    return { ...committed, hashedFiles: walker.entries.hashedFiles, hashedBytes: walker.entries.hashedBytes };
  }
  throw new EngineError('Internal', 'INGEST_INCOMPLETE', `the tree of ${params.path} refers to directories that are not in the store`);
}

/** Undefined when the stat cache vouched for directories that the store no longer has: then they must be encoded again. */
function commit(
  context: JobContext,
  root: Root,
  params: IngestParams,
): (TreeRef & { files: number; directories: number; bytes: number }) | undefined {
  try {
    const ref = params.adopt === undefined ? context.putRoot(root) : adoptRoot(context, root, params.adopt);
    const totals = context.rootTotals(ref.id);
    return totals && { ...ref, files: totals.files, directories: totals.directories, bytes: totals.size };
  } catch (error) {
    if (error instanceof EngineError && error.code === 'NODE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** A cache holds for one way of reading a folder. */
function fingerprintOf({ path, ignore, owner, xattrs }: IngestParams): Hex {
  return sha256(JSON.stringify([path, ignore ?? null, owner ?? null, xattrs ?? true]));
}
