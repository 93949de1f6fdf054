import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { endOfArchive, tarPadding } from '../../oci/tar/writer.ts';
import type { TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { contentOf, membersOfTree, readContent, type TreeMember } from '../tar/tree-tar.ts';
import { cutChunks, fileChunks } from './chunker.ts';
import type { FramePart } from './cutter.ts';
import { type Chunk, chunkIdOf } from './model.ts';

/** A part of an object: one chunk of a pack, as `cutChunks` cuts it. */
export type ObjectPart = { readonly object: Hex; readonly offset: number; readonly length: number };

const none = Buffer.alloc(0);
const pieceBytes = 2 << 20;
const emptyPath = '' as ByteString;

/** The tar of a layer's own tree. */
export function* partsOfLayer(context: TreeContext, tree: TreeId): Generator<FramePart> {
  for (const member of membersOfTree(context, tree, 'plain')) yield* partsOfMember(context, member);
  yield { bytes: endOfArchive, mark: 0xffff_ffff };
}

function* partsOfMember(context: TreeContext, { header, path, content }: TreeMember): Generator<FramePart> {
  if (content === undefined) {
    yield { bytes: header, mark: crc32(Buffer.from(path, 'latin1')) };
    return;
  }
  const padding = tarPadding(content.size);
  if (content.size <= fileChunks.minBytes) {
    // One chunk, which is the object: its digest is known, and one read brings it where it has to be.
    const bytes = Buffer.allocUnsafe(header.length + content.size + padding.length);
    header.copy(bytes);
    readContent(context, path, content, { buffer: bytes, at: header.length, offset: 0, length: content.size });
    padding.copy(bytes, header.length + content.size);
    const id = chunkIdOf(content.object);
    yield { bytes, chunk: { id, length: content.size, at: header.length }, mark: markOf(id) };
    return;
  }
  let before = header;
  let left = content.size;
  for (const piece of cutChunks(contentOf(context, path, content, pieceBytes))) {
    left -= piece.length;
    yield partOfChunk(before, piece, left === 0 ? padding : none);
    before = none;
  }
}

/** Chunks only. InvalidArgument `CHUNK_SIZE` for one that is none. */
export function* partsOfChunks(context: TreeContext, chunks: readonly ObjectPart[]): Generator<FramePart> {
  for (const { object, offset, length } of chunks) {
    if (!(length > 0 && length <= fileChunks.maxBytes)) {
      throw new EngineError('InvalidArgument', 'CHUNK_SIZE', `a chunk of ${length} bytes cannot be packed`);
    }
    const bytes = Buffer.allocUnsafe(length);
    readContent(context, emptyPath, { object, size: offset + length }, { buffer: bytes, at: 0, offset, length });
    yield partOfChunk(none, bytes, none);
  }
}

function partOfChunk(before: Buffer, piece: Uint8Array, after: Buffer): FramePart {
  const id = chunkIdOf(hash('sha256', piece, 'hex') as Hex);
  const chunk: Chunk & { at: number } = { id, length: piece.length, at: before.length };
  const alone = before.length === 0 && after.length === 0 && Buffer.isBuffer(piece);
  return { bytes: alone ? piece : Buffer.concat([before, piece, after]), chunk, mark: markOf(id) };
}

function markOf(id: string): number {
  return Number.parseInt(id.slice(0, 8), 16);
}
