import type { ByteString } from '../../../base/bytes.ts';
import type { Hex } from '../../../oci/digest.ts';
import { type Entry, EntryType, type FileEntry } from '../../../store/model.ts';
import { ByteReader } from '../../../store/tree/byte-reader.ts';
import type { ByteWriter } from '../../../store/tree/byte-writer.ts';
import { hasXattrs, limits, type Mutable, readMeta, readTime, writeMeta, writeTime } from '../../../store/tree/meta-codec.ts';
import { checkName, maxNameBytes, nameProblem } from '../../../store/tree/names.ts';
import { fileChunks } from '../../frames/chunker.ts';
import type { Chunk, ChunkId } from '../../frames/model.ts';
import { invalidForm, unknownVersion } from '../errors.ts';

/**
 * The tree stream: docs/formats/chunked.md, "Tree stream". Each entry is a record; a directory's record is followed by those of its entries, in bytewise order of names, and by an end mark. The
 * entries of the root come first and have no end mark but the end of the stream.
 */
export const endMark = 0;
const typeMask = 0x0f;
/** Added to a file's tag when its list of chunks follows. */
const hasChunks = 0x20;

/** Marks a file of a layer whose content is not here (receive-tree.ts). Refused in a stream, so that no entry of an image is taken for one. */
export const absentAttribute = 'trusted.slipway.absent' as ByteString;

/** No chunk is larger, in files and in the stream itself. */
export const maxChunkBytes = fileChunks.maxBytes;
/** Directories are not deeper in any image that this engine takes in. */
export const maxDepth = 2048;

/** Reads this room's formats, strictly. */
export class FormReader extends ByteReader {
  readonly #name: string;

  constructor(bytes: Uint8Array, name: string, start = 0, end = bytes.length) {
    super(bytes, name, start, end);
    this.#name = name;
  }

