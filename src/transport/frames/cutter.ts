import type { Chunk } from './model.ts';

/** How parts are gathered into frames: docs/formats/frames.md, "Frames". In plain bytes. */
export const frameSizes = { minBytes: 128 * 1024, spreadBytes: 128 * 1024, maxBytes: 512 * 1024 } as const;

/** What goes into a frame whole: a member's header with its first chunk, a further chunk, or a header alone. */
export type FramePart = {
  readonly bytes: Buffer;
  readonly chunk?: (Chunk & { /** Where it begins in `bytes`. */ readonly at: number }) | undefined;
  /** 32 bits that depend on nothing but what the part says: whether the frame may end after it. */
  readonly mark: number;
};

export type PlainFrame = { readonly plain: Buffer; readonly chunks: readonly (Chunk & { readonly offset: number })[] };

/**
 * Gathers parts into frames, whose ends depend on the parts alone: after a part was added, removed or changed the frames are soon the same as before.
 */
export function* cutFrames(parts: Iterable<FramePart>): Generator<PlainFrame> {
  let gathered: Buffer[] = [];
  let chunks: (Chunk & { offset: number })[] = [];
  let length = 0;
  const take = (): PlainFrame => {
    const frame = { plain: Buffer.concat(gathered, length), chunks };
    gathered = [];
    chunks = [];
    length = 0;
    return frame;
  };
  for (const { bytes, chunk, mark } of parts) {
    if (length > 0 && length + bytes.length > frameSizes.maxBytes) yield take();
    if (chunk !== undefined) chunks.push({ id: chunk.id, length: chunk.length, offset: length + chunk.at });
    gathered.push(bytes);
    length += bytes.length;
    // The longer a part, the more likely that the frame ends with it: one end in `spreadBytes` on average, whether files are small or large.
    if (length >= frameSizes.minBytes && mark < (bytes.length / frameSizes.spreadBytes) * 0x1_0000_0000) yield take();
  }
  if (length > 0) yield take();
}
