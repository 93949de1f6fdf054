import { type Digest, digestOf, sha256 } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { ImageOrigin, Store } from '../../store/port.ts';
import type { BlobSource, Repository } from '../registry/port.ts';
import { fileSource } from '../source-file.ts';

/** A manifest, index or config: small, and whole in memory. */
export type OutgoingDocument = { digest: Digest; mediaType: string; bytes: Buffer };

/** A blob that the registry must have before the manifests go. `elsewhere`: repositories to read it from, when it is not here. */
export type OutgoingBlob = {
  descriptor: Pick<Descriptor, 'digest' | 'size'> & { digest: Digest };
  /** Layers are told to whoever watches; documents and tables are not. */
  shown: boolean;
  source: BlobSource | undefined;
  elsewhere: readonly Repository[];
};

/** All that a push sends. */
export type Outgoing = {
  blobs: OutgoingBlob[];
  /** By digest, in this order: before what lists them. */
  manifests: OutgoingDocument[];
  /** What the tag is to name. */
  top: OutgoingDocument;
  /** The ordinary manifest, or the chunked one where there is no other. */
  manifest: Descriptor;
  /** To remember the image by; undefined where no ordinary manifest goes out. */
  origin: ImageOrigin | undefined;
  /** Blobs that the tag's present manifest lists: they are not asked for again. */
  there: ReadonlySet<Digest>;
  /** Those of the blobs that are documents. */
  documents: ReadonlyMap<Digest, OutgoingDocument>;
  /** Of what the ordinary manifest lists, or of all without one. */
  sizeBytes: number;
  explanation: string[];
};

export function document(value: unknown, mediaType: string): OutgoingDocument {
  const bytes = Buffer.from(JSON.stringify(value));
  return { digest: digestOf(sha256(bytes)), mediaType, bytes };
}

export function descriptorOf({ digest, mediaType, bytes }: OutgoingDocument): Descriptor & { digest: Digest } {
  return { mediaType, digest, size: bytes.length };
}

export function memorySource(bytes: Buffer): BlobSource {
  return {
    async *read(offset) {
      if (offset < bytes.length) yield bytes.subarray(offset);
    },
  };
}

/** A blob of the store, or of where else it has been seen. */
export async function storedBlob(
  store: Store,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  options: { shown: boolean; elsewhere?: readonly Repository[] },
): Promise<OutgoingBlob> {
  const digest = descriptor.digest as Digest;
  const here = await store.blobs.has(digest);
  return {
    descriptor: { digest, size: descriptor.size },
    shown: options.shown,
    source: here ? fileSource(store.blobs.path(digest)) : undefined,
    elsewhere: options.elsewhere ?? [],
  };
}

export async function readDocument(store: Store, digest: Digest, mediaType: string): Promise<OutgoingDocument | undefined> {
  if (!(await store.blobs.has(digest))) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.blobs.read(digest)) chunks.push(chunk);
  return { digest, mediaType, bytes: Buffer.concat(chunks) };
}
