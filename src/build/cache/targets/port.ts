import type { Digest } from '../../../oci/digest.ts';
import type { Descriptor } from '../../../oci/image.ts';
import type { CollectionPlace } from '../../../transport/collections/port.ts';

export type TargetOptions = { signal?: AbortSignal | undefined };

/** The manifest that a cache has now. `version` tells it from every other. */
export type TargetManifest = { readonly bytes: Buffer; readonly version: string };

export type TargetBlob = Pick<Descriptor, 'size' | 'mediaType'> & { readonly digest: Digest };

/**
 * A place where a build cache lies: blobs, and one manifest that names all that count (docs/formats/build-cache.md). Drivers: a folder, a repository of a registry, a bucket. Nothing that comes out
 * of it is trusted.
 *
 * Errors: NotFound for a blob that is not there, Denied, Unavailable, DataLoss, InvalidArgument for a place that cannot be used.
 */
export interface CacheTarget extends CollectionPlace {
  /** Undefined when there is no cache yet. */
  read(options: TargetOptions): Promise<TargetManifest | undefined>;
  /**
   * Puts a manifest in place of the one of that version, or of none: false when somebody else has put one there since. `blobs` are all that it names; they are there. `dropped`: what the one before
   * named and this one does not; a place that can removes it.
   */
  write(
    manifest: Buffer,
    context: { readonly version: string | undefined; readonly blobs: readonly TargetBlob[]; readonly dropped: readonly TargetBlob[] },
    options: TargetOptions,
  ): Promise<boolean>;
  has(blob: TargetBlob, options: TargetOptions): Promise<boolean>;
  /** Puts a blob out of a file. It is there whole or not at all. */
  upload(blob: TargetBlob, file: string, options: TargetOptions): Promise<void>;
}
