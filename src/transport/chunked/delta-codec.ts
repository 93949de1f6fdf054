import type { Hex } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import type { ByteWriter } from '../../store/tree/byte-writer.ts';
import { limits } from '../../store/tree/meta-codec.ts';
import type { ChunkId } from '../frames/model.ts';
import { type FormReader, writeChunkId } from './stream/records.ts';

/** Bytes of a file, which is named by where its record begins in a tree's stream. */
export type FilePart = { readonly record: number; readonly offset: number; readonly length: number };
export type Span = { readonly offset: number; readonly length: number };

/** Where a frame of a delta is in its blob. */
type FrameAt = { readonly at: number; readonly compressed: number };

/** A frame that makes chunks of the streams, one after the other, with bytes of the base's stream as dictionary. */
export type StreamDelta = FrameAt & {
  readonly chunks: readonly number[] /** Places in `chunks` of the head. */;
  readonly base: readonly Span[];
};
/** A frame that makes parts of the image's files, one after the other, with parts of the base's files as dictionary. */
export type FileDelta = FrameAt & { readonly target: readonly FilePart[]; readonly base: readonly FilePart[] };

/** What whoever has another tree, the base, may take in place of chunks: docs/formats/chunked.md, "Deltas". */
export type Delta = {
  /** Which of the manifest's layers. */
  readonly blob: number;
  readonly base: TreeId;
  /** Tells whether a stream of the base is the one that the frames were made with (`markOf`). */
  readonly mark: ChunkId;
  readonly stream: readonly StreamDelta[];
  readonly files: readonly FileDelta[];
};

/** Neither a frame nor its dictionary has more plain bytes. */
export const maxDeltaWindow = 8 * 1024 * 1024;
const maxParts = 100_000;

export function writeDelta(writer: ByteWriter, { blob, base, mark, stream, files }: Delta): void {
  writer.varint(blob);
  writer.digest(base as string as Hex);
  writeChunkId(writer, mark);
  let end = 0;
  const writeAt = ({ at, compressed }: FrameAt) => {
    writer.signedVarint(at - end);
    writer.varint(compressed);
    end = at + compressed;
  };
  writer.varint(stream.length);
  for (const frame of stream) {
    writeAt(frame);
    writeRuns(writer, frame.chunks);
    writer.varint(frame.base.length);
    let after = 0;
    for (const { offset, length } of frame.base) {
      writer.signedVarint(offset - after);
      writer.varint(length);
      after = offset + length;
    }
  }
  const places = { target: 0, base: 0 };
  const writeParts = (kind: keyof typeof places, parts: readonly FilePart[]) => {
    writer.varint(parts.length);
    for (const { record, offset, length } of parts) {
      writer.signedVarint(record - places[kind]);
      writer.varint(offset);
      writer.varint(length);
      places[kind] = record;
    }
  };
  writer.varint(files.length);
  for (const frame of files) {
    writeAt(frame);
    writeParts('target', frame.target);
    writeParts('base', frame.base);
  }
}

/** `sizes` are those of the manifest's layers, `chunkLengths` of the head's chunks. What the records are is only known with the streams. */
export function readDelta(reader: FormReader, sizes: readonly { readonly size: number }[], chunkLengths: readonly number[]): Delta {
  const blob = reader.varint(sizes.length - 1, "a blob's place");
  const base = reader.digest() as string as TreeId;
  const mark = reader.chunkId();
  const size = sizes[blob]?.size ?? 0;
  let end = 0;
  const readAt = (): FrameAt => {
    const at = end + reader.signedVarint(limits.seconds, 'an offset');
    const compressed = reader.varint(2 * maxDeltaWindow, 'the length of a frame');
    if (at < 0 || compressed === 0 || at + compressed > size) reader.fail('a delta lies outside of its blob');
    end = at + compressed;
    return { at, compressed };
  };
  const stream = readList(reader, 5, 'frames of a delta', () => {
    const place = readAt();
    const chunks = readRuns(reader, chunkLengths.length);
    checkWindow(reader, chunks, (index) => chunkLengths[index] ?? 0);
    let after = 0;
    const spans = readList(reader, 2, 'parts of a dictionary', () => {
      const offset = after + reader.signedVarint(limits.seconds, 'an offset');
      const length = reader.varint(maxDeltaWindow, 'the length of a dictionary');
      if (offset < 0 || length === 0) reader.fail('a part of a dictionary is empty');
      after = offset + length;
      return { offset, length };
    });
    checkWindow(reader, spans, ({ length }) => length);
    return { ...place, chunks, base: spans };
  });
  const places = { target: 0, base: 0 };
  const readParts = (kind: keyof typeof places): FilePart[] => {
    const parts = readList(reader, 3, 'parts of files', () => {
      const record = places[kind] + reader.signedVarint(limits.seconds, "a record's place");
      const offset = reader.varint(limits.sizeBytes, 'an offset');
      const length = reader.varint(maxDeltaWindow, 'the length of a part');
      if (record < 0 || length === 0) reader.fail('a part of a file is empty');
      places[kind] = record;
      return { record, offset, length };
    });
    checkWindow(reader, parts, ({ length }) => length);
    return parts;
  };
  const files = readList(reader, 4, 'frames of a delta', () => ({ ...readAt(), target: readParts('target'), base: readParts('base') }));
  return { blob, base, mark, stream, files };
}

function checkWindow<T>(reader: FormReader, parts: readonly T[], lengthOf: (part: T) => number): void {
  let total = 0;
  for (const part of parts) total += lengthOf(part);
  if (total > maxDeltaWindow) reader.fail(`a delta is of ${total} bytes, more than ${maxDeltaWindow}`);
}

function readList<T>(reader: FormReader, leastBytes: number, what: string, read: () => T): T[] {
  const count = reader.varint(maxParts, `the number of ${what}`);
  if (count > (reader.end - reader.offset) / leastBytes) reader.fail(`it has fewer bytes than ${what}`);
  return Array.from({ length: count }, read);
}

/** Most chunks follow each other: `count` numbers from `first` on, given by the distance from where the run before ended. */
export function writeRuns(writer: ByteWriter, numbers: readonly number[]): void {
  const runs: { first: number; count: number }[] = [];
  for (const number of numbers) {
    const last = runs.at(-1);
    if (last !== undefined && number === last.first + last.count) last.count++;
    else runs.push({ first: number, count: 1 });
  }
  let next = 0;
  writer.varint(runs.length);
  for (const { first, count } of runs) {
    writer.signedVarint(first - next);
    writer.varint(count);
    next = first + count;
  }
}

/** `total` is how many numbers there are. */
export function readRuns(reader: FormReader, total: number): number[] {
  const numbers: number[] = [];
  const runCount = reader.varint(Number.MAX_SAFE_INTEGER, 'the number of runs of chunks');
  if (runCount > (reader.end - reader.offset) / 2) reader.fail('it has fewer bytes than runs of chunks');
  let next = 0;
  for (let run = 0; run < runCount; run++) {
    next += reader.signedVarint(limits.entries, 'a place');
    const count = reader.varint(total, 'the length of a run');
    if (next < 0 || count === 0 || next + count > total) reader.fail('a stream has chunks that are not there');
    // A chunk may come again, but a stream of nothing but repeats is made to fill memory.
    if (numbers.length + count > 4 * total + 1000) reader.fail('a stream repeats its chunks');
    for (let i = 0; i < count; i++) numbers.push(next++);
  }
  return numbers;
}
