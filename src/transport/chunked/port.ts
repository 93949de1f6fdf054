import type { Descriptor, Manifest } from '../../oci/image.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { KnownLayer, Lease } from '../../store/port.ts';
import type { TransferCallOptions } from '../port.ts';
import type { FoundManifest, Repository } from '../registry/port.ts';

/** Media types of the chunked form: docs/formats/chunked.md. */
export const ChunkedType = {
  artifact: 'application/vnd.slipway.image.chunked.v1',
  head: 'application/vnd.slipway.image.head.v1+zstd',
  stream: 'application/vnd.slipway.image.stream.v1+zstd',
  table: 'application/vnd.slipway.image.table.v1+zstd',
  pack: 'application/vnd.slipway.image.pack.v1+zstd',
  delta: 'application/vnd.slipway.image.delta.v1+zstd',
} as const;

/** Whether a descriptor of an index, or a manifest, is of the chunked form. Version 1 only. */
export function isChunked(document: { artifactType?: unknown }): boolean {
  return document.artifactType === ChunkedType.artifact;
}

/** Blobs of the form itself: without them the ordinary manifest is as good as ever. The others hold content. */
export function isFormBlob({ mediaType }: { mediaType: string }): boolean {
  return (
    mediaType === ChunkedType.head || mediaType === ChunkedType.stream || mediaType === ChunkedType.table || mediaType === ChunkedType.delta
  );
}

export type ChunkedBuildRequest = {
  tree: TreeRef;
  /** The image config's blob. */
  config: Descriptor;
  /** The ordinary manifest's layers, lowest first; those made elsewhere have no table. None for the form `chunked`. */
  layers: readonly KnownLayer[];
  /** The chunked manifest that the tag has now. */
  previous?: { repository: Repository; manifest: FoundManifest } | undefined;
  form: 'both' | 'chunked';
};

export type ChunkedBuild = {
  /** To be put under its digest, and listed in the index with `descriptor`. */
  manifest: { bytes: Buffer; descriptor: Descriptor & { artifactType: string } };
  /** All that the manifest lists, the config too, each digest once. */
  listed: Descriptor[];
  /** What was made now and must be uploaded; files in the store's blobs. Everything else listed is an ordinary layer, its table, or was listed by `previous`. */
  blobs: Descriptor[];
  /** For people. */
  explanation: string[];
  /** Of `blobs`. */
  bytes: number;
};

export { isFallback } from './errors.ts';

export type ChunkedOptions = TransferCallOptions & {
  /** Gets the trees that come in. */
  lease?: Lease | undefined;
};

export type ChunkedPullOptions = ChunkedOptions & {
  /** Trees here that are likely to resemble what comes: other images of the repository, latest first. Whole ones only. */
  near?: readonly TreeId[] | undefined;
};

/**
 * A layer as a head tells it. `whole` is false when content of its files is missing here (a file that a later layer replaces): such a layer is for comparing entries, and must be neither
 * applied, mounted nor given to `store.layers`.
 */
export type HeadLayer = KnownLayer & { readonly whole: boolean };

export type ChunkedPulled = {
  tree: TreeRef;
  /** The config blob's bytes, checked against its digest. */
  config: Buffer;
  manifest: Manifest;
  bytesReceived: number;
};

/**
 * The chunked form of images: docs/formats/chunked.md.
 *
 * Errors: those of `Repository`. InvalidArgument `CHUNKED_INVALID` for a document that is not sound or Unsupported `CHUNKED_VERSION` for one of a later version: then the ordinary manifest is to
 * be taken, where there is one (`isFallback`); so are blobs of the form itself that are missing or damaged. DataLoss `CHUNKED_DAMAGED` names the blob whose content is not what it should be.
 */
export interface ChunkedForm {
  build(request: ChunkedBuildRequest, options?: ChunkedOptions): Promise<ChunkedBuild>;
  /** Fetches what is missing here. Everything is checked before it is visible; a pull that is cut off leaves what it has for the next one. */
  pull(repository: Repository, found: FoundManifest, options?: ChunkedPullOptions): Promise<ChunkedPulled>;
  /** The ordinary layers, without fetching any content. They are what the head says that the blobs hold, which nobody has read: of use for a push to the tag that the head is from. */
  layersOf(repository: Repository, found: FoundManifest, options?: ChunkedOptions): Promise<HeadLayer[]>;
}
