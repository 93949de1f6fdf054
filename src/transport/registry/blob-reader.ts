import { EngineError } from '../../base/errors.ts';
import { digestOf, type Hex, newHash } from '../../oci/digest.ts';
import type { HttpAnswer } from './answer.ts';
import type { Call, Endpoint } from './endpoint.ts';
import { failureOf } from './failures.ts';
import { unreachable } from './http.ts';
import { Retries } from './retry.ts';

/** One place where a blob may be: the endpoint, and how it is asked for there. */
export type BlobPlace = { readonly endpoint: Endpoint; readonly call: Omit<Call, 'headers' | 'kind' | 'signal'> };
export type BlobTarget = { readonly digest: string; readonly size: number };
export type ReadOptions = { signal?: AbortSignal | undefined; onBytes?: ((count: number) => void) | undefined };

/** A blob from `offset` to its end, out of the first place that has it; another goes on where one fails. See `Repository.blob`. */
export async function* readBlob(
  places: readonly BlobPlace[],
  target: BlobTarget,
  options: ReadOptions & { offset?: number | undefined } = {},
): AsyncGenerator<Buffer, void, undefined> {
  const { offset = 0, signal, onBytes } = options;
  const reading: Reading = { target, position: offset, signal };
  const hash = offset === 0 ? newHash() : undefined;
  const used = new Set<Endpoint>();
  const ordered = [...places].sort((a, b) => Number(a.endpoint.isDamaged(target.digest)) - Number(b.endpoint.isDamaged(target.digest)));
  for (const [index, place] of ordered.entries()) {
    try {
      for await (const chunk of readFrom(place, reading)) {
        used.add(place.endpoint);
        hash?.update(chunk);
        onBytes?.(chunk.length);
        yield chunk;
      }
      break;
    } catch (error) {
      if (signal?.aborted || index === ordered.length - 1) throw error;
      if (error instanceof EngineError && error.code === 'BLOB_DIGEST_MISMATCH') place.endpoint.markDamaged(target.digest);
    }
  }
  if (hash === undefined) return;
  const found = digestOf(hash.digest('hex') as Hex);
  if (found === target.digest) return;
  for (const endpoint of used) endpoint.markDamaged(target.digest);
  throw mismatch(ordered[0], target, `its bytes are ${found}`);
}

/** `position`: what has been given out so far. */
type Reading = { readonly target: BlobTarget; position: number; readonly signal: AbortSignal | undefined };

async function* readFrom(place: BlobPlace, reading: Reading): AsyncGenerator<Buffer, void, undefined> {
  const { endpoint } = place;
  const { target, signal } = reading;
  const retries = new Retries(endpoint.retries, signal);
  while (reading.position < target.size) {
    try {
      await using answer = await endpoint.call({ ...place.call, ...rangeFrom(endpoint, reading), kind: 'download', signal }, retries);
      let skip = await skipOf(answer, place, reading);
      if (skip === undefined) continue;
      for await (const chunk of answer.body()) {
        const wanted = skip === 0 ? chunk : chunk.subarray(Math.min(skip, chunk.length));
        skip -= chunk.length - wanted.length;
        if (wanted.length === 0) continue;
        if (reading.position + wanted.length > target.size) throw mismatch(place, target, `it has more than its ${target.size} bytes`);
        reading.position += wanted.length;
        retries.advance(wanted.length);
        yield wanted;
      }
      if (reading.position < target.size) throw endedEarly(answer, reading);
    } catch (error) {
      await retries.wait(error);
    }
  }
}

function rangeFrom(endpoint: Endpoint, { position }: Reading): { headers: Record<string, string> } {
  const range: Record<string, string> = position > 0 && endpoint.takesRanges ? { Range: `bytes=${position}-` } : {};
  return { headers: { 'Accept-Encoding': 'identity', ...range } };
}

/** How many bytes of the answer were had already; undefined when it must be asked for again, whole. */
async function skipOf(answer: HttpAnswer, place: BlobPlace, { target, position }: Reading): Promise<number | undefined> {
  const { endpoint } = place;
  if (answer.status === 206 && position > 0) {
    const range = contentRange(answer);
    if (range?.total !== undefined && range.total !== target.size) throw wrongSize(place, target, range.total);
    if (range?.start === position) return 0;
  } else if (answer.status === 200) {
    if (answer.length !== undefined && answer.length !== target.size) throw wrongSize(place, target, answer.length);
    return position;
  }
  if (position === 0 || !endpoint.takesRanges || !refusesRange(answer.status)) throw await failureOf(answer, place.call.asked);
  endpoint.refusedRanges();
  return undefined;
}

/** Statuses of registries, and of storage behind them, that do not do ranges; or not this one. */
export function refusesRange(status: number): boolean {
  return [200, 206, 400, 405, 416, 501].includes(status);
}

/** `bytes 100-199/1000` (RFC 9110, 14.4). */
export function contentRange(answer: HttpAnswer): { start: number; end: number; total: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(answer.headers['content-range'] ?? '');
  if (match === null) return undefined;
  return { start: Number(match[1]), end: Number(match[2]), total: match[3] === '*' ? undefined : Number(match[3]) };
}

/** Some servers end a connection in order where it ought to have been cut. */
export function endedEarly(answer: HttpAnswer, { target, position }: Pick<Reading, 'target' | 'position'>): EngineError {
  return unreachable('GET', answer.url, `the answer ended after ${position} of ${target.size} bytes`);
}

function wrongSize(place: BlobPlace, target: BlobTarget, found: number): EngineError {
  return mismatch(place, target, `it has ${found} bytes, not ${target.size}`);
}

function mismatch(place: BlobPlace | undefined, { digest }: BlobTarget, why: string): EngineError {
  const { name = '', host = '' } = place?.call.asked ?? {};
  return new EngineError('DataLoss', 'BLOB_DIGEST_MISMATCH', `what ${host} gives for ${digest} of ${name} is not that: ${why}`, {
    hint: 'It was damaged on the way or in the registry. Try again; if it stays so, push it anew.',
  });
}
