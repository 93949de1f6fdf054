import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { CachedMount, CachedResult, CachedTree, CacheEntries } from './document.ts';

/** What a cache keeps at most. Results that nobody has used for so long go; so do the ones used longest ago while there are too many of anything. */
export const cacheLimits = { ageMs: 30 * 24 * 3600_000, results: 5_000, trees: 500, mounts: 50, packs: 256 } as const;

const dayMs = 24 * 3600_000;

/** Entries of this build: its trees by id, with what must be known of them. */
export type NewEntries = { readonly results: readonly CachedResult[]; readonly mounts: readonly CachedMount[] };

/** What the cache is to have: results and mounts, newest first, and the trees that they need. */
export type Merged = {
  readonly results: readonly CachedResult[];
  readonly mounts: readonly CachedMount[];
  readonly trees: ReadonlySet<TreeId>;
};

/** What this build has wins over what the cache says of the same keys. */
export function mergeEntries(before: CacheEntries | undefined, now: NewEntries, nowMs: number): Merged {
  const results = new Map<Hex, CachedResult>();
  for (const result of [...(before?.results ?? []), ...now.results]) results.set(result.recipe, result);
  const mounts = new Map<string, CachedMount>();
  for (const mount of [...(before?.mounts ?? []), ...now.mounts]) mounts.set(`${mount.platform} ${mount.id}`, mount);
  const keptResults = newest(results.values(), cacheLimits.results, nowMs);
  const keptMounts = newest(mounts.values(), cacheLimits.mounts, nowMs);
  const fresh = new Set([...now.results, ...now.mounts].map(({ tree }) => tree));
  const trees = chooseTrees([...keptResults, ...keptMounts], before?.trees ?? new Map(), fresh);
  return {
    results: keptResults.filter(({ tree }) => trees.has(tree)),
    mounts: keptMounts.filter(({ tree }) => trees.has(tree)),
    trees,
  };
}

/** The latest use first, within the limits on trees and on the packs that are in. */
function chooseTrees(
  items: readonly { tree: TreeId; usedAtMs: number }[],
  known: ReadonlyMap<TreeId, CachedTree>,
  fresh: ReadonlySet<TreeId>,
): Set<TreeId> {
  const trees = new Set<TreeId>();
  const packs = new Set<number>();
  for (const { tree } of items.toSorted((a, b) => b.usedAtMs - a.usedAtMs)) {
    if (trees.has(tree)) continue;
    const of = known.get(tree)?.packs ?? [];
    const more = of.filter((pack) => !packs.has(pack)).length;
    if (!fresh.has(tree) && (trees.size >= cacheLimits.trees || packs.size + more > cacheLimits.packs)) continue;
    trees.add(tree);
    for (const pack of of) packs.add(pack);
  }
  return trees;
}

function newest<T extends { usedAtMs: number }>(items: Iterable<T>, limit: number, nowMs: number): T[] {
  const young = [...items].filter(({ usedAtMs }) => usedAtMs > nowMs - cacheLimits.ageMs);
  return young.sort((a, b) => b.usedAtMs - a.usedAtMs).slice(0, limit);
}

/** Whether the cache says all this already, and said so in the last day: then it need not be written. */
export function saysAll(before: CacheEntries | undefined, now: NewEntries, nowMs: number): boolean {
  if (before === undefined) return false;
  const results = new Map(before.results.map((result) => [result.recipe, result]));
  const isRecent = ({ usedAtMs }: { usedAtMs: number }) => usedAtMs > nowMs - dayMs;
  const hasResult = ({ recipe, content, tree }: CachedResult) => {
    const told = results.get(recipe);
    return told !== undefined && told.tree === tree && (content === undefined || told.content === content) && isRecent(told);
  };
  const hasMount = ({ id, platform, tree }: CachedMount) =>
    before.mounts.some((told) => told.id === id && told.platform === platform && told.tree === tree && isRecent(told));
  return now.results.every(hasResult) && now.mounts.every(hasMount);
}
