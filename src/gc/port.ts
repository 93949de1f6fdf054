import type { Hex } from '../oci/digest.ts';
import type { TreeId } from '../store/model.ts';

/** What can go. `unused` is what nothing refers to any more: trees, objects and blobs that are left over. */
export type ItemKind = 'projection' | 'blob' | 'result' | 'layer' | 'image' | 'container' | 'volume' | 'cache' | 'log';

/** Something of which the engine's other rooms know whether it can go. */
export type OutsideItem = {
  readonly kind: Exclude<ItemKind, 'blob' | 'result' | 'layer' | 'image'>;
  readonly id: string;
  readonly name: string;
  readonly bytes: number;
  readonly lastUsedAtMs: number;
  /** Why it cannot go now. */
  readonly held?: string | undefined;
  /** How long making it again takes, when it is known. */
  readonly costMs?: number | undefined;
};

/** What the plan has to know beside the metadata. */
export type Surroundings = {
  /** Trees that are mounted or below a snapshot, and by whom. */
  readonly trees: readonly { readonly tree: TreeId; readonly by: string }[];
  /** Images that containers were made from, and which. */
  readonly images: readonly { readonly id: string; readonly by: string }[];
  readonly items: readonly OutsideItem[];
};

export type PlannedItem = {
  readonly kind: ItemKind | 'unused';
  readonly id: string;
  readonly name: string;
  readonly reason: string;
  /** What becomes free when it goes after all before it in the plan: what others share is not in it. */
  readonly bytes: number;
  readonly lastUsedAtMs: number;
  /** What has to be done to have it again. */
  readonly remake: string;
  /** Of a `result`: the keys under which it is known. */
  readonly keys?: readonly Hex[] | undefined;
};

/** What stays though space is short. */
export type KeptItem = {
  readonly kind: ItemKind;
  readonly id: string;
  readonly name: string;
  readonly reason: string;
  readonly bytes: number;
};

export type Plan = {
  readonly id: string;
  readonly createdAtMs: number;
  readonly disk: { readonly totalBytes: number; readonly freeBytes: number };
  /** What must become free to come down to the low mark; 0 below the high one. */
  readonly wantedBytes: number;
  readonly items: readonly PlannedItem[];
  readonly bytes: number;
  /** What is still missing when all of the plan is done, and who holds it, the largest first. */
  readonly missingBytes: number;
  readonly kept: readonly KeptItem[];
};
