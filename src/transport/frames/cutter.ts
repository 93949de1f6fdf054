import type { Chunk } from './model.ts';

/** How parts are gathered into frames: docs/formats/frames.md, "Frames". In plain bytes. */
export const frameSizes = { minBytes: 128 * 1024, spreadBytes: 128 * 1024, maxBytes: 512 * 1024 } as const;

/** What goes into a frame whole: a member's header with its first chunk, a further chunk, or a header alone. */
export type FramePart = {
  readonly length: number;
  /** `at` is where it begins in the part. */
  readonly chunk?: (Chunk & { readonly at: number }) | undefined;
  /** 32 bits that depend on nothing but what the part says: whether the frame may end after it. */
  readonly mark: number;
  /** The frame before ends here, or this one does: a large file has frames of its own, so that whoever has most of it need not fetch it with the small ones beside it. */
  readonly opens?: boolean | undefined;
  readonly closes?: boolean | undefined;
  /** Writes all of it. Called once, before the next part is asked for. */
  write(target: Buffer, at: number): void;
};

/** `plain` is good until the frame's memory is given back. */
export type PlainFrame = { readonly plain: Buffer; readonly chunks: readonly (Chunk & { readonly offset: number })[] };

/** Memory for frames, used again: half a megabyte each, two thousand times a gigabyte of layer, would keep the garbage collector busy. */
export class FrameMemory {
  readonly #free: Buffer[] = [];

  take(bytes: number): Buffer {
    if (bytes > frameSizes.maxBytes) return Buffer.allocUnsafeSlow(bytes);
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(frameSizes.maxBytes);
  }

  /** Nobody reads the frame any more. */
  giveBack({ plain }: PlainFrame): void {
    if (plain.buffer.byteLength === frameSizes.maxBytes) this.#free.push(Buffer.from(plain.buffer));
  }
}

/**
 * Gathers parts into frames, whose ends depend on the parts alone: after a part was added, removed or changed the frames are soon the same as before.
 */
export function* cutFrames(parts: Iterable<FramePart>, memory: FrameMemory): Generator<PlainFrame> {
  let buffer: Buffer | undefined;
  let chunks: (Chunk & { offset: number })[] = [];
  let length = 0;
  const finish = (filled: Buffer): PlainFrame => {
    const frame = { plain: filled.subarray(0, length), chunks };
    buffer = undefined;
    chunks = [];
    length = 0;
    return frame;
  };
  for (const part of parts) {
    if (buffer !== undefined && (part.opens || length + part.length > frameSizes.maxBytes)) yield finish(buffer);
    buffer ??= memory.take(part.length);
    part.write(buffer, length);
    const { chunk } = part;
    if (chunk !== undefined) chunks.push({ id: chunk.id, length: chunk.length, offset: length + chunk.at });
    length += part.length;
    // The longer a part, the more likely that the frame ends with it: one end in `spreadBytes` on average, whether files are small or large.
    const mayEnd = length >= frameSizes.minBytes && part.mark < (part.length / frameSizes.spreadBytes) * 0x1_0000_0000;
    if (part.closes || mayEnd) yield finish(buffer);
  }
  if (buffer !== undefined) yield finish(buffer);
}
