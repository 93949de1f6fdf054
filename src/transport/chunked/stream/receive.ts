import { constants, zstdDecompressSync } from 'node:zlib';
import { EngineError } from '../../../base/errors.ts';
import type { TreeId } from '../../../store/model.ts';
import type { TreeContext } from '../../../store/port.ts';
import type { ChunkId } from '../../frames/model.ts';
import { invalidForm } from '../errors.ts';
import type { Head, HeadTree, StreamPlace } from '../head.ts';
import { type FetchedParts, joinRanges, type Remote, type RemoteBlob } from '../remote.ts';
import { type CachedStream, StreamCache } from './cache.ts';
import type { SharedRange } from './decode.ts';
import { encodeStream } from './encode.ts';
import { FileChunks } from './file-chunks.ts';
import { cutStream, idOf, type StreamChunk } from './tree-stream.ts';

/** A stream of more bytes is of no image: ten million entries have less. */
const maxStreamBytes = 2 * 1024 ** 3 - 1;
const maxRequestBytes = 1 << 20;
const maxNear = 3;

/** A stream as it was put together, and what of it is also in the stream of a tree that is here. */
export type ReceivedStream = {
  bytes: Buffer;
  chunks: StreamChunk[];
  shared: { base: CachedStream; ranges: SharedRange[] } | undefined;
};

/** Puts tree streams together: from streams of trees that are here, and what these lack from the stream packs. */
export class StreamReceiver {
  readonly #head: Head;
  readonly #blobs: readonly RemoteBlob[];
  readonly #remote: Remote;
  readonly #what: string;
  readonly #readLocal: () => readonly CachedStream[];
  #local: readonly CachedStream[] | undefined;
  readonly #fetched = new Map<number, FetchedParts>();
  #places: Map<ChunkId, { stream: CachedStream; index: number }> | undefined;

  constructor(head: Head, blobs: readonly RemoteBlob[], remote: Remote, local: () => readonly CachedStream[], what: string) {
    this.#head = head;
    this.#blobs = blobs;
    this.#remote = remote;
    this.#readLocal = local;
    this.#what = what;
  }

  /** Streams of trees that are here, read when they are first needed. */
  get local(): readonly CachedStream[] {
    this.#local ??= this.#readLocal();
    return this.#local;
  }

