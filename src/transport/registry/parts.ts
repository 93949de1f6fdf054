import { EngineError } from '../../base/errors.ts';
import { type BlobPlace, type BlobTarget, contentRange, endedEarly, type ReadOptions, readBlob, refusesRange } from './blob-reader.ts';
import { failureOf } from './failures.ts';
import type { ByteRange } from './port.ts';
import { Retries } from './retry.ts';

export type Part = { offset: number; bytes: Buffer };

/** Reading over a gap of that much costs less than another request that has to wait for its turn. */
const maxGapBytes = 128 * 1024;
/** And of that much, when all requests run at once. */
const leastGapBytes = 8 * 1024;
/** Of one request, where it is of several ranges: so much memory it takes, times the requests at once. */
const maxSpanBytes = 4 * 1024 * 1024;
const maxAtOnce = 6;
/** When more of a blob is wanted it comes in one stream. */
const wholeFraction = 0.6;

/** Ranges that one request asks for. */
export type Span = { readonly start: number; readonly end: number; readonly ranges: readonly ByteRange[] };

/** Parts of a blob, in order. See `Repository.parts`. InvalidArgument `RANGE_INVALID` for ranges that are not sorted, overlap or lie outside. */
export async function* readParts(
  places: readonly BlobPlace[],
  target: BlobTarget,
  ranges: readonly ByteRange[],
  options: ReadOptions = {},
): AsyncGenerator<Part, void, undefined> {
  checkRanges(target, ranges);
  const spans = spansOf(ranges);
  const ranging = places.filter(({ endpoint }) => endpoint.takesRanges);
  let given = 0;
  if (ranging.length > 0 && bytesOf(spans) <= target.size * wholeFraction) {
    try {
      for await (const part of sideBySide(ranging, target, spans, options)) {
        given += 1;
        yield part;
      }
      return;
    } catch (error) {
      if (!(error instanceof RangesRefused)) throw error;
    }
  }
  yield* inOneStream(places, target, ranges.slice(given), options);
}

/** Where a registry does not answer a range with that range. */
class RangesRefused extends Error {}

function checkRanges(target: BlobTarget, ranges: readonly ByteRange[]): void {
  let end = 0;
  for (const { offset, length } of ranges) {
    if (offset < end || length < 0 || !Number.isSafeInteger(offset + length) || offset + length > target.size) {
      throw new EngineError(
        'InvalidArgument',
        'RANGE_INVALID',
        `bytes ${offset} to ${offset + length} of ${target.digest} cannot be asked for`,
      );
    }
    end = offset + length;
  }
}

/** Neighbours with small gaps become one, up to a size: hardly any gaps when few requests do without. */
export function spansOf(ranges: readonly ByteRange[]): Span[] {
  const apart = joined(ranges, leastGapBytes);
  return apart.length <= maxAtOnce ? apart : joined(ranges, maxGapBytes);
}

function joined(ranges: readonly ByteRange[], gapBytes: number): Span[] {
  const spans: { start: number; end: number; ranges: ByteRange[] }[] = [];
  for (const range of ranges) {
    const end = range.offset + range.length;
    const last = spans.at(-1);
    if (last !== undefined && range.offset - last.end <= gapBytes && end - last.start <= maxSpanBytes) {
      last.ranges.push(range);
      last.end = end;
    } else spans.push({ start: range.offset, end, ranges: [range] });
  }
  return spans;
}

