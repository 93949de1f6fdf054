import type { Hex } from '../../oci/digest.ts';

/** Eight million digests: far more than one job looks at. */
const limitBytes = 8 * 8_000_000;
const headerBytes = 8;
const firstBytes = headerBytes + 8 * 512;

/**
 * What one job relies on: the beginnings (64 bits) of the digests of objects, nodes and trees that it found, or put. A job that finds that something is
 * in the store does not write it again, so the collector must not take it before the job has committed; no lease can say it, since nothing refers to it
 * yet. The job notes a digest *before* it looks; the collector takes a thing away, *then* reads the notes, and brings back what is among them. Whichever
 * order the two threads come in, one of them sees the other. Written by one thread, read by others.
 */
export class Witness {
  readonly shared: SharedArrayBuffer;
  readonly #header: Uint32Array;
  #halves: Uint32Array;
  #count: number;

  constructor(shared = new SharedArrayBuffer(firstBytes, { maxByteLength: limitBytes })) {
    this.shared = shared;
    this.#header = new Uint32Array(shared, 0, 2);
    this.#halves = new Uint32Array(shared, headerBytes);
    this.#count = Atomics.load(this.#header, 0);
  }

  note(digest: Hex): void {
    const at = 2 * this.#count;
    if (at + 2 > this.#halves.length && !this.#grow()) return;
    this.#halves[at] = half(digest, 0);
    this.#halves[at + 1] = half(digest, 8);
    // Orders the note before whatever the job looks at next.
    Atomics.store(this.#header, 0, ++this.#count);
  }

  #grow(): boolean {
    const bytes = this.shared.byteLength;
    if (bytes === limitBytes) {
      Atomics.store(this.#header, 1, 1);
      return false;
    }
    this.shared.grow(Math.min(limitBytes, headerBytes + 2 * (bytes - headerBytes)));
    this.#halves = new Uint32Array(this.shared, headerBytes);
    return true;
  }
}

/** The notes of several jobs, read again and again: each `refresh` reads what came since the last. */
export class Witnesses {
  readonly #read = new Map<SharedArrayBuffer, number>();
  readonly #noted = new Set<number>();
  #overflowed = false;

  /** True when something came. */
  refresh(shared: readonly SharedArrayBuffer[]): boolean {
    let fresh = false;
    for (const buffer of shared) {
      const header = new Uint32Array(buffer, 0, 2);
      const count = Atomics.load(header, 0);
      if (Atomics.load(header, 1) !== 0) this.#overflowed = true;
      const from = this.#read.get(buffer) ?? 0;
      if (count === from) continue;
      fresh = true;
      const halves = new Uint32Array(buffer, headerBytes, 2 * count);
      for (let i = 2 * from; i < 2 * count; i += 2) this.#noted.add(pair(halves[i] as number, halves[i + 1] as number));
      this.#read.set(buffer, count);
    }
    return fresh;
  }

  /** Whether a job relies on the digest whose bytes begin at `offset`. Says yes too often rather than too seldom. */
  has(bytes: Buffer, offset = 0): boolean {
    return this.#overflowed || this.#noted.has(pair(bytes.readUInt32BE(offset), bytes.readUInt32BE(offset + 4)));
  }
}

/** Eight hexadecimal digits, without a string in between. */
function half(digest: Hex, from: number): number {
  let value = 0;
  for (let i = from; i < from + 8; i++) {
    const code = digest.charCodeAt(i);
    value = (value << 4) | (code < 0x3a ? code - 0x30 : code - 0x57);
  }
  return value;
}

/** 53 of the 64 bits: what a number holds exactly. */
function pair(high: number, low: number): number {
  return high * 0x20_0000 + (low >>> 11);
}
