/** Appends to one growing buffer: the encoders of nodes, root records and stat caches write hundreds of thousands of small fields. */
export class ByteWriter {
  buffer: Buffer;
  length = 0;

  constructor(initialBytes = 1 << 16) {
    this.buffer = Buffer.allocUnsafeSlow(initialBytes);
  }

  /** Makes room for `bytes` more. */
  reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.buffer.length) return;
    let capacity = this.buffer.length * 2;
    while (capacity < needed) capacity *= 2;
    const larger = Buffer.allocUnsafeSlow(capacity);
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  u8(value: number): void {
    this.reserve(1);
    this.buffer[this.length++] = value;
  }

  u16(value: number): void {
    this.reserve(2);
    this.buffer.writeUInt16LE(value, this.length);
    this.length += 2;
  }

  u32(value: number): void {
    this.reserve(4);
    this.buffer.writeUInt32LE(value, this.length);
    this.length += 4;
  }

  f64(value: number): void {
    this.reserve(8);
    this.buffer.writeDoubleLE(value, this.length);
    this.length += 8;
  }

  /** LEB128: seven bits a byte, lowest first. For integers of 0 .. 2^53-1. */
  varint(value: number): void {
    this.reserve(8);
    const buffer = this.buffer;
    let at = this.length;
    let rest = value;
    while (rest >= 0x80) {
      // Above 2^31 the bit operators would cut the number.
      buffer[at++] = (rest % 0x80) | 0x80;
      rest = rest > 0x7fff_ffff ? Math.floor(rest / 0x80) : rest >>> 7;
    }
    buffer[at++] = rest;
    this.length = at;
  }

  /** Zigzag: 0, -1, 1, -2 … become 0, 1, 2, 3 … For integers of magnitude below 2^52. */
  signedVarint(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  /** A length and the bytes of a ByteString. */
  bytes(value: string): void {
    this.varint(value.length);
    this.text(value);
  }

  /** The bytes of a ByteString. */
  text(value: string): void {
    const count = value.length;
    this.reserve(count);
    if (count > 24) {
      this.buffer.write(value, this.length, count, 'latin1');
    } else {
      // A loop beats the call into C++ for names of usual length.
      const { buffer, length } = this;
      for (let i = 0; i < count; i++) buffer[length + i] = value.charCodeAt(i);
    }
    this.length += count;
  }

  /** A SHA-256 given in hex, as 32 bytes. */
  digest(hex: string): void {
    this.reserve(32);
    this.buffer.write(hex, this.length, 32, 'hex');
    this.length += 32;
  }

  raw(source: Uint8Array, start = 0, end = source.length): void {
    const count = end - start;
    this.reserve(count);
    if (Buffer.isBuffer(source)) source.copy(this.buffer, this.length, start, end);
    else this.buffer.set(source.subarray(start, end), this.length);
    this.length += count;
  }

  /** A view of what was written from `start` on; good until the next write. */
  view(start = 0, end = this.length): Buffer {
    return this.buffer.subarray(start, end);
  }

  /** Gives away the bytes, in memory of their own, and starts afresh. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(this.length);
    taken.set(this.buffer.subarray(0, this.length));
    this.buffer = Buffer.allocUnsafeSlow(1 << 16);
    this.length = 0;
    return taken;
  }
}
