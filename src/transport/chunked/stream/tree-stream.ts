import { hash } from 'node:crypto';
import type { Hex } from '../../../oci/digest.ts';
import type { NodeDigests } from '../../../store/model.ts';
import { chunkLength, streamChunks } from '../../frames/chunker.ts';
import type { ChunkId } from '../../frames/model.ts';

/** A part of a stream: one of its chunks. */
export type StreamChunk = { readonly id: ChunkId; readonly offset: number; readonly length: number };

/** Where a directory's entries are in a stream, from its first record to after its end mark, and the digests that they give. */
export type StreamDirectory = NodeDigests & { readonly start: number; readonly end: number };

/** A tree as a stream, and where its directories are in it, in the order of `start`. */
export type TreeStream = { readonly bytes: Buffer; readonly directories: DirectoryTable };

/** Bytes of a directory in a table: start and end as doubles, full and content digest. */
const rowBytes = 80;

/** Directories of a stream, as rows of one buffer: a tree has tens of thousands, and most are never looked at. */
export class DirectoryTable {
  #rows: Buffer;
  #count: number;
  #byFull: Map<string, number> | undefined;

  constructor(rows: Buffer = Buffer.allocUnsafeSlow(rowBytes * 64), count = 0) {
    this.#rows = rows;
    this.#count = count;
  }

  get count(): number {
    return this.#count;
  }

  get rows(): Buffer {
    return this.#rows.subarray(0, this.#count * rowBytes);
  }

  /** Takes a row for a directory that starts here; its end and digests are not known yet. */
  begin(start: number): number {
    if ((this.#count + 1) * rowBytes > this.#rows.length) {
      const larger = Buffer.allocUnsafeSlow(this.#rows.length * 2);
      this.#rows.copy(larger);
      this.#rows = larger;
    }
    this.#rows.writeDoubleLE(start, this.#count * rowBytes);
    return this.#count++;
  }

  finish(row: number, end: number, { full, content }: NodeDigests): void {
    this.#rows.writeDoubleLE(end, row * rowBytes + 8);
    this.#rows.write(full, row * rowBytes + 16, 32, 'hex');
    this.#rows.write(content, row * rowBytes + 48, 32, 'hex');
  }

  /** Takes over the rows of another stream for a range of its bytes that was copied, moved by `shift`. */
  copy(from: DirectoryTable, start: number, end: number, shift: number): void {
    for (let row = from.#lowerBound(start); row < from.#count; row++) {
      const one = from.at(row);
      if (one.start >= end) return;
      this.finish(this.begin(one.start + shift), one.end + shift, one);
    }
  }

  at(row: number): StreamDirectory {
    const base = row * rowBytes;
    return {
      start: this.#rows.readDoubleLE(base),
      end: this.#rows.readDoubleLE(base + 8),
      full: this.#rows.toString('hex', base + 16, base + 48) as Hex,
      content: this.#rows.toString('hex', base + 48, base + 80) as Hex,
    };
  }

  /** The directory whose entries begin at this byte. */
  startingAt(start: number): StreamDirectory | undefined {
    const row = this.#lowerBound(start);
    return row < this.#count && this.#rows.readDoubleLE(row * rowBytes) === start ? this.at(row) : undefined;
  }

  /** A directory of that node. */
  withNode(full: Hex): StreamDirectory | undefined {
    if (this.#byFull === undefined) {
      this.#byFull = new Map();
      for (let row = 0; row < this.#count; row++)
        this.#byFull.set(this.#rows.toString('latin1', row * rowBytes + 16, row * rowBytes + 48), row);
    }
    const row = this.#byFull.get(Buffer.from(full, 'hex').toString('latin1'));
    return row === undefined ? undefined : this.at(row);
  }

  #lowerBound(start: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#rows.readDoubleLE(middle * rowBytes) < start) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Cuts a stream: docs/formats/chunked.md, "Chunks of the stream". */
export function cutStream(bytes: Buffer): StreamChunk[] {
  const chunks: StreamChunk[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const length = chunkLength(bytes, offset, bytes.length, streamChunks);
    chunks.push({ id: idOf(bytes.subarray(offset, offset + length)), offset, length });
    offset += length;
  }
  return chunks;
}

/** What a chunk's id would be for these bytes. */
export function idOf(bytes: Uint8Array): ChunkId {
  return hash('sha256', bytes, 'hex').slice(0, 32) as ChunkId;
}
