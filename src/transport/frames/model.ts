import type { Digest, Hex } from '../../oci/digest.ts';
import type { LayerCompression } from '../port.ts';

/** The first 16 bytes of the SHA-256 of a chunk's bytes, in hex. Names it where a mistake is found later by a whole file's digest. */
export type ChunkId = string & { readonly __chunkId: true };

export type Chunk = { readonly id: ChunkId; readonly length: number };

/**
 * Where the chunks of a blob are. The blob is a sequence of independent compression frames (gzip members, RFC 1952, or zstd frames, RFC 8878), which
 * together are also one sound stream; a chunk lies whole in one frame. A layer and a pack of nothing but chunks both have one. In a blob that is not
 * compressed (`none`) a frame is just a part of it.
 */
export type FrameTable = {
  readonly compression: LayerCompression;
  /** In the order of the blob, without gaps: bytes compressed and plain. */
  readonly frames: readonly { readonly compressed: number; readonly plain: number }[];
  /** In the order of the blob. `offset` is in the plain bytes of the frame. Each id once. */
  readonly chunks: readonly { readonly id: ChunkId; readonly frame: number; readonly offset: number; readonly length: number }[];
};

/** A blob of frames that has been made: a file to upload, and its table's own blob. Digests of both; `diffId` is of the plain bytes. */
export type MadeFrames = {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly sizeBytes: number;
  readonly plainBytes: number;
  readonly table: { readonly digest: Digest; readonly sizeBytes: number };
};

export function chunkIdOf(sha256Hex: Hex): ChunkId {
  return sha256Hex.slice(0, 32) as ChunkId;
}
