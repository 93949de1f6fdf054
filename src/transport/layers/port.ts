import type { Hex } from '../../oci/digest.ts';
import type { HistoryEntry } from '../../oci/image.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { ImageRecord, JobOptions, KnownLayer } from '../../store/port.ts';
import type { LayerChoice, LayerCompression } from '../port.ts';
import type { GrowingBlobFile } from './growing-blob.ts';

export type PlanRequest = {
  readonly image: ImageRecord;
  readonly choice: LayerChoice;
  /** Of the layers that are new. Those that are kept stay as they are. */
  readonly compression: LayerCompression;
  /**
   * For `adaptive`: stacks of layers that the other side has, each lowest first; the one that the tag names now stands first. Only what their trees say is read, so that layers whose content is not here
   * will do. When there is none, the image that this one was built on is looked for.
   */
  readonly candidates: readonly (readonly KnownLayer[])[];
};

/** `entries` and `bytes` are those of the layer's tree: names, and bytes of content (each hardlink group once). */
export type PlannedLayer =
  | { readonly kind: 'kept'; readonly layer: KnownLayer; readonly entries: number; readonly bytes: number }
  | {
      readonly kind: 'new';
      /** The layer's own tree, deletions in it (KnownLayer). */
      readonly tree: TreeId;
      /** The content digest of `tree` (TreeRef). */
      readonly content: Hex;
      /** For people: "changes", "step 3", the name of a group. */
      readonly name: string;
      readonly entries: number;
      readonly bytes: number;
    };

/** Lowest first. A plan is a pure function of the image's tree, history and steps, of the choice and of the candidates. */
export type LayerPlan = {
  readonly compression: LayerCompression;
  readonly layers: readonly PlannedLayer[];
  /** What unpacking the layers gives: the image's tree, but `adaptive` leaves entries that are equal in content the times that the other side has. */
  readonly tree: TreeRef;
  /** For the config: as many entries without `empty_layer` as there are layers, in their order. */
  readonly history: readonly HistoryEntry[];
  /** Lines for people. */
  readonly explanation: readonly string[];
};

export type MakeOptions = Omit<JobOptions, 'onProgress'> & {
  /** Bytes of a layer's tar that have been compressed. Told now and then, of layers that take a while. */
  onCompressed?: ((layer: Extract<PlannedLayer, { kind: 'new' }>, bytes: number) => void) | undefined;
  /** Given the blob of a layer that takes a while, to read it while it is made. Whoever takes it closes it. */
  onGrowing?: ((blob: GrowingBlobFile) => void) | undefined;
};

/** How images become layers: docs/formats/frames.md, "Layers". */
export interface LayerMaker {
  /**
   * Nothing is compressed yet. The layers' trees are committed; the lease gets them.
   *
   * InvalidArgument `LAYER_GROUPS_INVALID`; Conflict `STEPS_UNKNOWN` when `per-step` is asked for and the build's steps are not known; Unsupported `LAYER_NAME` for a file whose name means a deletion.
   */
  plan(request: PlanRequest, options?: JobOptions): Promise<LayerPlan>;
  /**
   * Makes the new layers, or finds them among those made before: durable blobs, with tables, known to `store.layers`. Gives all layers of the plan. The lease gets the blobs.
   */
  make(plan: LayerPlan, options?: MakeOptions): Promise<KnownLayer[]>;
  /** The root tree after each of the image's layers, the last the image's own: as the build kept them, or from the layers that it came with. Undefined when they are not known. */
  stepsOf(image: ImageRecord, options?: JobOptions): Promise<readonly TreeId[] | undefined>;
}
