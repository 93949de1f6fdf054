import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { ByteString } from '../../base/bytes.ts';
import { type Digest, digestOf, type Hex, hexOf } from '../../oci/digest.ts';
import type { Meta, TreeId } from '../../store/model.ts';
import { ByteWriter } from '../../store/tree/byte-writer.ts';
import { hasXattrs, limits, readMeta, readTime, writeMeta, writeTime } from '../../store/tree/meta-codec.ts';
import { maxPathBytes, pathProblem } from '../../store/tree/names.ts';
import type { ChunkId } from '../frames/model.ts';
import { type Delta, readDelta, readRuns, writeDelta, writeRuns } from './delta-codec.ts';
import { invalidForm } from './errors.ts';
import { FormReader, maxChunkBytes, writeChunkId } from './stream/records.ts';

/** Where a chunk of the streams is: bytes of a stream pack, one zstd frame. `pack` counts in `streamPacks`. */
export type StreamPlace = {
  readonly id: ChunkId;
  readonly pack: number;
  readonly offset: number;
  readonly compressed: number;
  readonly length: number;
};

/** A tree without its directories: what the receiver needs beside the stream to make the root record again, and to check it. */
export type HeadTree = {
  readonly id: TreeId;
  readonly meta: Meta;
  readonly hardlinks: readonly (readonly ByteString[])[];
  /** The chunks of its stream, as places in `chunks` of the head. */
  readonly stream: readonly number[];
};

export type HeadLayerEntry = {
  /** Which of the manifest's layers. */
  readonly blob: number;
  readonly diffId: Digest;
  readonly tree: HeadTree;
  readonly implied: readonly ByteString[];
};

/** A blob that holds chunks, and its table; both as places in the manifest's layers. A layer without a table holds chunks that nobody can find without unpacking it. */
export type HeadPack = { readonly blob: number; readonly table: number | undefined };

/** What the chunked form begins with: docs/formats/chunked.md, "Head". Blobs are given as places in the manifest's `layers`. */
export type Head = {
  readonly streamPacks: readonly number[];
  readonly chunks: readonly StreamPlace[];
  readonly tree: HeadTree;
  /** Of the ordinary manifest, lowest first. */
  readonly layers: readonly HeadLayerEntry[];
  readonly packs: readonly HeadPack[];
  readonly deltas: readonly Delta[];
};

const magic = [0x53, 0x57, 0x48] as const; // "SWH"
const version = 2;
export const maxHeadBytes = 32 * 1024 * 1024;
const maxPlainHeadBytes = 256 * 1024 * 1024;
const maxBlobs = 10_000;
const maxDeltas = 100;

export function encodeHead(head: Head): Buffer {
  const writer = new ByteWriter();
  for (const byte of magic) writer.u8(byte);
  writer.u8(version);
  writeList(writer, head.streamPacks, (blob) => writer.varint(blob));
  writePlaces(writer, head.chunks);
  writeTree(writer, head.tree);
  writeList(writer, head.layers, ({ blob, diffId, tree, implied }) => {
    writer.varint(blob);
    writer.digest(hexOf(diffId));
    writeTree(writer, tree);
    writeList(writer, implied, (path) => writer.bytes(path));
  });
  writeList(writer, head.packs, ({ blob, table }) => {
    writer.varint(blob);
    writer.varint(table === undefined ? 0 : table + 1);
  });
  writeList(writer, head.deltas, (delta) => writeDelta(writer, delta));
  return zstdCompressSync(writer.view(), { params: { [constants.ZSTD_c_compressionLevel]: 9, [constants.ZSTD_c_checksumFlag]: 1 } });
}

function writeList<T>(writer: ByteWriter, items: readonly T[], write: (item: T) => void): void {
  writer.varint(items.length);
  for (const item of items) write(item);
}

function writePlaces(writer: ByteWriter, chunks: readonly StreamPlace[]): void {
  const ends = new Map<number, number>();
  writer.varint(chunks.length);
  for (const { id, pack, offset, compressed, length } of chunks) {
    writeChunkId(writer, id);
    writer.varint(pack);
    writer.signedVarint(offset - (ends.get(pack) ?? 0));
    writer.varint(compressed);
    writer.varint(length);
    ends.set(pack, offset + compressed);
  }
}

function writeTree(writer: ByteWriter, { id, meta, hardlinks, stream }: HeadTree): void {
  writer.digest(id);
  writer.u8(meta.xattrs === undefined || meta.xattrs.length === 0 ? 0 : hasXattrs);
  writeMeta(writer, meta, '/');
  writeTime(writer, meta);
  writeList(writer, hardlinks, (group) => writeList(writer, group, (path) => writer.bytes(path)));
  writeRuns(writer, stream);
}

/** Sizes of the manifest's layers bound what the head may point at. */
export type BlobSizes = readonly { readonly size: number }[];

