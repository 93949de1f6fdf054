import type { Descriptor } from '../../oci/image.ts';
import type { ImageRecord, JobOptions } from '../../store/port.ts';

/** An in-toto statement, as JSON, about the image whose manifest is given. */
export type ImageStatement = { readonly predicateType: string; readonly bytes: Buffer };
export type StatementsOf = (image: ImageRecord, manifest: Descriptor) => readonly ImageStatement[];

/** Makes one image of several, each for another platform. */
export interface ImageJoiner {
  /**
   * An image whose origin is an index of all of them, in their order, its manifests and blobs in the store: so it is pushed and saved whole. What it is on this host is the image for this host's platform
   * where that is among them, else the first. The layers are made now. Statements about an image lie in the index as BuildKit has them (docs/formats/attestations.md); with them there may be one image only.
   *
   * InvalidArgument `PLATFORM_TWICE` when two are for one platform.
   */
  join(images: readonly ImageRecord[], options?: JobOptions & { statementsOf?: StatementsOf | undefined }): Promise<ImageRecord>;
}
