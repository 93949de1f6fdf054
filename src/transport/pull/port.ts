import type { PulledImage, PullRequest, TransferCallOptions } from '../port.ts';
import type { Repository } from '../registry/port.ts';

/** Images out of registries. Made once for a store: pulls of the same layer at the same time share its download. */
export interface ImagePulls {
  /**
   * Pulls what the request's reference names from `repository`, which is the repository of that reference. Everything is checked before it is visible: documents against their
   * digests, layers against both of theirs, the config's list of layers against the manifest's. Tags the image with the reference (`:latest` when it has neither tag nor
   * digest) and as `repository@digest`. A pull that fails or is cancelled leaves what it has of layers for the next one and names nothing.
   *
   * Denied `IMAGE_REFUSED`; InvalidArgument `DOCUMENT_INVALID`, `LAYER_COUNT`, `LAYER_TOO_LARGE`, `TAR_*`, `INDEX_DEPTH`, `INDEX_LOOP`; Unsupported `LAYER_TYPE`, `NOT_AN_IMAGE`; NotFound
   * `PLATFORM_UNKNOWN`; DataLoss `BLOB_DIGEST_MISMATCH`, `LAYER_DAMAGED`; those of `Repository`.
   */
  pull(repository: Repository, request: PullRequest, options?: TransferCallOptions): Promise<PulledImage>;
  /** Forgets partial downloads that nobody has gone on with for a week, and the oldest beyond a bound on their space. Also done now and then by pulls. */
  sweep(): Promise<{ files: number; bytes: number }>;
}
