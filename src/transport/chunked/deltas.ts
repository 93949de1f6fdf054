import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import type { TreeContext } from '../../store/port.ts';
import { BlobFile } from '../frames/durable-blob.ts';
import type { ChunkId } from '../frames/model.ts';
import type { BlobList } from './blob-list.ts';
import { type Delta, type FileDelta, type FilePart, maxDeltaWindow, type Span, type StreamDelta } from './delta-codec.ts';
import { type FilePair, findPairs, type PlacedFile } from './delta-pairs.ts';
import { isDictionaryMagic, markOf } from './delta-sources.ts';
import { windowsOf } from './delta-windows.ts';
import type { StreamPlace } from './head.ts';
import { readObjectRange } from './locate.ts';
import { ChunkedType } from './port.ts';
import type { CachedStream } from './stream/cache.ts';
import { chunksOf } from './stream/records.ts';

/** Larger files have frames of their own, for what changed in them; those that are as large or smaller share frames. */
const largeFileBytes = 1 << 20;
/** What a shared frame has at most: a client decompresses all of it for one file, and matches are worth more the more there is to find them in. */
const groupBytes = 2 << 20;
const groupBaseBytes = 4 << 20;
/** New files that resemble no other go into shared frames when they have no more bytes than this, all together: a frame of a layer that holds one of them may hold much else. */
const newcomerBytes = 256 << 10;
/** A delta is kept when it has at most this share of what the plain chunks have. */
export const keptShare = 0.7;
/** What one push looks at: more would take longer than it saves. */
const maxBytesLookedAt = 2 * 1024 ** 3;
/** Of the base's stream, on each side of where a new chunk should be. */
const streamMargin = 64 << 10;
const streamFrameBytes = 2 << 20;

/** The match finder has to see all of a dictionary: by default it sees 2 MiB of window. `bytes`: of dictionary and content. */
function deltaParams(bytes: number): Record<number, number> {
  const log = Math.min(24, Math.max(14, Math.ceil(Math.log2(bytes + 1))));
  // Large windows would take seconds with a match finder that looks closer.
  const level = bytes <= groupBytes + groupBaseBytes ? 9 : 1;
  return {
    [constants.ZSTD_c_compressionLevel]: level,
    [constants.ZSTD_c_windowLog]: log,
    ...(level === 1 ? { [constants.ZSTD_c_hashLog]: Math.min(22, log) } : {}),
  };
}

const compress = promisify(zstdCompress) as (bytes: Uint8Array, options: object) => Promise<Buffer>;

/** A part of a new file and what it is made from; the chunks of it that the base lacks are what it has to be cheaper than. */
type Job = {
  readonly target: PlacedFile;
  readonly part: Span;
  readonly base: { readonly file: PlacedFile; readonly part: Span } | undefined;
  readonly fresh: readonly Span[];
};

export type DeltaRequest = {
  /** Of the version before, and of the one that goes out. */
  readonly base: CachedStream | undefined;
  readonly own: CachedStream;
  /** Where the head has the chunks of the streams. */
  readonly chunks: readonly StreamPlace[];
  readonly explain: (line: string) => void;
};

/**
 * What a client that has the version before takes in place of chunks: frames with parts of the old stream and of old files as dictionaries. The plain chunks are there all the same, for whoever
 * lacks it.
 */
export async function makeDeltas(context: TreeContext, list: BlobList, request: DeltaRequest): Promise<Delta[]> {
  const { base, own, explain } = request;
  if (base === undefined || base.tree === own.tree) return [];
  const file = new BlobFile(context);
  try {
    const stream = await streamDeltas(request, base, file);
    const files = await new FileDeltas(context, file).make(findPairs(base, own), { before: base.bytes, after: own.bytes });
    if (stream.length + files.frames.length === 0) return [];
    const blob = list.addMade({ mediaType: ChunkedType.delta, size: file.sizeBytes, digest: file.publish() });
    explain(`${files.count} changed files and the tree's own changes go as deltas to the version before, together ${file.sizeBytes} bytes`);
    return [{ blob, base: base.tree, mark: markOf(base), stream, files: files.frames }];
  } finally {
    file.close();
  }
}

/** Of the image's stream what the base's lacks. */
async function streamDeltas({ own, chunks }: DeltaRequest, base: CachedStream, file: BlobFile): Promise<StreamDelta[]> {
  const places = new Map(chunks.map((place, index) => [place.id, { index, compressed: place.compressed }]));
  const old = new Map<ChunkId, number>();
  for (const { id, offset } of base.chunks) if (!old.has(id)) old.set(id, offset);
  const frames: StreamDelta[] = [];
  let open: { chunks: number[]; pieces: Buffer[]; spans: { offset: number; length: number }[]; bytes: number; plain: number } | undefined;
  const close = async () => {
    if (open === undefined) return;
    const { pieces, spans, plain } = open;
    const dictionary = Buffer.concat(spans.map(({ offset, length }) => base.bytes.subarray(offset, offset + length)));
    const made = await deltaOf(Buffer.concat(pieces), dictionary);
    if (made !== undefined && made.length <= keptShare * plain) {
      frames.push({ at: file.sizeBytes, compressed: made.length, chunks: open.chunks, base: spans });
      file.write(made);
    }
    open = undefined;
  };
  const done = new Set<ChunkId>();
  let shift = 0;
  for (const { id, offset, length } of own.chunks) {
    const known = old.get(id);
    if (known !== undefined) shift = known - offset;
    const place = places.get(id);
    if (known !== undefined || place === undefined || done.has(id)) continue;
    done.add(id);
    if (open !== undefined && open.bytes + length > streamFrameBytes) await close();
    open ??= { chunks: [], pieces: [], spans: [], bytes: 0, plain: 0 };
    open.chunks.push(place.index);
    open.pieces.push(own.bytes.subarray(offset, offset + length));
    open.bytes += length;
    open.plain += place.compressed;
    addSpan(open.spans, offset + shift - streamMargin, offset + shift + length + streamMargin, base.bytes.length);
  }
  await close();
  return frames;
}

