import { hash } from 'node:crypto';
import type { Hex } from '../../oci/digest.ts';
import { type Chunk, chunkIdOf } from './model.ts';

/** How a stream is cut: docs/formats/frames.md, "Chunks". A cut comes at the first byte past `minBytes` where the hash's highest `maskBits` bits are all zero, at `maxBytes` at the latest. */
export type ChunkSizes = { readonly minBytes: number; readonly maskBits: number; readonly maxBytes: number };

/** For the content of files. */
export const fileChunks: ChunkSizes = { minBytes: 32 * 1024, maskBits: 15, maxBytes: 256 * 1024 };
/** For tree streams, where little changes and much is kept. */
export const streamChunks: ChunkSizes = { minBytes: 4 * 1024, maskBits: 14, maxBytes: 64 * 1024 };

/** In a hash that is shifted left by one bit a byte, a byte is gone after 32 more. */
const windowBytes = 32;

/** 256 numbers of 32 bits that look random: the first four bytes, big-endian, of the SHA-256 of `slipway gear 1` and the byte. Part of the format. */
const gear = new Int32Array(256);
for (let byte = 0; byte < gear.length; byte++) {
  gear[byte] = hash('sha256', Buffer.from([...Buffer.from('slipway gear 1'), byte]), 'buffer').readInt32BE(0);
}

/**
 * Length of the chunk that begins at `start`: where it is cut, or all bytes up to `end` when there is no cut before it. When the stream goes on after `end`, that
 * is only an answer if it is `maxBytes`, or less than `end - start`.
 */
export function chunkLength(bytes: Uint8Array, start: number, end: number, { minBytes, maskBits, maxBytes }: ChunkSizes): number {
  if (end - start <= minBytes) return end - start;
  const limit = Math.min(end, start + maxBytes);
  const shift = 32 - maskBits;
  let value = 0;
  let at = start + minBytes - windowBytes;
  // Only what is in the window counts, so that a cut depends on the bytes before it and not on where the chunk began.
  for (const warm = start + minBytes - 1; at < warm; at++) value = ((value << 1) + (gear[bytes[at] as number] as number)) | 0;
  // A cut after byte `at`: the chunk then has at least `minBytes`.
  for (; at < limit; at++) {
    value = ((value << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (value >>> shift === 0) return at + 1 - start;
  }
  return limit - start;
}

/**
 * Cuts a stream into chunks: at the same places however the stream comes in pieces. A chunk is a view of a piece where it lies whole in it, else a new buffer.
 * An empty stream has none.
 */
export function* cutChunks(pieces: Iterable<Uint8Array>, sizes: ChunkSizes = fileChunks): Generator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array(0);
  for (const piece of pieces) {
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let start = 0;
    // Less than the most that a chunk can have: a later byte could still decide.
    while (bytes.length - start >= sizes.maxBytes) {
      const length = chunkLength(bytes, start, bytes.length, sizes);
      yield bytes.subarray(start, start + length);
      start += length;
    }
    rest = bytes.subarray(start);
  }
  for (let start = 0; start < rest.length; ) {
    const length = chunkLength(rest, start, rest.length, sizes);
    yield rest.subarray(start, start + length);
    start += length;
  }
}

/**
 * Cuts what `read` gives, as `cutChunks` does, in the memory of `scratch`: each chunk is good until the next one is asked for. `read` fills a part of the buffer it is given and tells how much, 0 at
 * the end. `scratch` must hold more than the longest chunk.
 */
export function* cutRead(read: (target: Buffer) => number, scratch: Buffer, sizes: ChunkSizes = fileChunks): Generator<Buffer> {
  let start = 0;
  let end = 0;
  for (let ended = false; ; ) {
    // Less than the most that a chunk can have: a later byte could still decide.
    if (!ended && end - start < sizes.maxBytes) {
      scratch.copyWithin(0, start, end);
      end -= start;
      start = 0;
      while (!ended && end < scratch.length) {
        const count = read(scratch.subarray(end));
        end += count;
        ended = count === 0;
      }
    }
    if (start === end) return;
    const length = chunkLength(scratch, start, end, sizes);
    yield scratch.subarray(start, start + length);
    start += length;
  }
}

export function chunkOf(bytes: Uint8Array): Chunk {
  return { id: chunkIdOf(hash('sha256', bytes, 'hex') as Hex), length: bytes.length };
}
