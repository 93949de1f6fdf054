import { constants, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { toText } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeContext } from '../../store/port.ts';
import type { Chunk, ChunkId } from '../frames/model.ts';
import type { ByteRange } from '../registry/port.ts';
import { damagedContent, invalidForm } from './errors.ts';
import type { DeltaFile, DeltaFrame } from './head.ts';
import { type ChunkPlace, type LocalPlace, type Pack, readLocalChunk, readObjectRange } from './locate.ts';
import type { MissingObject, Presence } from './receive-tree.ts';
import { type FetchedParts, joinRanges, type Remote, type RemoteBlob } from './remote.ts';

const maxRequestBytes = 1 << 20;
/** Decompressed frames that are kept for what else is in them. */
const cachedFrameBytes = 16 << 20;

/** Where the bytes of an object come from, in order: chunks of packs, chunks that are here, windows of a delta. */
type Piece =
  | { kind: 'pack'; chunk: Chunk; place: ChunkPlace }
  | { kind: 'local'; chunk: Chunk; place: LocalPlace }
  | { kind: 'delta'; frame: DeltaFrame; base: Hex; blob: RemoteBlob };
export type ObjectPlan = { readonly missing: MissingObject; readonly pieces: readonly Piece[] };

export type Sources = {
  places: ReadonlyMap<ChunkId, ChunkPlace>;
  local: ReadonlyMap<ChunkId, LocalPlace>;
  deltas: ReadonlyMap<Hex, readonly (DeltaFile & { blobAt: RemoteBlob })[]>;
  presence: Presence;
  what: string;
};

/** Decides for each object where its bytes come from. Undefined for one that cannot be had: a chunk of it is nowhere. */
export function planObject(missing: MissingObject, sources: Sources): ObjectPlan | undefined {
  const pieces: Piece[] = [];
  const delta = sources.deltas.get(missing.object)?.find(({ base }) => sources.presence.sizeOf(base) !== undefined);
  let offset = 0;
  let window = 0;
  for (let i = 0; i < missing.chunks.length; ) {
    while (delta?.frames[window] !== undefined && (delta.frames[window] as DeltaFrame).offset < offset) window++;
    const frame = delta?.frames[window];
    const covered = frame?.offset === offset ? chunksIn(missing.chunks, i, frame.length) : 0;
    if (delta !== undefined && frame !== undefined && covered > 0 && pays(frame, missing.chunks.slice(i, i + covered), sources)) {
      pieces.push({ kind: 'delta', frame, base: delta.base, blob: delta.blobAt });
      offset += frame.length;
      i += covered;
      continue;
    }
    const chunk = missing.chunks[i] as Chunk; // within the bounds
    const [place, local] = [sources.places.get(chunk.id), sources.local.get(chunk.id)];
    if (local !== undefined) pieces.push({ kind: 'local', chunk, place: local });
    else if (place === undefined) return undefined;
    else if (place.length !== chunk.length)
      throw invalidForm(sources.what, `chunk ${chunk.id} has ${chunk.length} bytes, but ${place.length} in its pack`);
    else pieces.push({ kind: 'pack', chunk, place });
    offset += chunk.length;
    i++;
  }
  return { missing, pieces };
}

/** How many chunks from `first` on make exactly `length` bytes; 0 when none do. */
function chunksIn(chunks: readonly Chunk[], first: number, length: number): number {
  let total = 0;
  for (let i = first; i < chunks.length && total < length; i++) {
    total += chunks[i]?.length ?? 0;
    if (total === length) return i + 1 - first;
  }
  return 0;
}

/** Whether a delta costs less than the frames with the chunks that are not here. */
function pays({ compressed }: DeltaFrame, chunks: readonly Chunk[], { places, local }: Sources): boolean {
  let plain = 0;
  const counted = new Set<object>();
  for (const { id } of chunks) {
    if (local.has(id)) continue;
    const place = places.get(id);
    const frame = place?.pack.frames[place.frame];
    if (frame === undefined) return true;
    if (!counted.has(frame)) plain += frame.compressed;
    counted.add(frame);
  }
  return compressed < plain;
}

/** Makes objects out of what comes from the packs, in the order in which it comes. Every object is checked by its digest before it is put. */
export class Assembler {
  readonly #context: TreeContext;
  readonly #remote: Remote;
  readonly #parts = new Map<string, FetchedParts>();
  readonly #frames = new FrameCache(cachedFrameBytes);
  readonly #report: (bytes: number) => void;

  constructor(context: TreeContext, remote: Remote, report: (bytes: number) => void) {
    this.#context = context;
    this.#remote = remote;
    this.#report = report;
  }

  run(plans: readonly ObjectPlan[]): void {
    this.#request(plans);
    for (const plan of inOrder(plans)) {
      if (plan.pieces.length === 1) this.#single(plan);
      else this.#joined(plan);
      this.#report(plan.missing.size);
    }
  }

