import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { type Hex, newHash } from '../../oci/digest.ts';
import { endOfArchive, tarPadding } from '../../oci/tar/writer.ts';
import type { FileEntry, TreeId } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { checkContent, membersOfTree, readContent, type TreeMember } from '../tar/tree-tar.ts';
import { cutRead, fileChunks } from './chunker.ts';
import { type FramePart, frameSizes } from './cutter.ts';
import { chunkIdOf } from './model.ts';

/** A part of an object: one chunk of a pack, as files are cut. */
export type ObjectPart = { readonly object: Hex; readonly offset: number; readonly length: number };

const none = Buffer.alloc(0);
const scratchBytes = 2 << 20;
const emptyPath = '' as ByteString;

/** The tar of a layer's own tree. */
export function* partsOfLayer(context: TreeContext, tree: TreeId): Generator<FramePart> {
  const scratch = Buffer.allocUnsafeSlow(scratchBytes);
  for (const member of membersOfTree(context, tree, 'plain')) yield* partsOfMember(context, member, scratch);
  yield partOf(endOfArchive, 0xffff_ffff);
}

function* partsOfMember(context: TreeContext, { header, path, content }: TreeMember, scratch: Buffer): Generator<FramePart> {
  if (content === undefined) {
    yield partOf(header, crc32(Buffer.from(path, 'latin1')));
    return;
  }
  const padding = tarPadding(content.size);
  if (content.size <= fileChunks.minBytes) {
    // One chunk, which is the object: its digest is known, and one read brings it where it has to be.
    const id = chunkIdOf(content.object);
    const start = header.length;
    yield {
      length: start + content.size + padding.length,
      chunk: { id, length: content.size, at: start },
      mark: markOf(id),
      write(target, at) {
        header.copy(target, at);
        readContent(context, path, content, { buffer: target, at: at + start, offset: 0, length: content.size });
        checkContent(path, content, hash('sha256', target.subarray(at + start, at + start + content.size), 'hex'));
        padding.copy(target, at + start + content.size);
      },
    };
    return;
  }
  const isLarge = content.size >= frameSizes.minBytes;
  let before = header;
  let left = content.size;
  const whole = newHash();
  for (const piece of cutRead(readerOf(context, path, content), scratch)) {
    left -= piece.length;
    whole.update(piece);
    yield {
      ...partOfChunk(before, piece, left === 0 ? padding : none),
      opens: isLarge && before === header,
      closes: isLarge && left === 0,
    };
    before = none;
  }
  checkContent(path, content, whole.digest('hex'));
}

function readerOf(context: TreeContext, path: ByteString, content: FileEntry): (target: Buffer) => number {
  let offset = 0;
  return (target) => {
    const length = Math.min(target.length, content.size - offset);
    if (length > 0) readContent(context, path, content, { buffer: target, at: 0, offset, length });
    offset += length;
    return length;
  };
}

/** Chunks only. InvalidArgument `CHUNK_SIZE` for one that is none. */
export function* partsOfChunks(context: TreeContext, chunks: readonly ObjectPart[]): Generator<FramePart> {
  const scratch = Buffer.allocUnsafeSlow(fileChunks.maxBytes);
  for (const { object, offset, length } of chunks) {
    if (!(length > 0 && length <= fileChunks.maxBytes)) {
      throw new EngineError('InvalidArgument', 'CHUNK_SIZE', `a chunk of ${length} bytes cannot be packed`);
    }
    readContent(context, emptyPath, { object, size: offset + length }, { buffer: scratch, at: 0, offset, length });
    yield partOfChunk(none, scratch.subarray(0, length), none);
  }
}

function partOf(bytes: Buffer, mark: number): FramePart {
  return { length: bytes.length, mark, write: (target, at) => void bytes.copy(target, at) };
}

function partOfChunk(before: Buffer, piece: Uint8Array, after: Buffer): FramePart {
  const id = chunkIdOf(hash('sha256', piece, 'hex') as Hex);
  return {
    length: before.length + piece.length + after.length,
    chunk: { id, length: piece.length, at: before.length },
    mark: markOf(id),
    write(target, at) {
      before.copy(target, at);
      target.set(piece, at + before.length);
      after.copy(target, at + before.length + piece.length);
    },
  };
}

function markOf(id: string): number {
  return Number.parseInt(id.slice(0, 8), 16);
}
