import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type FileEntry } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { findEntry, isDirectory } from '../../store/tree/entries.ts';
import { BlobFile } from '../frames/durable-blob.ts';
import type { Chunk, ChunkId } from '../frames/model.ts';
import type { BlobList } from './blob-list.ts';
import { type DeltaFile, type DeltaFrame, maxDeltaWindow } from './head.ts';
import { readObjectRange } from './locate.ts';
import type { PacksRequest } from './packs.ts';
import { ChunkedType } from './port.ts';
import { FileChunks } from './stream/file-chunks.ts';
import { keptStream } from './stream/receive.ts';

/** Smaller files are one chunk, and soon fetched. Lock files and the like, of a few hundred KiB with a change here and there, are what this is worth most for. */
const leastBytes = 1 << 15;
/** A delta is kept when it has at most this share of what the plain chunks have. */
const keptShare = 0.7;
/** What one push looks at: more would take longer than it saves. */
const maxBytesLookedAt = 2 * 1024 ** 3;
/** The match finder has to see all of a dictionary: by default it sees 2 MiB of window and a table of thousands. `bytes`: of dictionary and content. */
function deltaParams(bytes: number): Record<number, number> {
  const log = Math.min(24, Math.max(14, Math.ceil(Math.log2(bytes + 1))));
  return {
    [constants.ZSTD_c_compressionLevel]: 1,
    [constants.ZSTD_c_windowLog]: log,
    [constants.ZSTD_c_hashLog]: Math.min(22, log),
  };
}

const compress = promisify(zstdCompress) as (bytes: Uint8Array, options: object) => Promise<Buffer>;

type Changed = { before: FileEntry; after: FileEntry };
type Window = Omit<DeltaFrame, 'at' | 'compressed'> & { readonly fresh: readonly { offset: number; length: number }[] };

/**
 * Deltas of files that changed at the same path since the previous chunked manifest: windows of the new file, compressed with the corresponding bytes of the old one as dictionary. The plain
 * chunks are in the layers or packs all the same, for whoever lacks the old file.
 */
export async function makeDeltas(
  context: TreeContext,
  list: BlobList,
  { tree, previous, own, explain }: PacksRequest,
): Promise<DeltaFile[]> {
  if (previous === undefined) return [];
  const base = keptStream(context, previous.head.tree.id);
  if (base === undefined) return [];
  const changed = changedFiles(context, context.root(base.tree).full, context.root(tree).full);
  if (changed.length === 0) return [];
  const chunks = new FileChunks(context, () => own.bytes);
  const file = new BlobFile(context);
  const made: Omit<DeltaFile, 'blob'>[] = [];
  try {
    for (const one of changed) {
      const frames = await deltaOf(context, one, chunks, file);
      if (frames.length > 0) made.push({ target: one.after.object, base: one.before.object, frames });
    }
    if (made.length === 0) return [];
    const blob = list.addMade({ mediaType: ChunkedType.delta, size: file.sizeBytes, digest: file.publish() });
    explain(`${made.length} changed files go as deltas to the versions before, together ${file.sizeBytes} bytes`);
    return made.map((delta) => ({ blob, ...delta }));
  } finally {
    file.close();
  }
}

/** Files of several chunks that have one path in both trees and other bytes. */
function changedFiles(context: TreeContext, before: Hex, after: Hex): Changed[] {
  const changed: Changed[] = [];
  const seen = new Set<Hex>();
  let bytes = 0;
  const visit = (old: readonly Entry[], fresh: readonly Entry[]): void => {
    for (const entry of fresh) {
      const earlier = findEntry(old, entry.name);
      if (isDirectory(entry) && isDirectory(earlier)) {
        if (entry.content !== earlier.content) visit(context.node(earlier.full), context.node(entry.full));
      } else if (entry.type === EntryType.file && earlier?.type === EntryType.file && entry.object !== earlier.object) {
        if (entry.size < leastBytes || earlier.size < leastBytes || seen.has(entry.object)) continue;
        seen.add(entry.object);
        bytes += entry.size;
        if (bytes <= maxBytesLookedAt) changed.push({ before: earlier, after: entry });
      }
    }
  };
  visit(context.node(before), context.node(after));
  return changed;
}

async function deltaOf(context: TreeContext, { before, after }: Changed, chunks: FileChunks, file: BlobFile): Promise<DeltaFrame[]> {
  const windows = windowsOf(chunks.of(after) ?? [], chunks.of(before) ?? [], before.size);
  const frames: DeltaFrame[] = [];
  for (const { fresh, ...window } of windows) {
    const bytes = readObjectRange(context, after.object, window.offset, window.length);
    const dictionary = readObjectRange(context, before.object, window.baseOffset, window.baseLength);
    if (bytes === undefined || dictionary === undefined) continue;
    const plain = Buffer.concat(fresh.map(({ offset, length }) => bytes.subarray(offset - window.offset, offset - window.offset + length)));
    const [delta, alone] = await Promise.all([
      compress(bytes, { dictionary, params: deltaParams(bytes.length + dictionary.length) }),
      compress(plain, { params: { [constants.ZSTD_c_compressionLevel]: 3 } }),
    ]);
    if (delta.length > keptShare * alone.length) continue;
    frames.push({ ...window, at: file.sizeBytes, compressed: delta.length });
    file.write(delta);
  }
  return frames;
}

/** Runs of chunks that begin and end with one that the old file lacks, and where in the old file something like them should be. */
export function windowsOf(after: readonly Chunk[], before: readonly Chunk[], beforeSize: number): Window[] {
  const old = new Map<ChunkId, number>();
  let at = 0;
  for (const { id, length } of before) {
    if (!old.has(id)) old.set(id, at);
    at += length;
  }
  const windows: Window[] = [];
  let open: { offset: number; end: number; shift: number; fresh: { offset: number; length: number }[] } | undefined;
  const close = () => {
    if (open === undefined) return;
    const length = open.end - open.offset;
    // As much of the old file around the place as a dictionary may have.
    const around = Math.max(0, Math.floor((maxDeltaWindow - length) / 2));
    const baseOffset = Math.max(0, Math.min(open.offset + open.shift - around, beforeSize - maxDeltaWindow));
    windows.push({
      offset: open.offset,
      length,
      baseOffset,
      baseLength: Math.min(maxDeltaWindow, beforeSize - baseOffset),
      fresh: open.fresh,
    });
    open = undefined;
  };
  let offset = 0;
  let shift = 0;
  for (const { id, length } of after) {
    const known = old.get(id);
    if (known !== undefined) shift = known - offset;
    else {
      if (open !== undefined && offset + length - open.offset > maxDeltaWindow) close();
      open ??= { offset, end: offset, shift, fresh: [] };
      open.end = offset + length;
      open.fresh.push({ offset, length });
    }
    offset += length;
  }
  close();
  return windows;
}
