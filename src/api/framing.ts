import { type FrameStream, frameHeaderBytes } from '../api-types/own.ts';
import { invalid } from './errors.ts';

/**
 * Docker's multiplexed stream (Engine API, "Attach to a container", stream format): an 8-byte header [stream, 0, 0, 0, length as uint32 big-endian]
 * before each piece.
 */
export function frame(stream: FrameStream, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeaderBytes + payload.length);
  bytes.writeUInt32BE(stream << 24, 0);
  bytes.writeUInt32BE(payload.length, 4);
  bytes.set(payload, frameHeaderBytes);
  return bytes;
}

/** Puts frames together again from pieces of any size. `limitOf` gives the most bytes a frame of a stream may have; undefined refuses the stream. */
export class FrameDecoder {
  readonly #limitOf: (stream: number) => number | undefined;
  #pending: Buffer = Buffer.alloc(0);

  constructor(limitOf: (stream: number) => number | undefined) {
    this.#limitOf = limitOf;
  }

  /** The frames that `chunk` completes. Throws InvalidArgument `FRAME_INVALID`; nothing can be read after that. */
  push(chunk: Buffer): { stream: number; payload: Buffer }[] {
    let bytes = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const frames: { stream: number; payload: Buffer }[] = [];
    while (bytes.length >= frameHeaderBytes) {
      const length = this.#checkHeader(bytes);
      const end = frameHeaderBytes + length;
      if (bytes.length < end) break;
      frames.push({ stream: bytes[0] ?? 0, payload: bytes.subarray(frameHeaderBytes, end) });
      bytes = bytes.subarray(end);
    }
    this.#pending = bytes;
    return frames;
  }

  #checkHeader(bytes: Buffer): number {
    const stream = bytes[0] ?? 0;
    const length = bytes.readUInt32BE(4);
    const limit = this.#limitOf(stream);
    if (limit === undefined || bytes.readUIntBE(1, 3) !== 0)
      throw invalid('FRAME_INVALID', `a frame of an unknown kind arrived (header ${bytes.toString('hex', 0, 8)})`);
    if (length > limit) throw invalid('FRAME_INVALID', `a frame of stream ${stream} has ${length} bytes, at most ${limit} are allowed`);
    return length;
  }
}
