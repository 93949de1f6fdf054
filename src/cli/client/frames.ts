/** Stream numbers of Docker's multiplexed streams, and of Slipway's run protocol, which adds control (docs/formats/api.md). */
export const streams = { control: 0, stdout: 1, stderr: 2, stdin: 3 } as const;

const headerBytes = 8;

/** One frame: the stream's number, three zero bytes, the payload's length (32 bits, big-endian), the payload. */
export function encodeFrame(stream: number, payload: string | Uint8Array): Buffer {
  const length = typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
  const frame = Buffer.allocUnsafe(headerBytes + length);
  frame.writeUInt32BE(stream * 0x1000000, 0);
  frame.writeUInt32BE(length, 4);
  if (typeof payload === 'string') frame.write(payload, headerBytes);
  else frame.set(payload, headerBytes);
  return frame;
}

/**
 * Takes frames apart, however they are cut. Output is handed on as it comes, so that a frame of a gigabyte needs no memory;
 * frames of the streams named in `whole` are gathered first.
 */
export class FrameDecoder {
  readonly #onData: (stream: number, data: Buffer) => void;
  readonly #whole: readonly number[];
  #header = Buffer.allocUnsafe(headerBytes);
  #headerFilled = 0;
  #stream = 0;
  #left = 0;
  #gathered: Buffer[] = [];

  constructor(onData: (stream: number, data: Buffer) => void, options: { whole?: readonly number[] } = {}) {
    this.#onData = onData;
    this.#whole = options.whole ?? [];
  }

  /** Whether the bytes so far end between two frames. */
  get complete(): boolean {
    return this.#headerFilled === 0;
  }

  push(piece: Buffer): void {
    let at = 0;
    while (at < piece.length) {
      if (this.#headerFilled < headerBytes) {
        const end = Math.min(piece.length, at + headerBytes - this.#headerFilled);
        piece.copy(this.#header, this.#headerFilled, at, end);
        this.#headerFilled += end - at;
        at = end;
        if (this.#headerFilled < headerBytes) return;
        this.#stream = this.#header[0] ?? 0;
        this.#left = this.#header.readUInt32BE(4);
      }
      const end = Math.min(piece.length, at + this.#left);
      this.#take(piece.subarray(at, end));
      at = end;
    }
  }

  #take(data: Buffer): void {
    this.#left -= data.length;
    const ended = this.#left === 0;
    if (ended) this.#headerFilled = 0;
    if (!this.#whole.includes(this.#stream)) {
      if (data.length > 0) this.#onData(this.#stream, data);
      return;
    }
    this.#gathered.push(data);
    if (!ended) return;
    const payload = Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#onData(this.#stream, payload);
  }
}
