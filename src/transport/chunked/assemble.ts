import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { toText } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import type { TreeContext } from '../../store/port.ts';
import type { Chunk, ChunkId } from '../frames/model.ts';
import type { ByteRange } from '../registry/port.ts';
import { chunksIn, type DeltaSources, type FramePart, readFrame } from './delta-sources.ts';
import { damagedContent, invalidDelta, invalidForm } from './errors.ts';
import { type ChunkPlace, type LocalPlace, type Pack, readLocalChunk } from './locate.ts';
import type { MissingObject } from './receive-tree.ts';
import { type FetchedParts, joinRanges, type Remote, type RemoteBlob } from './remote.ts';

const maxRequestBytes = 1 << 20;
/** Decompressed frames that are kept for what else is in them. */
const cachedFrameBytes = 4 << 20;

/** Where the bytes of an object come from, in order: chunks of packs, chunks that are here, parts of a delta's frame. */
type Piece =
  | { kind: 'pack'; chunk: Chunk; place: ChunkPlace }
  | { kind: 'local'; chunk: Chunk; place: LocalPlace }
  | { kind: 'delta'; part: FramePart };
type Sketch = Exclude<Piece, { kind: 'pack' }> | { kind: 'chunk'; chunk: Chunk };
export type ObjectPlan = { readonly missing: MissingObject; readonly pieces: readonly Piece[] };
/** A plan that says of some chunks only that they are to come out of packs. */
export type ObjectSketch = { readonly missing: MissingObject; readonly pieces: readonly Sketch[] };

/** Decides for each object what of it a delta makes, what is here, and what has to be found in packs. */
export function sketchObject(missing: MissingObject, local: ReadonlyMap<ChunkId, LocalPlace>, deltas: DeltaSources): ObjectSketch {
  const pieces: Sketch[] = [];
  let offset = 0;
  for (let i = 0; i < missing.chunks.length; ) {
    const part = deltas.partAt(missing.object, offset);
    const covered = part === undefined ? 0 : chunksIn(missing.chunks, i, part.length);
    if (part !== undefined && covered > 0) {
      pieces.push({ kind: 'delta', part });
      offset += part.length;
      i += covered;
      continue;
    }
    const chunk = missing.chunks[i] as Chunk; // within the bounds
    const place = local.get(chunk.id);
    pieces.push(place === undefined ? { kind: 'chunk', chunk } : { kind: 'local', chunk, place });
    offset += chunk.length;
    i++;
  }
  return { missing, pieces };
}

/** Undefined for an object that cannot be had: a chunk of it is nowhere. */
export function planObject(
  { missing, pieces }: ObjectSketch,
  places: ReadonlyMap<ChunkId, ChunkPlace>,
  what: string,
): ObjectPlan | undefined {
  const planned: Piece[] = [];
  for (const piece of pieces) {
    if (piece.kind !== 'chunk') {
      planned.push(piece);
      continue;
    }
    const { chunk } = piece;
    const place = places.get(chunk.id);
    if (place === undefined) return undefined;
    if (place.length !== chunk.length)
      throw invalidForm(what, `chunk ${chunk.id} has ${chunk.length} bytes, but ${place.length} in its pack`);
    planned.push({ kind: 'pack', chunk, place });
  }
  return { missing, pieces: planned };
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
        } else if (piece.kind === 'delta') add(piece.part.frame.blob, piece.part.frame.at, piece.part.frame.compressed);
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
    const deltas = pieces.flatMap((piece) => (piece.kind === 'delta' ? [piece.part.frame.blob.digest] : []));
    const packs = pieces.flatMap((piece) => (piece.kind === 'pack' ? [piece.place.pack.blob.digest] : []));
    const blobs = new Set([...deltas, ...packs]);
    for (const blob of blobs) this.#parts.get(blob)?.remove();
    // Without the delta it may be had yet.
    if (deltas.length > 0)
      throw invalidDelta(
        `delta ${deltas[0]}`,
        `"${toText(missing.name)}" is sha256:${made.object} with it and not sha256:${missing.object}`,
      );
    throw damagedContent(
      `"${toText(missing.name)}" out of blob ${[...blobs].join(', ') || 'none'}`,
      `sha256:${missing.object}`,
      `sha256:${made.object}`,
    );
  }

  #bytesOf(piece: Piece, missing: MissingObject): Buffer {
    if (piece.kind === 'pack') return this.#chunk(piece.place);
    if (piece.kind === 'delta') return this.#partOf(piece.part);
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

  #partOf({ frame, within, length }: FramePart): Buffer {
    const parts = this.#parts.get(frame.blob.digest);
    if (parts === undefined) throw new Error('a delta was not asked for');
    if (frame.length === length) return readFrame(this.#context, frame, parts);
    const bytes = this.#frames.get(frame) ?? this.#frames.put(frame, readFrame(this.#context, frame, parts));
    return bytes.subarray(within, within + length);
  }
}

function decompress({ compression }: Pack, { at, compressed, plain }: Pack['frames'][number], parts: FetchedParts): Buffer {
  const bytes = parts.read(at, compressed);
  return checked(parts, at, plain, () => {
    if (compression === 'none') return Buffer.from(bytes);
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
