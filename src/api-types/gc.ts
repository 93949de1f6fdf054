/** `GET /slipway/gc/…` and `POST /slipway/gc/…` (docs/formats/api.md, "Collection"). Sizes in bytes, times in milliseconds since the epoch. */

/** What can go. */
export type GcItemKind = 'projection' | 'blob' | 'result' | 'layer' | 'image' | 'container' | 'volume';

/** `unused`: trees, files and blobs that nothing refers to any more. */
export type PlannedItem = {
  readonly kind: GcItemKind | 'unused';
  readonly id: string;
  readonly name: string;
  readonly reason: string;
  /** What becomes free when it goes after all before it in the plan: what others share is not in it. */
  readonly bytes: number;
  readonly lastUsedAtMs: number;
  /** What has to be done to have it again. */
  readonly remake: string;
  /** Of a `result`: the keys under which it is known. */
  readonly keys?: readonly string[] | undefined;
};

/** What stays though space is short. */
export type KeptItem = {
  readonly kind: GcItemKind;
  readonly id: string;
  readonly name: string;
  readonly reason: string;
  readonly bytes: number;
};

export type GcPlan = {
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

/** What a collection did. */
export type Collection = {
  readonly planId: string;
  /** Why it ran. */
  readonly cause: 'asked';
  readonly startedAtMs: number;
  readonly durationMs: number;
  readonly plannedBytes: number;
  /** By how much more is free; others write and remove at the same time. */
  readonly freedBytes: number;
  readonly removed: readonly Pick<PlannedItem, 'kind' | 'id' | 'name' | 'reason' | 'bytes'>[];
  /** What was in the plan and stayed, and why. */
  readonly left: readonly { readonly kind: PlannedItem['kind']; readonly id: string; readonly name: string; readonly reason: string }[];
  /** What was taken away that nothing referred to; `bytes` as files took them on disk. */
  readonly sweep: {
    readonly trees: number;
    readonly nodes: number;
    readonly objects: number;
    readonly blobs: number;
    readonly bytes: number;
  };
};

/** Body of `POST /slipway/gc/run`. */
export type GcRunRequest = { plan?: string; want?: number };
