import type { Digest } from '../../oci/digest.ts';
import type { ImageConfig } from '../../oci/image.ts';
import type { UntarSource } from '../untar/job.ts';
import type { BoundedRange } from './contents.ts';

/** A layer of an archive. The digest is unknown where the archive's format has none; reading it tells. */
export type PlannedLayer = UntarSource & BoundedRange & { readonly diffId: Digest; readonly mediaType: string | undefined };

/** One image of an archive, documents parsed and checked, layers not yet read. */
export type PlannedImage = {
  /** For errors and progress: a reference, or a short digest. */
  readonly name: string;
  readonly references: string[];
  readonly configBytes: Buffer;
  readonly config: ImageConfig;
  /** Missing in archives of Docker before 25: one is made of the config and layers. */
  readonly manifest: { readonly bytes: Buffer; readonly mediaType: string } | undefined;
  readonly layers: readonly PlannedLayer[];
  /** The index that the name stands for, and what it lists besides: the chunked form. */
  readonly around?:
    | { readonly index: { readonly bytes: Buffer; readonly mediaType: string }; readonly beside: readonly PlannedBlob[] }
    | undefined;
};

export type PlannedBlob = BoundedRange & { readonly digest: Digest };
