/** Bounds of adaptive layers; part of what makes a plan the same everywhere (docs/formats/frames.md, "Adaptive layers"). */
export const adaptiveLimits = {
  /** Docker's overlay driver ends at 128, containers' starts get slower before. */
  layers: 32,
  /** Bytes that later layers replace or delete, against those that are still there. */
  deadShare: 0.5,
  /** When layers have to be given up, so many are folded into the new one as add at most as much again, or this. */
  foldFactor: 2,
  foldBytes: 1 << 20,
  /** What a name costs in a tar beside its content: a header and padding, about. */
  entryBytes: 1024,
} as const;

export type Weight = { readonly entries: number; readonly bytes: number };
/** What building on the first `kept` layers of a stack would mean. Bytes are plain, names included. */
export type Option = {
  readonly kept: number;
  readonly addedBytes: number;
  readonly deadBytes: number;
  readonly layers: number;
  readonly refusal: 'layers' | 'waste' | undefined;
};

export function plainBytes({ entries, bytes }: Weight): number {
  return bytes + entries * adaptiveLimits.entryBytes;
}

/** `added` undefined: nothing is to be added. */
export function optionOf(kept: number, below: readonly Weight[], added: Weight | undefined, tree: Weight): Option {
  const addedBytes = added === undefined ? 0 : plainBytes(added);
  const live = plainBytes(tree);
  const listed = below.slice(0, kept).reduce((sum, weight) => sum + plainBytes(weight), addedBytes);
  const deadBytes = Math.max(0, listed - live);
  const layers = kept + (added === undefined ? 0 : 1);
  const refusal =
    kept === 0 ? undefined : layers > adaptiveLimits.layers ? 'layers' : deadBytes > live * adaptiveLimits.deadShare ? 'waste' : undefined;
  return { kept, addedBytes, deadBytes, layers, refusal };
}

/**
 * The option that adds the least. When the one that adds least of all is out of bounds, layers have to be given up: then as many at once as come cheap, so that the next push
 * does not meet the same bound. `options` has at least the one that keeps nothing.
 */
export function chooseOption(options: readonly Option[]): { chosen: Option; refused: Option | undefined } {
  const byAdded = [...options].sort((a, b) => a.addedBytes - b.addedBytes || b.kept - a.kept);
  const least = byAdded[0] as Option;
  if (least.refusal === undefined) return { chosen: least, refused: undefined };
  const allowed = byAdded.filter((option) => option.refusal === undefined);
  const best = allowed[0] as Option; // keeping nothing is always allowed
  const budget = Math.max(best.addedBytes * adaptiveLimits.foldFactor, adaptiveLimits.foldBytes);
  const chosen = allowed.filter((option) => option.addedBytes <= budget).sort((a, b) => a.kept - b.kept)[0] ?? best;
  return { chosen, refused: least };
}
