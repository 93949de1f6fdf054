/** Node's Buffer method that its types leave out: it writes without looking at an encoding's name. */
type RawBuffer = Buffer & { latin1Write(text: string, offset: number): number };

/**
 * A growing run of zeroed bytes with views for whole words. Positions handed out by `reserve` stay valid; `bytes` and `words` do not
 * survive a later `reserve`, so read them from here each time. Words are little-endian, as are the machines that Node's binaries run on.
 */
export class ImageBuffer {
  bytes: RawBuffer;
  words: Uint32Array;
  length = 0;

  constructor(capacityBytes: number) {
    const memory = new ArrayBuffer(capacityBytes);
    this.bytes = Buffer.from(memory) as RawBuffer;
    this.words = new Uint32Array(memory);
  }

  /** Makes room for `size` bytes at `position` (at or past the end) and moves the end there. */
  reserve(position: number, size: number): void {
    this.length = position + size;
    if (this.length <= this.bytes.length) return;
    let capacity = this.bytes.length * 2;
    while (capacity < this.length) capacity *= 2;
    const memory = new ArrayBuffer(capacity);
    const bytes = Buffer.from(memory) as RawBuffer;
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.words = new Uint32Array(memory);
  }

  /** Names are short: a loop beats the call into C++ up to about 24 bytes. */
  writeName(text: string, position: number): void {
    if (text.length > 24) {
      this.bytes.latin1Write(text, position);
      return;
    }
    const { bytes } = this;
    for (let i = 0; i < text.length; i++) bytes[position + i] = text.charCodeAt(i);
  }
}