function bytesOf(spans: readonly Span[]): number {
  return spans.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** Spans fetched some at a time and given out in order. */
async function* sideBySide(
  places: readonly BlobPlace[],
  target: BlobTarget,
  spans: readonly Span[],
  options: ReadOptions,
): AsyncGenerator<Part, void, undefined> {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const atOnce = Math.min(maxAtOnce, places[0]?.endpoint.maxRequests ?? 1);
  const direct: Direct = new Map();
  const fetching: Promise<Part[]>[] = [];
  let next = 0;
  try {
    for (;;) {
      for (; fetching.length < atOnce && next < spans.length; next++) {
        const span = spans[next];
        if (span === undefined) break;
        const parts = fetchSpan(places, target, span, { ...options, signal, direct });
        // It is looked at in its turn; an earlier one may end everything.
        parts.catch(() => {});
        fetching.push(parts);
      }
      const first = fetching.shift();
      if (first === undefined) return;
      yield* await first;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(fetching);
  }
}

/** Where a registry's redirect led, for the next range: that saves it a request each. */
type Direct = Map<BlobPlace, URL>;

async function fetchSpan(
  places: readonly BlobPlace[],
  target: BlobTarget,
  span: Span,
  options: ReadOptions & { direct: Direct },
): Promise<Part[]> {
  const filler = new Filler(span.ranges);
  for (const [index, place] of places.entries()) {
    try {
      await fillFrom(place, target, span, filler, options);
      break;
    } catch (error) {
      if (options.signal?.aborted || index === places.length - 1) throw error;
    }
  }
  return filler.parts;
}

async function fillFrom(
  place: BlobPlace,
  target: BlobTarget,
  span: Span,
  filler: Filler,
  options: ReadOptions & { direct: Direct },
): Promise<void> {
  const { endpoint } = place;
  const { signal, onBytes, direct } = options;
  const retries = new Retries(endpoint.retries, signal);
  let position = Math.max(span.start, filler.position);
  let mayGoDirect = true;
  while (position < span.end) {
    try {
      const headers = { 'Accept-Encoding': 'identity', Range: `bytes=${position}-${span.end - 1}` };
      const path = mayGoDirect ? (direct.get(place) ?? place.call.path) : place.call.path;
      await using answer = await endpoint.call({ ...place.call, path, headers, kind: 'download', signal }, retries);
      const range = contentRange(answer);
      if (answer.status !== 206 || range?.start !== position || range.end >= span.end) {
        // Such addresses end; the registry has another.
        if (path !== place.call.path) {
          mayGoDirect = false;
          direct.delete(place);
          continue;
        }
        if (!refusesRange(answer.status)) throw await failureOf(answer, place.call.asked);
        endpoint.refusedRanges();
        throw new RangesRefused();
      }
      if (answer.wasRedirected || path !== place.call.path) direct.set(place, answer.url);
      for await (const chunk of answer.body()) {
        onBytes?.(chunk.length);
        const wanted = chunk.subarray(0, span.end - position);
        filler.take(position, wanted);
        position += wanted.length;
        retries.advance(wanted.length);
      }
      if (position < span.end) throw endedEarly(answer, { target, position });
    } catch (error) {
      mayGoDirect = false;
      await retries.wait(error);
    }
  }
}

/** From the first range to the end of the last, the gaps left out. */
async function* inOneStream(
  places: readonly BlobPlace[],
  target: BlobTarget,
  ranges: readonly ByteRange[],
  options: ReadOptions,
): AsyncGenerator<Part, void, undefined> {
  const [first] = ranges;
  const last = ranges.at(-1);
  if (first === undefined || last === undefined) return;
  const filler = new Filler(ranges);
  const end = last.offset + last.length;
  let position = first.offset;
  yield* filler.finished(position);
  if (position >= end) return;
  for await (const chunk of readBlob(places, target, { ...options, offset: position })) {
    filler.take(position, chunk);
    position += chunk.length;
    yield* filler.finished(position);
    if (position >= end) return;
  }
}

/** Puts a stream's bytes where they are wanted. */
class Filler {
  readonly #ranges: readonly ByteRange[];
  readonly #made: Part[] = [];
  /** The first range that still lacks bytes. */
  #index = 0;
  #given = 0;
  position = 0;

  constructor(ranges: readonly ByteRange[]) {
    this.#ranges = ranges;
  }

  get parts(): Part[] {
    return this.#ranges.map((range, index) => this.#part(index, range));
  }

  take(offset: number, chunk: Buffer): void {
    const end = offset + chunk.length;
    this.position = end;
    for (;;) {
      const range = this.#ranges[this.#index];
      if (range === undefined || range.offset >= end) return;
      const from = Math.max(offset, range.offset);
      const to = Math.min(end, range.offset + range.length);
      if (to > from) chunk.copy(this.#part(this.#index, range).bytes, from - range.offset, from - offset, to - offset);
      if (range.offset + range.length > end) return;
      this.#index += 1;
    }
  }

  /** Those that are whole when the stream has come to `position`, each once. They are not kept. */
  *finished(position: number): Generator<Part> {
    for (; this.#given < this.#ranges.length; this.#given++) {
      const range = this.#ranges[this.#given];
      if (range === undefined || range.offset + range.length > position) return;
      const part = this.#part(this.#given, range);
      delete this.#made[this.#given];
      yield part;
    }
  }

  #part(index: number, { offset, length }: ByteRange): Part {
    // A buffer of its own: part of a pooled one would keep the pool.
    this.#made[index] ??= { offset, bytes: Buffer.allocUnsafeSlow(length) };
    return this.#made[index];
  }
}