  /** Asks for all that these trees need, at once. To be called once, before `receive`. */
  request(trees: readonly HeadTree[]): void {
    const wanted = new Set<number>();
    for (const { stream } of trees)
      for (const chunk of stream) if (this.#localPlace(this.#place(chunk).id) === undefined) wanted.add(chunk);
    const byPack = new Map<number, StreamPlace[]>();
    for (const chunk of wanted) {
      const place = this.#place(chunk);
      const of = byPack.get(place.pack);
      if (of === undefined) byPack.set(place.pack, [place]);
      else of.push(place);
    }
    for (const [pack, places] of byPack) {
      const blob = this.#blobs[this.#head.streamPacks[pack] ?? -1];
      if (blob === undefined) throw invalidForm(this.#what, 'a stream pack is not listed');
      const ranges = joinRanges(
        places.map(({ offset, compressed }) => ({ offset, length: compressed })),
        maxRequestBytes,
      );
      this.#fetched.set(pack, this.#remote.parts(blob, ranges));
    }
  }

  receive(tree: HeadTree): ReceivedStream {
    const total = tree.stream.reduce((sum, chunk) => sum + this.#place(chunk).length, 0);
    if (total > maxStreamBytes) throw invalidForm(this.#what, `a tree stream has ${total} bytes`);
    const bytes = Buffer.allocUnsafeSlow(total);
    const chunks: StreamChunk[] = [];
    const matches: { start: number; length: number; stream: CachedStream; at: number }[] = [];
    let offset = 0;
    let expected: { stream: CachedStream; index: number } | undefined;
    for (const chunk of tree.stream) {
      const place = this.#place(chunk);
      // The same chunk may be at several places; the one that goes on from the last keeps a directory whole.
      const goesOn = expected?.stream.chunks[expected.index]?.id === place.id ? expected : undefined;
      const local = goesOn ?? this.#localPlace(place.id);
      if (local === undefined) this.#take(place, bytes, offset);
      else matches.push({ start: offset, length: place.length, stream: local.stream, at: this.#takeLocal(place, local, bytes, offset) });
      expected = local === undefined ? undefined : { stream: local.stream, index: local.index + 1 };
      chunks.push({ id: place.id, offset, length: place.length });
      offset += place.length;
    }
    return { bytes, chunks, shared: sharedRanges(matches) };
  }

  #place(chunk: number): StreamPlace {
    const place = this.#head.chunks[chunk];
    if (place === undefined) throw invalidForm(this.#what, 'a stream has chunks that are not there');
    return place;
  }

  #localPlace(id: ChunkId): { stream: CachedStream; index: number } | undefined {
    if (this.#places === undefined) {
      this.#places = new Map();
      for (const stream of this.local) {
        for (const [index, chunk] of stream.chunks.entries())
          if (!this.#places.has(chunk.id)) this.#places.set(chunk.id, { stream, index });
      }
    }
    return this.#places.get(id);
  }

  /** Where in that stream it was. */
  #takeLocal(place: StreamPlace, { stream, index }: { stream: CachedStream; index: number }, into: Buffer, offset: number): number {
    const chunk = stream.chunks[index];
    if (chunk === undefined || chunk.length !== place.length)
      throw invalidForm(this.#what, `stream chunk ${place.id} has other than ${place.length} bytes`);
    stream.bytes.copy(into, offset, chunk.offset, chunk.offset + chunk.length);
    return chunk.offset;
  }

  #take(place: StreamPlace, into: Buffer, offset: number): void {
    const parts = this.#fetched.get(place.pack);
    if (parts === undefined) throw new Error('a stream chunk was not asked for');
    const frame = parts.read(place.offset, place.compressed);
    let plain: Buffer;
    try {
      plain = zstdDecompressSync(frame, { maxOutputLength: place.length, params: { [constants.ZSTD_d_windowLogMax]: 27 } });
    } catch (error) {
      throw parts.damaged(
        `the frame of stream chunk ${place.id} at byte ${place.offset}`,
        error instanceof Error ? error.message : 'nothing',
      );
    }
    if (plain.length !== place.length || idOf(plain) !== place.id) throw parts.damaged(`stream chunk ${place.id}`, idOf(plain));
    plain.copy(into, offset);
  }
}

type Match = { start: number; length: number; stream: CachedStream; at: number };

/** Joins matches that follow each other in both streams, of the one stream that most is from. */
function sharedRanges(matches: readonly Match[]): ReceivedStream['shared'] {
  const totals = new Map<CachedStream, number>();
  for (const { stream, length } of matches) totals.set(stream, (totals.get(stream) ?? 0) + length);
  let base: CachedStream | undefined;
  for (const [stream, total] of totals) if (base === undefined || total > (totals.get(base) ?? 0)) base = stream;
  if (base === undefined) return undefined;
  const ranges: { start: number; end: number; shift: number }[] = [];
  for (const { start, length, stream, at } of matches) {
    if (stream !== base) continue;
    const last = ranges.at(-1);
    if (last !== undefined && last.end === start && last.shift === at - start) last.end = start + length;
    else ranges.push({ start, end: start + length, shift: at - start });
  }
  return { base, ranges };
}

/** Streams of trees that are here: as they were kept, or made now for the first when none was. */
export function localStreams(context: TreeContext, trees: readonly TreeId[]): CachedStream[] {
  const cache = new StreamCache(context.paths);
  const present = trees.filter((tree) => isPresent(context, tree)).slice(0, maxNear);
  const kept = present.map((tree) => cache.load(tree)).filter((stream) => stream !== undefined);
  const [first] = present;
  if (kept.length > 0 || first === undefined) return kept;
  return [streamOf(context, first, [])];
}

/** The stream of a tree as it was kept, as long as the tree is here. */
export function keptStream(context: TreeContext, tree: TreeId): CachedStream | undefined {
  return isPresent(context, tree) ? new StreamCache(context.paths).load(tree) : undefined;
}

/** The stream of a tree that is here, kept from now on. */
export function streamOf(context: TreeContext, tree: TreeId, near: readonly CachedStream[], keep = true): CachedStream {
  const cache = new StreamCache(context.paths);
  const kept = near.find((stream) => stream.tree === tree) ?? cache.load(tree);
  if (kept !== undefined) return kept;
  const base = near[0];
  const stream = encodeStream(context, context.root(tree), new FileChunks(context, () => base?.bytes), base);
  const made = { tree, ...stream, chunks: cutStream(stream.bytes) };
  if (keep) cache.save(made);
  return made;
}

/** Whether a tree is committed: a cached stream may outlive it. */
function isPresent(context: TreeContext, tree: TreeId): boolean {
  try {
    context.root(tree);
    return true;
  } catch (error) {
    if (error instanceof EngineError && error.code === 'TREE_NOT_FOUND') return false;
    throw error;
  }
}
