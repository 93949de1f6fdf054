import type { Digest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';

type Blob = Descriptor & { digest: Digest };

/** The layers of a chunked manifest while it is made. The first is the head, which tells the places of the others and so is made last. */
export class BlobList {
  readonly #blobs: (Blob | undefined)[] = [undefined];
  readonly #places = new Map<string, number>();
  readonly #made = new Set<Digest>();

  /** The place of a blob; each digest is listed once. */
  add({ mediaType, digest, size }: Blob): number {
    const known = this.#places.get(digest);
    if (known !== undefined) return known;
    this.#blobs.push({ mediaType, digest, size });
    this.#places.set(digest, this.#blobs.length - 1);
    return this.#blobs.length - 1;
  }

  addMade(blob: Blob): number {
    this.#made.add(blob.digest);
    return this.add(blob);
  }

  setHead({ mediaType, digest, size }: Blob): void {
    this.#blobs[0] = { mediaType, digest, size };
    this.#made.add(digest);
  }

  get descriptors(): Blob[] {
    return this.#blobs.filter((blob) => blob !== undefined);
  }

  get made(): Digest[] {
    return [...this.#made];
  }
}
