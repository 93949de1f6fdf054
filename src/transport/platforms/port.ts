import type { ImageRecord, JobOptions } from '../../store/port.ts';

/** Makes one image of several, each for another platform. */
export interface ImageJoiner {
  /**
   * An image whose origin is an index of all of them, in their order, its manifests and blobs in the store: so it is pushed and saved whole. What it is on this host is the image for this host's platform
   * where that is among them, else the first. The layers are made now.
   *
   * InvalidArgument `PLATFORM_TWICE` when two are for one platform.
   */
  join(images: readonly ImageRecord[], options?: JobOptions): Promise<ImageRecord>;
}
