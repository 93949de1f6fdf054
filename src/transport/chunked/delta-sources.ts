import { constants, zstdDecompressSync } from 'node:zlib';
import { type Hex, newHash } from '../../oci/digest.ts';
import type { TreeContext } from '../../store/port.ts';
import type { Chunk, ChunkId } from '../frames/model.ts';
import type { Delta, FilePart, Span } from './delta-codec.ts';
import { invalidDelta, invalidForm } from './errors.ts';
import { readObjectRange } from './locate.ts';
import type { MissingObject } from './receive-tree.ts';
import type { FetchedParts, RemoteBlob } from './remote.ts';
import type { CachedStream } from './stream/cache.ts';
import { fileAt } from './stream/records.ts';

/** Bytes of an object. */
export type ObjectSpan = Span & { readonly object: Hex };
/** A frame of a delta whose dictionary is here. */
export type UsableFrame = {
  readonly blob: RemoteBlob;
  readonly at: number;
  readonly compressed: number;
  /** Plain bytes. */
  readonly length: number;
  readonly base: readonly ObjectSpan[];
};
/** Where a frame has a part of an object. */
export type FramePart = Span & { readonly frame: UsableFrame; readonly within: number };

/** Two streams with one mark have the same bytes. */
export function markOf({ chunks }: Pick<CachedStream, 'chunks'>): ChunkId {
  const hash = newHash();
  for (const { id } of chunks) hash.update(Buffer.from(id, 'hex'));
  return hash.digest('hex').slice(0, 32) as ChunkId;
}

/** Such bytes would be taken for a dictionary with tables of its own (RFC 8878, section 5). */
export function isDictionaryMagic(bytes: Buffer): boolean {
  return bytes.length >= 4 && bytes.readUInt32LE(0) === 0xec30a437;
}

/** Of the deltas to trees that are here, the frames that are worth their bytes: by what they make and is missing. */
export class DeltaSources {
  readonly #blobs: readonly RemoteBlob[];
  readonly #what: string;
  readonly #byObject = new Map<Hex, FramePart[]>();

  constructor(blobs: readonly RemoteBlob[], what: string) {
    this.#blobs = blobs;
    this.#what = what;
  }

  /** `own` is the stream that comes in. */
  add(
    delta: Delta,
    base: CachedStream,
    own: Uint8Array,
    missing: ReadonlyMap<Hex, MissingObject>,
    isLocal: (chunk: ChunkId) => boolean,
  ): void {
    const blob = this.#blobs[delta.blob];
    if (blob === undefined) throw invalidForm(this.#what, 'a delta is not listed');
    for (const { at, compressed, target, base: dictionary } of delta.files) {
      const parts = target.map((part) => this.#span(own, part));
      const worth = parts.reduce((sum, part) => sum + freshBytes(part, missing.get(part.object), isLocal), 0);
      if (compressed > worth * worthShare) continue;
      const length = parts.reduce((sum, part) => sum + part.length, 0);
      const frame = { blob, at, compressed, length, base: dictionary.map((part) => this.#span(base.bytes, part)) };
      let within = 0;
      for (const { object, ...span } of parts) {
        const others = this.#byObject.get(object);
        if (others === undefined) this.#byObject.set(object, [{ ...span, frame, within }]);
        else others.push({ ...span, frame, within });
        within += span.length;
      }
    }
  }

  /** The part that begins at this byte of the object. */
  partAt(object: Hex, offset: number): FramePart | undefined {
    return this.#byObject.get(object)?.find((part) => part.offset === offset);
  }

  #span(stream: Uint8Array, { record, offset, length }: FilePart): ObjectSpan {
    const file = fileAt(stream, record);
    if (file === undefined || offset + length > file.entry.size) throw invalidForm(this.#what, 'a delta is of a file that is not there');
    return { object: file.entry.object, offset, length };
  }
}

/** A frame is no more than 0.7 of what its chunks have compressed; this is of their plain bytes, and for a client that has some of them already. */
const worthShare = 0.7;

function freshBytes({ offset, length }: ObjectSpan, missing: MissingObject | undefined, isLocal: (chunk: ChunkId) => boolean): number {
  if (missing === undefined) return 0;
  let [at, fresh] = [0, 0];
  for (const chunk of missing.chunks) {
    if (at >= offset && at + chunk.length <= offset + length && !isLocal(chunk.id)) fresh += chunk.length;
    at += chunk.length;
    if (at >= offset + length) break;
  }
  return fresh;
}

/** How many chunks from `first` on make exactly `length` bytes; 0 when none do. */
export function chunksIn(chunks: readonly Chunk[], first: number, length: number): number {
  let total = 0;
  for (let i = first; i < chunks.length && total < length; i++) {
    total += chunks[i]?.length ?? 0;
    if (total === length) return i + 1 - first;
  }
  return 0;
}

/** The plain bytes of a frame. */
export function readFrame(context: TreeContext, { blob, at, compressed, length, base }: UsableFrame, parts: FetchedParts): Buffer {
  const pieces = base.map(({ object, offset, length: bytes }) => {
    const piece = readObjectRange(context, object, offset, bytes);
    if (piece === undefined) throw invalidDelta(`delta ${blob.digest}`, `its dictionary lies outside of object ${object}`);
    return piece;
  });
  return unpackDelta(parts, { at, compressed, length }, Buffer.concat(pieces));
}

/** `CHUNKED_DELTA_INVALID` when that is not what the frame and the dictionary give. */
export function unpackDelta(
  parts: FetchedParts,
  { at, compressed, length }: { at: number; compressed: number; length: number },
  dictionary: Buffer,
): Buffer {
  const fail = (problem: string): never => {
    parts.remove();
    throw invalidDelta(`the frame at byte ${at} of delta ${parts.blob.digest}`, problem);
  };
  if (isDictionaryMagic(dictionary)) return fail('its dictionary is not plain content');
  const frame = parts.read(at, compressed);
  let bytes: Buffer;
  try {
    bytes = zstdDecompressSync(frame, {
      ...(dictionary.length > 0 && { dictionary }),
      maxOutputLength: length,
      params: { [constants.ZSTD_d_windowLogMax]: 27 },
    });
  } catch (error) {
    return fail(error instanceof Error ? error.message : 'it cannot be decompressed');
  }
  return bytes.length === length ? bytes : fail(`it has ${bytes.length} bytes and not ${length}`);
}
