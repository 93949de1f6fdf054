import type { Collection, GcItemKind, GcPlan, PlannedItem } from '../api-types/gc.ts';
import type { TreeId } from '../store/model.ts';

export type { Collection, GcItemKind, GcPlan, KeptItem, PlannedItem } from '../api-types/gc.ts';

/** Something of which the engine's other rooms know whether it can go. */
export type OutsideItem = {
  readonly kind: Exclude<GcItemKind, 'blob' | 'result' | 'layer' | 'image'>;
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

/** What the other rooms know and do. */
export interface GcRooms {
  surroundings(): Promise<Surroundings>;
  /** Undefined when it is gone; else why it stays. */
  remove(item: PlannedItem, plannedAtMs: number): Promise<string | undefined>;
}

export type PlanOptions = {
  /** Go on until this much is free, whatever the marks say. */
  readonly wantedBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
};

export interface Collector {
  plan(options?: PlanOptions): Promise<GcPlan>;
  /** Does a plan that was made before, or what it would plan now. NotFound `PLAN_NOT_FOUND`. What was used since stays. */
  run(options: PlanOptions & { planId?: string | undefined; cause: Collection['cause'] }): Promise<Collection>;
  /** The latest first. */
  history(): Promise<Collection[]>;
}