  /** All ranges of a blob are asked for at once; they come in the order of the blob. */
  #request(plans: readonly ObjectPlan[]): void {
    const ranges = new Map<string, { blob: RemoteBlob; frames: Set<number>; ranges: ByteRange[] }>();
    const add = (blob: RemoteBlob, offset: number, length: number) => {
      let of = ranges.get(blob.digest);
      if (of === undefined) {
        of = { blob, frames: new Set(), ranges: [] };
        ranges.set(blob.digest, of);
      }
      if (of.frames.has(offset)) return;
      of.frames.add(offset);
      of.ranges.push({ offset, length });
    };
    for (const { pieces } of plans) {
      for (const piece of pieces) {
        if (piece.kind === 'pack') {
          const frame = piece.place.pack.frames[piece.place.frame];
          if (frame !== undefined) add(piece.place.pack.blob, frame.at, frame.compressed);
        } else if (piece.kind === 'delta') add(piece.blob, piece.frame.at, piece.frame.compressed);
      }
    }
    for (const { blob, ranges: of } of ranges.values()) {
      this.#parts.set(blob.digest, this.#remote.parts(blob, joinRanges(of, maxRequestBytes)));
    }
  }

  #single({ missing, pieces: [piece] }: ObjectPlan): void {
    const bytes = this.#bytesOf(piece as Piece, missing); // the caller looked
    this.#check(missing, this.#context.putBytes(bytes), [piece as Piece]);
  }

  #joined({ missing, pieces }: ObjectPlan): void {
    const stream = this.#context.writeObject();
    let made: { object: Hex; size: number };
    try {
      for (const piece of pieces) stream.write(this.#bytesOf(piece, missing));
      made = stream.finish();
    } catch (error) {
      stream.abort();
      throw error;
    }
    this.#check(missing, made, pieces);
  }

  #check(missing: MissingObject, made: { object: Hex; size: number }, pieces: readonly Piece[]): void {
    if (made.object === missing.object && made.size === missing.size) return;
    const blobs = new Set(
      pieces.flatMap((piece) =>
        piece.kind === 'pack' ? [piece.place.pack.blob.digest] : piece.kind === 'delta' ? [piece.blob.digest] : [],
      ),
    );
    for (const blob of blobs) this.#parts.get(blob)?.remove();
    throw damagedContent(
      `"${toText(missing.name)}" out of blob ${[...blobs].join(', ') || 'none'}`,
      `sha256:${missing.object}`,
      `sha256:${made.object}`,
    );
  }

  #bytesOf(piece: Piece, missing: MissingObject): Buffer {
    if (piece.kind === 'pack') return this.#chunk(piece.place);
    if (piece.kind === 'delta') return this.#window(piece);
    const bytes = readLocalChunk(this.#context, piece.place, piece.chunk);
    if (bytes !== undefined) return bytes;
    throw damagedContent(
      `object ${piece.place.object}, of which "${toText(missing.name)}" has a part`,
      `chunk ${piece.chunk.id}`,
      'other bytes',
    );
  }

  #chunk({ pack, frame, offset, length }: ChunkPlace): Buffer {
    const known = pack.frames[frame];
    const parts = this.#parts.get(pack.blob.digest);
    if (known === undefined || parts === undefined) throw new Error('a frame was not asked for');
    const bytes = this.#frames.get(known) ?? this.#frames.put(known, decompress(pack, known, parts));
    return bytes.subarray(offset, offset + length);
  }

  #window({ frame, base, blob }: Extract<Piece, { kind: 'delta' }>): Buffer {
    const parts = this.#parts.get(blob.digest);
    const dictionary = readObjectRange(this.#context, base, frame.baseOffset, frame.baseLength);
    if (parts === undefined || dictionary === undefined)
      throw invalidForm(`delta ${blob.digest}`, `its dictionary lies outside of object ${base}`);
    const bytes = parts.read(frame.at, frame.compressed);
    return checked(parts, frame.at, frame.length, () =>
      zstdDecompressSync(bytes, { dictionary, maxOutputLength: frame.length, params: { [constants.ZSTD_d_windowLogMax]: 27 } }),
    );
  }
}

function decompress({ compression }: Pack, { at, compressed, plain }: Pack['frames'][number], parts: FetchedParts): Buffer {
  const bytes = parts.read(at, compressed);
  return checked(parts, at, plain, () => {
    if (compression === 'none') return bytes;
    // One buffer of the right size, and a byte more that tells that there is no more: else the bytes come in many pieces that are joined.
    const options = { maxOutputLength: plain, chunkSize: Math.max(64, plain + 1) };
    return compression === 'gzip' ? gunzipSync(bytes, options) : zstdDecompressSync(bytes, options);
  });
}

function checked(parts: FetchedParts, at: number, expected: number, read: () => Buffer): Buffer {
  let bytes: Buffer;
  try {
    bytes = read();
  } catch (error) {
    throw parts.damaged(`the frame at byte ${at}`, error instanceof Error ? error.message : 'nothing');
  }
  if (bytes.length !== expected) throw parts.damaged(`${expected} bytes in the frame at byte ${at}`, `${bytes.length}`);
  return bytes;
}

/** By the first place in a pack, so that each frame is decompressed once and work begins with what comes first. */
function inOrder(plans: readonly ObjectPlan[]): ObjectPlan[] {
  const packs = new Map<Pack, number>();
  const keyed = plans.map((plan) => {
    const first = plan.pieces.find((piece) => piece.kind === 'pack');
    if (first?.kind !== 'pack') return { plan, pack: -1, frame: 0, offset: 0 };
    const { pack, frame, offset } = first.place;
    if (!packs.has(pack)) packs.set(pack, packs.size);
    return { plan, pack: packs.get(pack) ?? 0, frame, offset };
  });
  keyed.sort((a, b) => a.pack - b.pack || a.frame - b.frame || a.offset - b.offset);
  return keyed.map(({ plan }) => plan);
}

/** The frames that were decompressed last, bounded by their bytes. */
class FrameCache {
  readonly #limit: number;
  readonly #frames = new Map<object, Buffer>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(frame: object): Buffer | undefined {
    return this.#frames.get(frame);
  }

  put(frame: object, bytes: Buffer): Buffer {
    this.#frames.set(frame, bytes);
    this.#bytes += bytes.length;
    for (const [oldest, dropped] of this.#frames) {
      if (this.#bytes <= this.#limit || oldest === frame) break;
      this.#frames.delete(oldest);
      this.#bytes -= dropped.length;
    }
    return bytes;
  }
}
