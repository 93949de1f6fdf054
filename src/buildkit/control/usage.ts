import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { EngineError } from '../../base/errors.ts';
import type { BuildCacheMount, BuildCacheMounts } from '../../build/cache/port.ts';
import { type PruneRequest, type UsageRecord, UsageRecordSchema } from '../gen/control_pb.ts';

/** BuildKit's name for what `RUN --mount=type=cache` keeps. Everything else that builds keep for each other are trees, which the collector takes. */
const cacheMountType = 'exec.cachemount';

/** What `docker buildx du` shows. */
export async function usageOf(caches: BuildCacheMounts | undefined, filters: readonly string[]): Promise<UsageRecord[]> {
  const mounts = (await caches?.list()) ?? [];
  return mounts.filter((mount) => passes(mount, filters)).map(recordOf);
}

/** Caches that no step uses, and that were not used for as long as is asked for. Gives those that went. */
export async function pruneCaches(
  caches: BuildCacheMounts | undefined,
  { filter, keepDuration }: Pick<PruneRequest, 'filter' | 'keepDuration'>,
): Promise<UsageRecord[]> {
  if (caches === undefined) return [];
  const gone: UsageRecord[] = [];
  const before = Date.now() - Number(keepDuration / 1_000_000n);
  for (const mount of await caches.list()) {
    if (mount.inUse || mount.lastUsedAtMs > before || !passes(mount, filter)) continue;
    try {
      await caches.remove(mount.key);
      gone.push(recordOf(mount));
    } catch (error) {
      // A step has begun to use it, or somebody else has removed it.
      if (!(error instanceof EngineError) || (error.kind !== 'Conflict' && error.kind !== 'NotFound')) throw error;
    }
  }
  return gone;
}

/** Each filter is a list of conditions, of which all hold; any filter is enough. buildx sends an empty one where there is none. */
function passes(mount: BuildCacheMount, filters: readonly string[]): boolean {
  const given = filters.filter((filter) => filter !== '');
  return given.length === 0 || given.some((filter) => filter.split(',').every((condition) => holds(mount, condition)));
}

function holds(mount: BuildCacheMount, condition: string): boolean {
  const [, name, operator, value = ''] = /^([\w.]+)(==|!=|~=)?(.*)$/.exec(condition) ?? [];
  const actual: Partial<Record<string, string>> = {
    id: mount.key,
    type: cacheMountType,
    description: descriptionOf(mount),
    inuse: mount.inUse ? 'true' : '',
    mutable: 'true',
    shared: '',
    private: 'true',
  };
  const found = actual[name ?? ''];
  if (found === undefined) return false;
  if (operator === undefined) return found !== '';
  if (operator === '~=') return found.includes(value);
  return (found === value) === (operator === '==');
}

function descriptionOf({ id, platform }: BuildCacheMount): string {
  return `cached mount ${id} for ${platform}`;
}

function recordOf(mount: BuildCacheMount): UsageRecord {
  return create(UsageRecordSchema, {
    ID: mount.key,
    Mutable: true,
    InUse: mount.inUse,
    Size: BigInt(mount.sizeBytes),
    CreatedAt: timestampFromMs(mount.createdAtMs),
    LastUsedAt: timestampFromMs(mount.lastUsedAtMs),
    UsageCount: BigInt(mount.uses),
    Description: descriptionOf(mount),
    RecordType: cacheMountType,
  });
}