/** Joined with the span before where they touch, and left out where it has no room. */
function addSpan(spans: { offset: number; length: number }[], from: number, to: number, size: number): void {
  const last = spans.at(-1);
  const lastEnd = last === undefined ? 0 : last.offset + last.length;
  const end = Math.min(to, size);
  const start = last !== undefined && from >= last.offset ? Math.max(from, lastEnd) : Math.max(from, 0);
  if (end <= start) return;
  const total = spans.reduce((sum, { length }) => sum + length, 0);
  if (total + end - start > maxDeltaWindow) return;
  if (last !== undefined && start === lastEnd) last.length += end - start;
  else spans.push({ offset: start, length: end - start });
}

async function deltaOf(bytes: Buffer, dictionary: Buffer): Promise<Buffer | undefined> {
  if (isDictionaryMagic(dictionary)) return undefined;
  return compress(bytes, { ...(dictionary.length > 0 && { dictionary }), params: deltaParams(bytes.length + dictionary.length) });
}

async function plainBytes(pieces: readonly Buffer[]): Promise<number> {
  if (pieces.length === 0) return 0;
  return (await compress(Buffer.concat(pieces), { params: { [constants.ZSTD_c_compressionLevel]: 3 } })).length;
}

class FileDeltas {
  readonly #context: TreeContext;
  readonly #file: BlobFile;
  readonly #frames: FileDelta[] = [];
  readonly #covered = new Set<PlacedFile>();

  constructor(context: TreeContext, file: BlobFile) {
    this.#context = context;
    this.#file = file;
  }

  async make(pairs: readonly FilePair[], streams: { before: Buffer; after: Buffer }): Promise<{ frames: FileDelta[]; count: number }> {
    let group: Job[] = [];
    let [bytes, baseBytes, looked] = [0, 0, 0];
    const flush = async () => {
      await this.#frame(group);
      group = [];
      [bytes, baseBytes] = [0, 0];
    };
    const newBytes = pairs.reduce((sum, { before, after }) => sum + (before === undefined ? after.file.entry.size : 0), 0);
    for (const { before, after } of pairs) {
      if (before === undefined && newBytes > newcomerBytes) continue;
      const [size, baseSize] = [after.file.entry.size, before?.file.entry.size ?? 0];
      looked += size;
      if (looked > maxBytesLookedAt) break;
      const old = before === undefined ? [] : chunksOf(before.file, streams.before);
      const windows = windowsOf(chunksOf(after.file, streams.after), old, baseSize);
      if (before !== undefined && (size > largeFileBytes || baseSize > 2 * largeFileBytes)) {
        for (const { base, fresh, ...part } of windows)
          await this.#frame([{ target: after, part, base: { file: before, part: base }, fresh }]);
        continue;
      }
      if (bytes + size > groupBytes || baseBytes + baseSize > groupBaseBytes) await flush();
      group.push({
        target: after,
        part: { offset: 0, length: size },
        base: before && { file: before, part: { offset: 0, length: baseSize } },
        fresh: windows.flatMap((window) => window.fresh),
      });
      bytes += size;
      baseBytes += baseSize;
    }
    await flush();
    return { frames: this.#frames, count: this.#covered.size };
  }

  /** One frame for all of them; where that does not pay, one for each half. */
  async #frame(jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0 || (await this.#made(jobs)) || jobs.length === 1) return;
    const middle = jobs.length >>> 1;
    await this.#frame(jobs.slice(0, middle));
    await this.#frame(jobs.slice(middle));
  }

  async #made(jobs: readonly Job[]): Promise<boolean> {
    const targets = jobs.map(({ target, part }) => this.#read(target, part));
    // Two files may resemble the same one.
    const bases = [
      ...new Map(
        jobs.flatMap(({ base }) => (base === undefined ? [] : [[`${base.file.record} ${base.part.offset}`, base] as const])),
      ).values(),
    ];
    const dictionaries = bases.map(({ file, part }) => this.#read(file, part));
    if (!isWhole(targets) || !isWhole(dictionaries)) return false;
    const plain = (isNew: boolean) =>
      jobs.flatMap(({ part, base, fresh }, index) =>
        (base === undefined) === isNew
          ? fresh.map(({ offset, length }) => (targets[index] as Buffer).subarray(offset - part.offset, offset - part.offset + length))
          : [],
      );
    const [delta, changed, added] = await Promise.all([
      deltaOf(Buffer.concat(targets), Buffer.concat(dictionaries)),
      plainBytes(plain(false)),
      plainBytes(plain(true)),
    ]);
    if (delta === undefined || delta.length > keptShare * changed + added) return false;
    this.#frames.push({
      at: this.#file.sizeBytes,
      compressed: delta.length,
      target: jobs.map(({ target, part }): FilePart => ({ record: target.record, ...part })),
      base: bases.map(({ file, part }): FilePart => ({ record: file.record, ...part })),
    });
    this.#file.write(delta);
    for (const { target } of jobs) this.#covered.add(target);
    return true;
  }

  #read({ file }: PlacedFile, { offset, length }: Span): Buffer | undefined {
    return readObjectRange(this.#context, file.entry.object, offset, length);
  }
}

function isWhole(pieces: readonly (Buffer | undefined)[]): pieces is Buffer[] {
  return pieces.every((piece) => piece !== undefined);
}
