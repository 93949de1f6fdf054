import type { Descriptor } from '../../oci/image.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Lease } from '../../store/port.ts';
import type { Repository } from '../registry/port.ts';

/** Where blobs can be read: a repository, or what answers like one. */
export type CollectionPlace = Pick<Repository, 'name' | 'blob' | 'parts'>;

/** A tree of a collection. `packs`: which of the head's packs hold its content, as indices. */
export type CollectedTree = { readonly id: TreeId; readonly packs: readonly number[] };

/** The blobs of a collection, its head first, and the trees that are to be had. */
export type Collection = { readonly blobs: readonly Descriptor[]; readonly trees: readonly CollectedTree[] };

export type CollectionBuild = Collection & {
  /** Made now, to be uploaded; files in the store's blobs. Every other blob was listed by `previous`. */
  readonly made: readonly Descriptor[];
  /** Bytes of the files of each tree of the request. */
  readonly sizes: ReadonlyMap<TreeId, number>;
};

/** What fetching a tree will take, once that is known: bytes that have to come. */
export type FetchPlan = { readonly bytes: number };

/**
 * Many trees in one place, each of their chunks once (docs/formats/build-cache.md, "Trees"): streams and packs as those of the chunked form of images, under one head that lists all trees.
 *
 * Errors: those of the place. InvalidArgument `CHUNKED_INVALID`, `FRAME_TABLE_INVALID` and Unsupported `CHUNKED_VERSION` for what is not sound, DataLoss `CHUNKED_DAMAGED` for content that is not what it should be.
 */
export interface TreeCollections {
  /**
   * Adds trees, which are here, to those of `previous` that are named in its `trees`; the others are left out, and blobs that only they needed with them. Trees that are
   * in both cost nothing.
   */
  build(
    request: { readonly trees: readonly TreeId[]; readonly previous?: (Collection & { readonly place: CollectionPlace }) | undefined },
    options: { lease: Lease; signal?: AbortSignal | undefined },
  ): Promise<CollectionBuild>;
  /** Fetches what is missing here of one tree. Everything is checked before it is visible. `onPlan` and `onBytes` may abort by their signal. */
  fetch(
    request: {
      readonly place: CollectionPlace;
      readonly blobs: readonly Descriptor[];
      readonly tree: CollectedTree;
      readonly near?: readonly TreeId[] | undefined;
    },
    options: {
      lease: Lease;
      signal?: AbortSignal | undefined;
      onPlan?: ((plan: FetchPlan) => void) | undefined;
      onBytes?: ((received: number) => void) | undefined;
    },
  ): Promise<TreeRef>;
}
