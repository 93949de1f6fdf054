import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { EngineError } from '../../base/errors.ts';
import { ByteReader } from '../../store/tree/byte-reader.ts';
import { ByteWriter } from '../../store/tree/byte-writer.ts';
import type { LayerCompression } from '../port.ts';
import { fileChunks } from './chunker.ts';
import type { ChunkId, FrameTable } from './model.ts';

const magic = [0x53, 0x46] as const; // "SF"
const version = 1;
const compressions: readonly LayerCompression[] = ['gzip', 'zstd', 'none'];
const idBytes = 16;

/** What a table may say. A frame is small enough to be unpacked in memory by whoever wants one chunk of it. */
export const tableLimits = {
  encodedBytes: 128 << 20,
  plainTableBytes: 256 << 20,
  frames: 1 << 22,
  chunks: 1 << 23,
  frameBytes: 16 << 20,
  chunkBytes: fileChunks.maxBytes,
} as const;

/** A table as a blob: docs/formats/frames.md, "Tables". Compressed; the same table gives the same bytes. */
export function encodeFrameTable({ compression, frames, chunks }: FrameTable): Buffer {
  const writer = new ByteWriter(1024 + frames.length * 6 + chunks.length * (idBytes + 6));
  for (const byte of magic) writer.u8(byte);
  writer.u8(version);
  writer.u8(compressions.indexOf(compression));
  writer.varint(frames.length);
  for (const { plain } of frames) writer.varint(plain);
  for (const { compressed } of frames) writer.varint(compressed);
  writer.varint(chunks.length);
  // By columns: ids do not compress, and what stands between them would be harder to.
  writePlaces(writer, chunks);
  for (const { length } of chunks) writer.varint(length);
  for (const { id } of chunks) {
    writer.reserve(idBytes);
    writer.buffer.write(id, writer.length, idBytes, 'hex');
    writer.length += idBytes;
  }
  return zstdCompressSync(writer.view(), { params: { [constants.ZSTD_c_compressionLevel]: 3 } });
}

/** Frame by the number of frames since the last chunk's; place by the bytes since the last chunk's end, or since the frame's start. */
function writePlaces(writer: ByteWriter, chunks: FrameTable['chunks']): void {
  let frame = 0;
  let end = 0;
  for (const chunk of chunks) {
    if (chunk.frame !== frame) end = 0;
    writer.varint(chunk.frame - frame);
    writer.varint(chunk.offset - end);
    frame = chunk.frame;
    end = chunk.offset + chunk.length;
  }
}

/** Reads untrusted bytes. InvalidArgument `FRAME_TABLE_INVALID` for anything that `encodeFrameTable` would not have written, and beyond its limits. `what` names it in errors. */
export function decodeFrameTable(bytes: Uint8Array, what = 'a frame table'): FrameTable {
  const reader: TableReader = new TableReader(unpack(bytes, what), what);
  reader.magic(magic, version);
  const compression = compressions[reader.u8()];
  if (compression === undefined) reader.fail('its compression is not known');
  const frames = readFrames(reader, compression);
  const chunks = readChunks(reader, frames);
  reader.finish();
  return { compression, frames, chunks };
}

function unpack(bytes: Uint8Array, what: string): Buffer {
  if (bytes.length > tableLimits.encodedBytes) throw invalid(`${what} has ${bytes.length} bytes, more than ${tableLimits.encodedBytes}`);
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: tableLimits.plainTableBytes });
  } catch (cause) {
    throw invalid(`${what} cannot be unpacked`, cause);
  }
}

function readFrames(reader: TableReader, compression: LayerCompression): FrameTable['frames'] {
  const count = reader.count(tableLimits.frames, 2, 'the number of frames');
  const plain = Array.from({ length: count }, () => reader.varint(tableLimits.frameBytes, 'the plain size of a frame'));
  return plain.map((size) => {
    // A compressor makes no more of what it cannot compress than this.
    const compressed = reader.varint(2 * tableLimits.frameBytes, 'the size of a frame');
    if (size === 0 || compressed === 0) reader.fail('a frame is empty');
    if (compression === 'none' && compressed !== size) reader.fail('a frame that is not compressed has two sizes');
    return { compressed, plain: size };
  });
}

function readChunks(reader: TableReader, frames: FrameTable['frames']): FrameTable['chunks'] {
  const count = reader.count(tableLimits.chunks, idBytes + 3, 'the number of chunks');
  const chunks: { id: ChunkId; frame: number; offset: number; length: number }[] = [];
  for (let i = 0; i < count; i++) {
    const frame = reader.varint(frames.length, 'the distance to a frame');
    const offset = reader.varint(tableLimits.frameBytes, 'the place of a chunk');
    chunks.push({ id: '' as ChunkId, frame, offset, length: 0 });
  }
  for (const chunk of chunks) chunk.length = reader.varint(tableLimits.chunkBytes, 'the length of a chunk');
  place(reader, chunks, frames);
  const seen = new Set<ChunkId>();
  for (const chunk of chunks) {
    chunk.id = reader.id();
    if (seen.has(chunk.id)) reader.fail('a chunk is in it twice');
    seen.add(chunk.id);
  }
  return chunks;
}

/** Turns distances into places; no chunk overlaps another or leaves its frame. */
function place(reader: TableReader, chunks: { frame: number; offset: number; length: number }[], frames: FrameTable['frames']): void {
  let frame = 0;
  let end = 0;
  for (const chunk of chunks) {
    if (chunk.frame !== 0) end = 0;
    chunk.frame += frame;
    chunk.offset += end;
    frame = chunk.frame;
    end = chunk.offset + chunk.length;
    const plain = frames[frame]?.plain;
    if (plain === undefined) reader.fail('a chunk lies in a frame that is not there');
    if (chunk.length === 0) reader.fail('a chunk is empty');
    if (end > plain) reader.fail('a chunk does not end in its frame');
  }
}

class TableReader extends ByteReader {
  readonly #name: string;

  constructor(bytes: Buffer, what: string) {
    super(bytes, what);
    this.#name = what;
  }

  override fail(reason: string): never {
    throw invalid(`${this.#name} is not sound at byte ${this.offset}: ${reason}`);
  }

  /** A number of items of at least `itemBytes` each, which must fit into what is left. */
  count(limit: number, itemBytes: number, what: string): number {
    const count = this.varint(limit, what);
    if (count * itemBytes > this.end - this.offset) this.fail(`${what} is ${count}, more than there are bytes for`);
    return count;
  }

  id(): ChunkId {
    if (this.end - this.offset < idBytes) this.fail('it ends too early');
    const start = this.offset;
    this.offset += idBytes;
    return this.buffer.toString('hex', start, this.offset) as ChunkId;
  }
}

function invalid(message: string, cause?: unknown): EngineError {
  return new EngineError('InvalidArgument', 'FRAME_TABLE_INVALID', message, { cause });
}
