/** Numbers for digests, in the order in which they came: 40 bytes each, where a Map of strings takes 150. */
export class DigestTable {
  #words = new Uint32Array(8 * 1024);
  #slots = new Int32Array(4096);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The number of the digest at `offset`, which it gets if it has none. */
  intern(bytes: Buffer, offset = 0): number {
    const found = this.#find(bytes, offset);
    if (found >= 0) return found;
    const index = this.#count++;
    if (8 * index + 8 > this.#words.length) this.#words = grown(this.#words);
    for (let i = 0; i < 8; i++) this.#words[8 * index + i] = bytes.readUInt32LE(offset + 4 * i);
    if (2 * this.#count > this.#slots.length) this.#rehash();
    else this.#slots[-found - 1] = index + 1;
    return index;
  }

  /** -1 when it has none. */
  indexOf(bytes: Buffer, offset = 0): number {
    return Math.max(-1, this.#find(bytes, offset));
  }

  /** The digest's 32 bytes, to be read and not kept. */
  bytes(index: number): Buffer {
    return Buffer.from(this.#words.buffer, 32 * index, 32);
  }

  /** Those of these numbers, packed. */
  pack(indices: ArrayLike<number>): Uint8Array<ArrayBuffer> {
    const packed = new Uint8Array(32 * indices.length);
    for (let i = 0; i < indices.length; i++) packed.set(this.bytes(indices[i] as number), 32 * i);
    return packed;
  }

  /** The number, or the free slot as -1 - slot. */
  #find(bytes: Buffer, offset: number): number {
    const mask = this.#slots.length - 1;
    const w0 = bytes.readUInt32LE(offset);
    const w1 = bytes.readUInt32LE(offset + 4);
    const w2 = bytes.readUInt32LE(offset + 8);
    const w3 = bytes.readUInt32LE(offset + 12);
    for (let slot = w0 & mask; ; slot = (slot + 1) & mask) {
      const index = (this.#slots[slot] as number) - 1;
      if (index < 0) return -1 - slot;
      const at = 8 * index;
      const words = this.#words;
      // Half of a SHA-256 tells two digests apart.
      if (words[at] === w0 && words[at + 1] === w1 && words[at + 2] === w2 && words[at + 3] === w3) return index;
    }
  }

  #rehash(): void {
    this.#slots = new Int32Array(4 * this.#slots.length);
    const mask = this.#slots.length - 1;
    for (let index = 0; index < this.#count; index++) {
      let slot = (this.#words[8 * index] as number) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = index + 1;
    }
  }
}

/** A list of numbers that grows: 4 bytes each. */
export class IntList {
  #values = new Int32Array(1024);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) this.#values = grown(this.#values);
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index] as number;
  }

  view(): Int32Array {
    return this.#values.subarray(0, this.length);
  }
}

function grown<T extends Uint32Array | Int32Array>(values: T): T {
  const larger = new (values.constructor as new (length: number) => T)(2 * values.length);
  larger.set(values);
  return larger;
}
