import { closeSync, openSync, readSync } from 'node:fs';
import type { Hex } from '../../oci/digest.ts';
import { EntryType } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import type { ChunkId, FrameTable } from '../frames/model.ts';
import { decodeFrameTable } from '../frames/table.ts';
import { invalidForm } from './errors.ts';
import type { Head } from './head.ts';
import type { MissingObject } from './receive-tree.ts';
import type { Remote, RemoteBlob } from './remote.ts';
import type { CachedStream } from './stream/cache.ts';
import { chunksOf, readRecords } from './stream/records.ts';
import { idOf } from './stream/tree-stream.ts';

/** Where a frame lies in its blob, and its plain size. */
export type Frame = { readonly at: number; readonly compressed: number; readonly plain: number };
/** A blob of frames that is listed, and what its table says. */
export type Pack = { readonly blob: RemoteBlob; readonly compression: FrameTable['compression']; readonly frames: readonly Frame[] };
export type ChunkPlace = { readonly pack: Pack; readonly frame: number; readonly offset: number; readonly length: number };
/** Bytes of an object that is here. */
export type LocalPlace = { readonly object: Hex; readonly offset: number };

/** Tables with less than this are asked for together: a question costs more than their bytes. */
const togetherBytes = 1 << 20;

/**
 * Finds chunks in the packs. Tables are asked for as they are needed: those that are here first, then from the smallest on, because what a client with an earlier version lacks is in the small
 * new layer and never in the large old one. Returns what is in none of them.
 */
export function locateChunks(
  wanted: ReadonlySet<ChunkId>,
  head: Head,
  blobs: readonly RemoteBlob[],
  remote: Remote,
): { places: Map<ChunkId, ChunkPlace>; lacking: Set<ChunkId> } {
  const places = new Map<ChunkId, ChunkPlace>();
  const lacking = new Set(wanted);
  const packs = head.packs.flatMap(({ blob, table }) => (table === undefined ? [] : [{ blob: at(blobs, blob), table: at(blobs, table) }]));
  packs.sort((a, b) => a.table.size - b.table.size);
  while (lacking.size > 0 && packs.length > 0) {
    const next = packs.splice(0, 1);
    let bytes = next[0]?.table.size ?? 0;
    while (packs[0] !== undefined && bytes + packs[0].table.size <= togetherBytes) {
      bytes += packs[0].table.size;
      next.push(...packs.splice(0, 1));
    }
    const files = remote.whole(next.map(({ table }) => table));
    for (const { blob, table } of next) {
      const file = files.get(table.digest);
      if (file !== undefined) search(decodeFrameTable(file, `table ${table.digest}`), blob, lacking, places);
    }
  }
  return { places, lacking };
}

function search(table: FrameTable, blob: RemoteBlob, lacking: Set<ChunkId>, places: Map<ChunkId, ChunkPlace>): void {
  let at = 0;
  const frames = table.frames.map(({ compressed, plain }) => {
    const frame = { at, compressed, plain };
    at += compressed;
    return frame;
  });
  if (at > blob.size) throw invalidForm(`the table of blob ${blob.digest}`, `its frames have ${at} bytes, the blob ${blob.size}`);
  const pack = { blob, compression: table.compression, frames };
  for (const { id, frame, offset, length } of table.chunks) {
    if (lacking.delete(id)) places.set(id, { pack, frame, offset, length });
  }
}

function at(blobs: readonly RemoteBlob[], index: number): RemoteBlob {
  const blob = blobs[index];
  if (blob === undefined) throw invalidForm('the head of a chunked image', 'a blob is not listed');
  return blob;
}

/** Finds chunks of large files in files that are here: an earlier version's stream tells of what its files consist. */
export function findLocalChunks(missing: readonly MissingObject[], streams: readonly CachedStream[]): Map<ChunkId, LocalPlace> {
  const found = new Map<ChunkId, LocalPlace>();
  const wanted = new Set<ChunkId>();
  for (const { chunks } of missing) if (chunks.length > 1) for (const { id } of chunks) wanted.add(id);
  if (wanted.size === 0) return found;
  for (const { bytes } of streams) {
    for (const record of readRecords(bytes)) {
      if (record.chunksAt === 0 || record.entry.type !== EntryType.file) continue;
      let offset = 0;
      for (const { id, length } of chunksOf(record, bytes)) {
        if (wanted.delete(id)) found.set(id, { object: record.entry.object, offset });
        offset += length;
      }
      if (wanted.size === 0) return found;
    }
  }
  return found;
}

/** A chunk out of an object that is here; undefined when it is not what it should be. */
export function readLocalChunk(
  context: TreeContext,
  { object, offset }: LocalPlace,
  { id, length }: { id: ChunkId; length: number },
): Buffer | undefined {
  const bytes = readObjectRange(context, object, offset, length);
  return bytes !== undefined && idOf(bytes) === id ? bytes : undefined;
}

/** Undefined when the object is shorter. */
export function readObjectRange(context: TreeContext, object: Hex, offset: number, length: number): Buffer | undefined {
  const fd = openSync(context.objectPath(object), 'r');
  try {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const count = readSync(fd, bytes, done, length - done, offset + done);
      if (count === 0) return undefined;
      done += count;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}
