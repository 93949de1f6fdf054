import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../model.ts';
import { ByteReader } from '../tree/byte-reader.ts';
import type { ByteWriter } from '../tree/byte-writer.ts';

/** What a directory holds at any depth. `size` is the sum of its files' sizes in bytes. */
export type Totals = { files: number; directories: number; size: number };

/** What a job leaves to be committed in one transaction. The arrays are transferred, not copied, from thread to thread. */
export type Commit = {
  /** Records as `packNode` writes them. */
  nodes: Uint8Array<ArrayBuffer>;
  roots: CommitRoot[];
};
export type CommitRoot = { id: TreeId; content: Hex; bytes: Uint8Array; totals: Totals };

export function packNode(into: ByteWriter, full: Hex, totals: Totals, bytes: Uint8Array): void {
  into.digest(full);
  into.f64(totals.files);
  into.f64(totals.directories);
  into.f64(totals.size);
  into.u32(bytes.length);
  into.raw(bytes);
}

export function* unpackNodes(nodes: Uint8Array): Generator<{ full: Buffer; totals: Totals; bytes: Buffer }> {
  const reader = new ByteReader(nodes, 'a commit');
  const buffer = reader.buffer;
  while (reader.offset < reader.end) {
    const start = reader.offset;
    const full = buffer.subarray(start, start + 32);
    const totals = {
      files: buffer.readDoubleLE(start + 32),
      directories: buffer.readDoubleLE(start + 40),
      size: buffer.readDoubleLE(start + 48),
    };
    const length = buffer.readUInt32LE(start + 56);
    reader.offset = start + 60 + length;
    yield { full, totals, bytes: buffer.subarray(start + 60, reader.offset) };
  }
}
