import type { Digest } from '../../oci/digest.ts';
import { EntryType } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { makeFrames } from '../frames/job.ts';
import type { ChunkId, FrameTable } from '../frames/model.ts';
import type { ObjectPart } from '../frames/parts.ts';
import { decodeFrameTable } from '../frames/table.ts';
import type { BlobList } from './blob-list.ts';
import type { ChunkedBuildParams } from './build-job.ts';
import type { Head, HeadPack } from './head.ts';
import { ChunkedType } from './port.ts';
import type { Remote, RemoteBlob } from './remote.ts';
import type { CachedStream } from './stream/cache.ts';
import { chunksOf, readRecords } from './stream/records.ts';

export type PacksRequest = Pick<ChunkedBuildParams, 'tree' | 'layers' | 'form'> & {
  readonly own: CachedStream;
  readonly previous: { readonly head: Head; readonly blobs: readonly RemoteBlob[] } | undefined;
  readonly explain: (line: string) => void;
};

/** A manifest lists at most so many packs, and their bytes are at most so many times those that are live. */
const maxPacks = 64;
const maxListed = 1.5;

/** Where the content is: in the ordinary layers, or in packs of chunks. */
export async function buildPacks(context: TreeContext, remote: Remote, list: BlobList, request: PacksRequest): Promise<HeadPack[]> {
  return request.form === 'both' ? layerPacks(list, request) : chunkPacks(context, remote, list, request);
}

function layerPacks(list: BlobList, { layers }: PacksRequest): HeadPack[] {
  const places = new Set<number>();
  return layers.flatMap(({ digest, sizeBytes, mediaType, table }): HeadPack[] => {
    const blob = list.add({ mediaType, digest, size: sizeBytes });
    if (places.has(blob)) return [];
    places.add(blob);
    if (table === undefined) return [{ blob, table: undefined }];
    return [{ blob, table: list.add({ mediaType: ChunkedType.table, digest: table.digest, size: table.sizeBytes }) }];
  });
}

/** A pack of before. `live` are the chunks that are taken from it; bytes are those of the frames that hold them, by their share. */
type OldPack = { blob: RemoteBlob; table: RemoteBlob; live: ChunkId[]; liveBytes: number };

async function chunkPacks(
  context: TreeContext,
  remote: Remote,
  list: BlobList,
  { own, previous, explain }: PacksRequest,
): Promise<HeadPack[]> {
  const wanted = chunkParts(own);
  const old = previous === undefined ? [] : oldPacks(remote, previous, wanted);
  const kept = choosePacks(old);
  if (kept.length < old.length)
    explain(`${old.length - kept.length} of ${old.length} packs are left behind, and what is live in them is packed anew`);
  for (const { live } of kept) for (const id of live) wanted.delete(id);
  const packs = kept.map(({ blob, table }) => ({ blob: list.add(descriptor(blob)), table: list.add(descriptor(table)) }));
  if (wanted.size === 0) return packs;
  const made = await makeFrames(context, { items: { kind: 'chunks', chunks: [...wanted.values()] }, compression: 'zstd' });
  explain(`${wanted.size} new chunks in a pack of ${made.sizeBytes} bytes`);
  const blob = list.addMade({ mediaType: ChunkedType.pack, digest: made.digest, size: made.sizeBytes });
  const table = list.addMade({ mediaType: ChunkedType.table, digest: made.table.digest, size: made.table.sizeBytes });
  return [...packs, { blob, table }];
}

function descriptor({ mediaType, digest, size }: RemoteBlob): { mediaType: string; digest: Digest; size: number } {
  return { mediaType, digest, size };
}

/** Every chunk of the tree, and where to read it. In the order of the stream: files of one directory lie together in a pack. */
function chunkParts({ bytes }: CachedStream): Map<ChunkId, ObjectPart> {
  const parts = new Map<ChunkId, ObjectPart>();
  for (const record of readRecords(bytes)) {
    if (record.entry.type !== EntryType.file) continue;
    let offset = 0;
    for (const { id, length } of chunksOf(record, bytes)) {
      if (!parts.has(id)) parts.set(id, { object: record.entry.object, offset, length });
      offset += length;
    }
  }
  return parts;
}

function oldPacks(
  remote: Remote,
  { head, blobs }: NonNullable<PacksRequest['previous']>,
  wanted: ReadonlyMap<ChunkId, unknown>,
): OldPack[] {
  const listed = head.packs.flatMap(({ blob, table }) => {
    const of = { blob: blobs[blob], table: table === undefined ? undefined : blobs[table] };
    return of.blob === undefined || of.table === undefined ? [] : [{ blob: of.blob, table: of.table }];
  });
  const files = remote.whole(listed.map(({ table }) => table));
  const claimed = new Set<ChunkId>();
  return listed.map(({ blob, table }) => {
    const file = files.get(table.digest);
    const read = file === undefined ? undefined : decodeFrameTable(file, `table ${table.digest}`);
    return { blob, table, ...liveIn(read, wanted, claimed) };
  });
}

/** A chunk counts for the first pack that has it. */
function liveIn(table: FrameTable | undefined, wanted: ReadonlyMap<ChunkId, unknown>, claimed: Set<ChunkId>) {
  const live: ChunkId[] = [];
  let liveBytes = 0;
  for (const { id, frame, length } of table?.chunks ?? []) {
    const of = table?.frames[frame];
    if (of === undefined || !wanted.has(id) || claimed.has(id)) continue;
    claimed.add(id);
    live.push(id);
    liveBytes += (of.compressed * length) / of.plain;
  }
  return { live, liveBytes };
}

/**
 * Packs of which less than half is live are left behind. Then the deadest, while more is listed than `maxListed` times the live bytes, and the smallest, while there are too many: what is live in
 * them is packed anew, together.
 */
export function choosePacks<P extends { blob: { size: number }; liveBytes: number }>(packs: readonly P[]): P[] {
  const kept = packs.filter(({ blob, liveBytes }) => liveBytes * 2 >= blob.size);
  const live = packs.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
  const byDeath = [...kept].sort((a, b) => a.liveBytes / a.blob.size - b.liveBytes / b.blob.size);
  let listed = kept.reduce((sum, { blob }) => sum + blob.size, 0);
  const dropped = new Set<P>();
  for (const pack of byDeath) {
    // What is packed anew is listed too, at its live size.
    if (listed <= maxListed * live) break;
    dropped.add(pack);
    listed -= pack.blob.size - pack.liveBytes;
  }
  const left = kept.filter((pack) => !dropped.has(pack));
  if (left.length < maxPacks) return left;
  // Half of them at once, so that the next pushes need not do it again.
  const small = new Set([...left].sort((a, b) => a.blob.size - b.blob.size).slice(0, left.length - maxPacks / 2));
  return left.filter((pack) => !small.has(pack));
}