  override fail(reason: string): never {
    throw invalidForm(this.#name, `at byte ${this.offset}, ${reason}`);
  }

  override magic(expected: readonly number[], version: number): void {
    for (const byte of expected) if (this.u8() !== byte) this.fail('it does not start as it should');
    const found = this.u8();
    if (found !== version) throw unknownVersion(this.#name, found, version);
  }

  chunkId(): ChunkId {
    if (this.end - this.offset < 16) this.fail('it ends too early');
    this.offset += 16;
    return this.buffer.toString('hex', this.offset - 16, this.offset) as ChunkId;
  }
}

export function writeChunkId(writer: ByteWriter, id: ChunkId): void {
  writer.reserve(16);
  writer.buffer.write(id, writer.length, 16, 'hex');
  writer.length += 16;
}

/** `chunks` of a file that has more than one. A directory's entries are to follow, then the end mark. */
export function writeRecord(writer: ByteWriter, entry: Entry, chunks: readonly Chunk[] | undefined): void {
  checkName(entry.name);
  const xattrs = entry.xattrs === undefined || entry.xattrs.length === 0 ? 0 : hasXattrs;
  const listed = entry.type === EntryType.file && chunks !== undefined && chunks.length > 1;
  writer.u8(entry.type | xattrs | (listed ? hasChunks : 0));
  writer.bytes(entry.name);
  writeMeta(writer, entry, entry.name);
  writeTime(writer, entry);
  switch (entry.type) {
    case EntryType.file:
      writer.varint(entry.size);
      writer.digest(entry.object);
      if (listed) writeChunks(writer, chunks);
      break;
    case EntryType.symlink:
      writer.bytes(entry.target);
      break;
    case EntryType.charDevice:
    case EntryType.blockDevice:
      writer.varint(entry.major);
      writer.varint(entry.minor);
      break;
    case EntryType.directory:
    case EntryType.fifo:
      break;
  }
}

function writeChunks(writer: ByteWriter, chunks: readonly Chunk[]): void {
  writer.varint(chunks.length);
  for (const { id, length } of chunks) {
    writeChunkId(writer, id);
    writer.varint(length);
  }
}

/** A directory's digests are empty. `chunksAt` is where the list of a file's chunks begins, 0 without one. */
export type StreamRecord = { entry: Mutable<Entry>; chunksAt: number };

const noDigest = '' as Hex;

/** The next record; undefined for an end mark. */
export function readRecord(reader: FormReader): StreamRecord | undefined {
  const tag = reader.u8();
  if (tag === endMark) return undefined;
  const type = tag & typeMask;
  if ((tag & ~(typeMask | hasXattrs | hasChunks)) !== 0) reader.fail(`an entry has the tag ${tag}`);
  if ((tag & hasChunks) !== 0 && type !== EntryType.file) reader.fail(`an entry has the tag ${tag}`);
  const name = reader.bytes(maxNameBytes, 'a name');
  const problem = nameProblem(name);
  if (problem !== undefined) reader.fail(`a name cannot be used: ${problem}`);
  const base = { name, ...readMeta(reader, (tag & hasXattrs) !== 0), mtimeSec: 0, mtimeNsec: 0 };
  readTime(reader, base);
  if (base.xattrs?.some(([key]) => key === absentAttribute)) reader.fail('an entry has an attribute that is for marks of this engine');
  switch (type) {
    case EntryType.file:
      return readFile(reader, base, (tag & hasChunks) !== 0);
    case EntryType.directory:
      return { entry: { type: EntryType.directory, ...base, full: noDigest, content: noDigest }, chunksAt: 0 };
    case EntryType.symlink: {
      const target = reader.bytes(limits.linkBytes, 'a link target');
      if (target.length === 0 || target.includes('\0')) reader.fail('a link target is empty or holds a NUL byte');
      return { entry: { type: EntryType.symlink, ...base, target }, chunksAt: 0 };
    }
    case EntryType.charDevice:
    case EntryType.blockDevice: {
      const major = reader.varint(limits.device, 'a device number');
      const minor = reader.varint(limits.device, 'a device number');
      if (type === EntryType.charDevice && major === 0 && minor === 0) reader.fail('a character device is 0:0');
      return { entry: { type, ...base, major, minor }, chunksAt: 0 };
    }
    case EntryType.fifo:
      return { entry: { type: EntryType.fifo, ...base }, chunksAt: 0 };
    default:
      return reader.fail(`an entry has the type ${type}`);
  }
}

type Base = Omit<FileEntry, 'type' | 'size' | 'object'>;

function readFile(reader: FormReader, base: Base, listed: boolean): StreamRecord {
  const size = reader.varint(limits.sizeBytes, 'a size');
  const object = reader.digest();
  const chunksAt = listed ? reader.offset : 0;
  if (listed) skipChunks(reader, size);
  else if (size > maxChunkBytes) reader.fail(`a file of ${size} bytes has no list of chunks`);
  return { entry: { type: EntryType.file, ...base, size, object }, chunksAt };
}

/** Checks a list without building it: most files are here already. */
function skipChunks(reader: FormReader, size: number): void {
  const count = reader.varint(limits.sizeBytes, 'the number of chunks');
  if (count < 2) reader.fail('a list of chunks has fewer than two');
  if (count > (reader.end - reader.offset) / 17) reader.fail('it has fewer bytes than chunks');
  let total = 0;
  for (let i = 0; i < count; i++) {
    if (reader.end - reader.offset < 17) reader.fail('it ends too early');
    reader.offset += 16;
    const length = reader.varint(maxChunkBytes, 'the length of a chunk');
    if (length === 0) reader.fail('a chunk is empty');
    total += length;
  }
  if (total !== size) reader.fail(`a file of ${size} bytes has chunks of ${total}`);
}

/** The chunks of a file whose record was read, in order. A file without a list is one chunk; an empty one has none. */
export function chunksOf({ entry, chunksAt }: StreamRecord, stream: Uint8Array): Chunk[] {
  if (entry.type !== EntryType.file || entry.size === 0) return [];
  if (chunksAt === 0) return [{ id: entry.object.slice(0, 32) as ChunkId, length: entry.size }];
  const reader = new FormReader(stream, 'a list of chunks', chunksAt);
  const count = reader.varint(limits.sizeBytes, 'the number of chunks');
  const chunks: Chunk[] = [];
  for (let i = 0; i < count; i++) chunks.push({ id: reader.chunkId(), length: reader.varint(maxChunkBytes, 'the length of a chunk') });
  return chunks;
}

/** The file whose record begins at this byte of a sound stream; undefined when no file's does. */
export function fileAt(stream: Uint8Array, at: number): (StreamRecord & { entry: FileEntry }) | undefined {
  if (at >= stream.length) return undefined;
  const record = readRecord(new FormReader(stream, 'a tree stream', at));
  return record?.entry.type === EntryType.file ? { ...record, entry: record.entry } : undefined;
}

/** All records of a sound stream, in order, with the paths of directories left out. */
export function* readRecords(stream: Uint8Array): Generator<StreamRecord> {
  const reader = new FormReader(stream, 'a tree stream');
  while (reader.offset < reader.end) {
    const record = readRecord(reader);
    if (record !== undefined) yield record;
  }
}