/** Reads untrusted bytes. InvalidArgument `CHUNKED_INVALID`; Unsupported `CHUNKED_VERSION`. */
export function decodeHead(bytes: Uint8Array, blobs: BlobSizes, what = 'the head of a chunked image'): Head {
  const reader = new FormReader(decompressHead(bytes, what), what);
  return new HeadReader(reader, blobs).read();
}

function decompressHead(bytes: Uint8Array, what: string): Buffer {
  if (bytes.length > maxHeadBytes) throw invalidForm(what, `it has ${bytes.length} bytes, more than ${maxHeadBytes}`);
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: maxPlainHeadBytes });
  } catch (cause) {
    throw invalidForm(what, `it cannot be decompressed (${cause instanceof Error ? cause.message : 'no reason'})`);
  }
}

class HeadReader {
  readonly #reader: FormReader;
  readonly #blobs: BlobSizes;

  constructor(reader: FormReader, blobs: BlobSizes) {
    this.#reader = reader;
    this.#blobs = blobs;
  }

  read(): Head {
    const reader = this.#reader;
    reader.magic(magic, version);
    const streamPacks = this.#list(1, 'stream packs', () => this.#blob(), maxBlobs);
    const chunks = this.#places(streamPacks);
    const tree = this.#tree(chunks.length);
    const layers = this.#list(70, 'layers', () => this.#layer(chunks.length), maxBlobs);
    const packs = this.#list(2, 'packs', () => this.#pack(), maxBlobs);
    const lengths = chunks.map(({ length }) => length);
    const deltas = this.#list(51, 'deltas', () => readDelta(reader, this.#blobs, lengths), maxDeltas);
    reader.finish();
    return { streamPacks, chunks, tree, layers, packs, deltas };
  }

  #list<T>(leastBytes: number, what: string, read: () => T, most = Number.MAX_SAFE_INTEGER): T[] {
    const reader = this.#reader;
    const count = reader.varint(most, `the number of ${what}`);
    if (count > (reader.end - reader.offset) / leastBytes) reader.fail(`it has fewer bytes than ${what}`);
    return Array.from({ length: count }, read);
  }

  #blob(): number {
    return this.#reader.varint(this.#blobs.length - 1, "a blob's place");
  }

  #places(packs: readonly number[]): StreamPlace[] {
    const reader = this.#reader;
    const ends = new Map<number, number>();
    const seen = new Set<ChunkId>();
    return this.#list(20, 'stream chunks', () => {
      const id = reader.chunkId();
      const pack = reader.varint(packs.length - 1, 'a stream pack');
      const offset = (ends.get(pack) ?? 0) + reader.signedVarint(limits.seconds, 'an offset');
      const compressed = reader.varint(maxChunkBytes, 'the length of a frame');
      const length = reader.varint(maxChunkBytes, 'the length of a chunk');
      const size = this.#blobs[packs[pack] ?? -1]?.size ?? 0;
      if (offset < 0 || compressed === 0 || length === 0 || offset + compressed > size)
        reader.fail('a stream chunk lies outside of its pack');
      if (seen.has(id)) reader.fail('a stream chunk is there twice');
      seen.add(id);
      ends.set(pack, offset + compressed);
      return { id, pack, offset, compressed, length };
    });
  }

  #tree(chunkCount: number): HeadTree {
    const reader = this.#reader;
    const id = reader.digest() as Hex as TreeId;
    const flags = reader.u8();
    if ((flags & ~hasXattrs) !== 0) reader.fail(`a tree has the flags ${flags}`);
    const meta = { ...readMeta(reader, flags !== 0), mtimeSec: 0, mtimeNsec: 0 };
    readTime(reader, meta);
    const hardlinks = this.#list(5, 'hardlink groups', () => {
      const group = this.#list(2, 'paths of a hardlink group', () => this.#path());
      if (group.length < 2) reader.fail('a hardlink group has fewer than two paths');
      return group;
    });
    return { id, meta, hardlinks, stream: readRuns(reader, chunkCount) };
  }

  #path(): ByteString {
    const path = this.#reader.bytes(maxPathBytes, 'a path');
    const problem = pathProblem(path);
    if (problem !== undefined) this.#reader.fail(`a path cannot be used: ${problem}`);
    return path;
  }

  #layer(chunkCount: number): HeadLayerEntry {
    const blob = this.#blob();
    const diffId = digestOf(this.#reader.digest());
    const tree = this.#tree(chunkCount);
    return { blob, diffId, tree, implied: this.#list(2, 'implied directories', () => this.#path()) };
  }

  #pack(): HeadPack {
    const blob = this.#blob();
    const table = this.#reader.varint(this.#blobs.length, "a table's place");
    return { blob, table: table === 0 ? undefined : table - 1 };
  }
}
