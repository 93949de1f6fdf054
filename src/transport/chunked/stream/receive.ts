import { constants, zstdDecompressSync } from 'node:zlib';
import { EngineError } from '../../../base/errors.ts';
import type { TreeId } from '../../../store/model.ts';
import type { TreeContext } from '../../../store/port.ts';
import type { ChunkId } from '../../frames/model.ts';
import type { Delta, StreamDelta } from '../delta-codec.ts';
import { markOf, unpackDelta } from '../delta-sources.ts';
import { invalidDelta, invalidForm } from '../errors.ts';
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

export type ReceiveFrom = {
  readonly head: Head;
  readonly blobs: readonly RemoteBlob[];
  /** Names the image in errors. */
  readonly what: string;
  /** Whether deltas are to be taken where their bases are here. */
  readonly deltas: boolean;
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
  /** Chunks that frames of deltas make. */
  readonly #made = new Map<number, StreamFrame>();
  #places: Map<ChunkId, { stream: CachedStream; index: number }> | undefined;
  #bases: (readonly [Delta, CachedStream])[] | undefined;
  readonly #deltas: boolean;

  constructor(from: ReceiveFrom, remote: Remote, local: () => readonly CachedStream[]) {
    this.#head = from.head;
    this.#blobs = from.blobs;
    this.#what = from.what;
    this.#deltas = from.deltas;
    this.#remote = remote;
    this.#readLocal = local;
  }

  /** The head's deltas whose base is here, just as they were made with it. */
  get bases(): readonly (readonly [Delta, CachedStream])[] {
    this.#bases ??= (this.#deltas ? this.#head.deltas : []).flatMap((delta) => {
      const base = this.local.find(({ tree }) => tree === delta.base);
      return base !== undefined && markOf(base) === delta.mark ? [[delta, base] as const] : [];
    });
    return this.#bases;
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
    for (const [delta, base] of this.bases) this.#requestDelta(delta, base, wanted);
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

  /** Takes what frames of a delta make for less out of what is wanted. */
  #requestDelta(delta: Delta, base: CachedStream, wanted: Set<number>): void {
    const frames = delta.stream.filter(({ chunks, compressed }) => {
      const plain = chunks.reduce((sum, chunk) => sum + (wanted.has(chunk) ? this.#place(chunk).compressed : 0), 0);
      return compressed < plain;
    });
    const blob = this.#blobs[delta.blob];
    if (frames.length === 0 || blob === undefined) return;
    const ranges = frames.map(({ at, compressed }) => ({ offset: at, length: compressed }));
    const parts = this.#remote.parts(blob, joinRanges(ranges, maxRequestBytes));
    for (const frame of frames) {
      const source = { frame, base, parts };
      for (const chunk of frame.chunks) if (wanted.delete(chunk)) this.#made.set(chunk, source);
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
    const frames = new FrameReader((chunk) => this.#place(chunk), this.#what);
    for (const chunk of tree.stream) {
      const place = this.#place(chunk);
      const source = this.#made.get(chunk);
      // The same chunk may be at several places; the one that goes on from the last keeps a directory whole.
      const goesOn = expected?.stream.chunks[expected.index]?.id === place.id ? expected : undefined;
      const local = source === undefined ? (goesOn ?? this.#localPlace(place.id)) : undefined;
      if (source !== undefined) frames.read(source, chunk).copy(bytes, offset);
      else if (local === undefined) this.#take(place, bytes, offset);
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

type StreamFrame = { readonly frame: StreamDelta; readonly base: CachedStream; readonly parts: FetchedParts };

/** Chunks out of frames of deltas, the last frame kept: a stream's chunks come in the order in which a frame has them. */
class FrameReader {
  readonly #placeOf: (chunk: number) => StreamPlace;
  readonly #what: string;
  #last: { source: StreamFrame; chunks: Map<number, Buffer> } | undefined;

  constructor(placeOf: (chunk: number) => StreamPlace, what: string) {
    this.#placeOf = placeOf;
    this.#what = what;
  }

  /** Checked by its id. */
  read(source: StreamFrame, chunk: number): Buffer {
    if (this.#last?.source !== source) this.#last = { source, chunks: this.#unpack(source) };
    const bytes = this.#last.chunks.get(chunk);
    const { id } = this.#placeOf(chunk);
    if (bytes === undefined || idOf(bytes) !== id)
      throw invalidDelta(`delta ${source.parts.blob.digest}`, `it does not give stream chunk ${id}`);
    return bytes;
  }

  #unpack({ frame, base, parts }: StreamFrame): Map<number, Buffer> {
    const length = frame.chunks.reduce((sum, chunk) => sum + this.#placeOf(chunk).length, 0);
    const dictionary = frame.base.map(({ offset, length: bytes }) => {
      if (offset + bytes > base.bytes.length) throw invalidForm(this.#what, "a delta's dictionary lies outside of its base");
      return base.bytes.subarray(offset, offset + bytes);
    });
    const plain = unpackDelta(parts, { at: frame.at, compressed: frame.compressed, length }, Buffer.concat(dictionary));
    const chunks = new Map<number, Buffer>();
    let at = 0;
    for (const chunk of frame.chunks) {
      const end = at + this.#placeOf(chunk).length;
      chunks.set(chunk, plain.subarray(at, end));
      at = end;
    }
    return chunks;
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

/** Streams of trees that are here, as they were kept. Those of `bases` are made now when they were not, and so is the first one's when none was kept at all. */
export function localStreams(context: TreeContext, trees: readonly TreeId[], bases: readonly TreeId[]): CachedStream[] {
  const cache = new StreamCache(context.paths);
  const present = (ids: readonly TreeId[]) => [...new Set(ids)].filter((tree) => isPresent(context, tree));
  const near = present(trees).slice(0, maxNear);
  const kept = near.map((tree) => cache.load(tree)).filter((stream) => stream !== undefined);
  for (const base of present(bases).slice(0, maxNear))
    if (!kept.some(({ tree }) => tree === base)) kept.push(streamOf(context, base, kept));
  const [first] = near;
  return kept.length > 0 || first === undefined ? kept : [streamOf(context, first, [])];
}

/** The stream of a tree as it was kept, as long as the tree is here. */
export function keptStream(context: TreeContext, tree: TreeId): CachedStream | undefined {
  return isPresent(context, tree) ? new StreamCache(context.paths).load(tree) : undefined;
}

/** The stream of a tree, as it was kept or made now; undefined when the tree is not here. */
export function presentStream(context: TreeContext, tree: TreeId): CachedStream | undefined {
  return isPresent(context, tree) ? streamOf(context, tree, []) : undefined;
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
