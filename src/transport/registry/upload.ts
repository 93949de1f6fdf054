import { EngineError } from '../../base/errors.ts';
import type { HttpAnswer } from './answer.ts';
import type { Authorizer } from './authorizer.ts';
import type { Call, Endpoint } from './endpoint.ts';
import { type Asked, failureOf } from './failures.ts';
import type { HttpBody } from './http.ts';
import type { BlobSource } from './port.ts';
import { isPassing, Retries } from './retry.ts';
import { SourceReader } from './source-reader.ts';

/** Where blobs go to. */
export type UploadPlace = {
  readonly endpoint: Endpoint;
  readonly as: Authorizer;
  /** The repository's, below `/v2/`. */
  readonly path: string;
  readonly scopes: readonly string[];
  readonly asked: Asked;
  readonly signal?: AbortSignal | undefined;
};

export type UploadTarget = UploadPlace & {
  readonly digest: string;
  readonly size: number;
  readonly onBytes?: ((count: number) => void) | undefined;
};

/** A smaller blob goes in one request; of a larger one, so much can be lost. */
const pieceBytes = 16 * 1024 * 1024;
/** The registry may move and verify all of a large blob before it says that it has it. */
const commitAnswerMs = 10 * 60_000;
/** How often one upload is begun. Each goes from the first byte. */
const maxBeginnings = 8;

/** An upload that the registry knows: where it goes on, and what it has. */
export type Session = { readonly location: URL; readonly offset: number; readonly pieceBytes: number };

/** The registry knows nothing of the upload any more, or of where in it one is. */
export class SessionLost extends Error {}

/**
 * Asks for a blob to be taken from another repository. What a registry gives instead is an upload to go on with, and what it says to that is no reason to fail: one only
 * means to upload.
 */
export async function mountBlob(target: UploadTarget, from: string): Promise<'mounted' | Session | undefined> {
  const query = new URLSearchParams({ mount: target.digest, from });
  const scopes = [...target.scopes, `repository:${from}:pull`];
  try {
    await using answer = await target.endpoint.call({ ...callOf(target, 'POST', `${target.path}/blobs/uploads/?${query}`), scopes });
    if (answer.status === 201) return 'mounted';
    return answer.status === 202 ? sessionFrom(answer, target) : undefined;
  } catch (error) {
    if (target.signal?.aborted || !(error instanceof EngineError)) throw error;
    return undefined;
  }
}

/** Uploads a blob that is not there, going on with an upload that has `begun`. See `Repository.upload`. */
export async function uploadBlob(target: UploadTarget, source: BlobSource, begun?: Session): Promise<void> {
  await using reader = new SourceReader(source, target.size);
  const retries = new Retries(target.endpoint.retries, target.signal);
  const sent = new Progress(target, retries, begun?.offset);
  let session = begun;
  let beginnings = 0;
  for (;;) {
    try {
      if (session === undefined) {
        if (++beginnings > maxBeginnings) throw lostTooOften(target);
        sent.backTo(0);
        session = await begin(target);
      }
      await sendRest(target, session, reader, sent);
      return;
    } catch (error) {
      const next = await recover(target, error, session, retries, sent);
      if (next === 'there') return;
      session = next;
    }
  }
}

/** Counts what has gone, and what must go again. */
export class Progress {
  readonly #target: Pick<UploadTarget, 'onBytes'>;
  readonly #retries: Retries;
  /** Where the registry is, or will be when it has taken what is under way. */
  position: number;
  /** What it has said that it has; beyond this, progress is progress. */
  #furthest: number;
  location: URL | undefined;

  constructor(target: Pick<UploadTarget, 'onBytes'>, retries: Retries, position = 0) {
    this.#target = target;
    this.#retries = retries;
    this.position = position;
    this.#furthest = position;
  }

  forward = (bytes: number): void => {
    this.position += bytes;
    this.#target.onBytes?.(bytes);
  };

  /** To where the registry says that it is. */
  backTo(offset: number): void {
    if (offset !== this.position) this.#target.onBytes?.(offset - this.position);
    this.position = offset;
    if (offset <= this.#furthest) return;
    this.#retries.advance(offset - this.#furthest);
    this.#furthest = offset;
  }
}

export async function begin(target: UploadPlace): Promise<Session> {
  await using answer = await target.endpoint.attempt(callOf(target, 'POST', `${target.path}/blobs/uploads/`));
  if (answer.status !== 202) throw await failureOf(answer, target.asked);
  return sessionFrom(answer, target);
}

/** Of an upload that has just begun. */
function sessionFrom(answer: HttpAnswer, target: UploadPlace): Session {
  const least = Number(answer.headers['oci-chunk-min-length'] ?? 0);
  return { location: sessionOf(answer, target, undefined).location, offset: 0, pieceBytes: Math.max(pieceBytes, least || 0) };
}

/** From where the session is to the end. Moves `sent.location` along, so that a failure knows where it was. */
async function sendRest(target: UploadTarget, from: Session, reader: SourceReader, sent: Progress): Promise<void> {
  let session = from;
  sent.location = session.location;
  const inOne = session.offset === 0 && (target.size <= session.pieceBytes || !target.endpoint.takesPieces);
  while (!inOne && session.offset < target.size) {
    session = await sendPiece(target, session, reader, sent, target.size);
    sent.location = session.location;
  }
  await commit(target, session, inOne ? bodyOf(reader, 0, target.size, sent) : undefined);
}

/** The next piece of the first `end` bytes. Throws SessionLost when it is not taken, having noted what that says of the registry. */
export async function sendPiece(
  target: UploadPlace,
  session: Session,
  reader: SourceReader,
  sent: Progress,
  end: number,
): Promise<Session> {
  const { offset } = session;
  const length = Math.min(session.pieceBytes, end - offset);
  const call = {
    ...callOf(target, 'PATCH', session.location),
    headers: { 'Content-Type': 'application/octet-stream', 'Content-Range': `${offset}-${offset + length - 1}` },
    body: bodyOf(reader, offset, length, sent),
  };
  await using answer = await target.endpoint.attempt(call);
  if (answer.status === 202 || answer.status === 204 || answer.status === 201) {
    const next = sessionOf(answer, target, session.location);
    const had = next.received ?? offset + length;
    if (had > offset + length || had < offset) throw new SessionLost();
    sent.backTo(had);
    if (offset === 0) target.endpoint.firstPiece('taken');
    return { ...session, location: next.location, offset: had };
  }
  const failure = await failureOf(answer, target.asked);
  if (failure.code === 'REGISTRY_UNSUPPORTED' && offset === 0) target.endpoint.refusedPieces();
  else if (![400, 404, 416].includes(answer.status)) throw failure;
  else if (offset === 0) target.endpoint.firstPiece('lost');
  throw new SessionLost(failure.message);
}

async function commit(target: UploadTarget, session: Session, body: HttpBody | undefined): Promise<void> {
  const url = new URL(session.location);
  url.searchParams.set('digest', target.digest);
  const call = {
    ...callOf(target, 'PUT', url),
    headers: { 'Content-Type': 'application/octet-stream' },
    body: body ?? Buffer.alloc(0),
    answerMs: commitAnswerMs,
  };
  await using answer = await target.endpoint.attempt(call);
  if (answer.status >= 200 && answer.status < 300) return;
  const failure = await failureOf(answer, target.asked);
  if (failure.code === 'BLOB_DIGEST_MISMATCH') throw failure;
  if ([400, 404, 416].includes(answer.status)) throw new SessionLost(failure.message);
  throw failure;
}

/** After a failure: the session as the registry has it now, undefined to begin again, or 'there' when the blob has arrived after all. Throws what will not pass. */
async function recover(
  target: UploadTarget,
  error: unknown,
  session: Session | undefined,
  retries: Retries,
  sent: Progress,
): Promise<Session | undefined | 'there'> {
  const isLost = error instanceof SessionLost;
  if (!isLost && !isPassing(error)) throw error;
  if (!isLost) await retries.wait(error);
  // What was lost may have been only the answer.
  if (await hasBlob(target, retries)) return 'there';
  if (session === undefined || sent.location === undefined) return undefined;
  const status = await statusOf(target, sent.location, retries);
  if (status === undefined || (isLost && status.offset === sent.position)) return undefined;
  sent.backTo(status.offset);
  return { ...session, ...status };
}

/** What the registry has of an upload; undefined when it has forgotten it. */
export async function statusOf(
  target: UploadPlace & { readonly size: number },
  location: URL,
  retries: Retries,
): Promise<Pick<Session, 'location' | 'offset'> | undefined> {
  await using answer = await target.endpoint.call(callOf(target, 'GET', location), retries);
  if (answer.status !== 204 && answer.status !== 202 && answer.status !== 200) return undefined;
  const { location: next, received } = sessionOf(answer, target, location);
  return received === undefined || received > target.size ? undefined : { location: next, offset: received };
}

/** Tells the registry that an upload will not be gone on with, so that it need not wait for the rest. What it says to that is of no interest. */
export async function abandon(target: UploadPlace, location: URL): Promise<void> {
  try {
    await using _answer = await target.endpoint.attempt(callOf(target, 'DELETE', location));
  } catch {
    // It forgets it by itself, later.
  }
}

export async function hasBlob(target: UploadPlace & { readonly digest: string }, retries?: Retries): Promise<boolean> {
  const call = callOf(target, 'HEAD', `${target.path}/blobs/${target.digest}`);
  await using answer = await target.endpoint.call(call, retries);
  if (answer.status === 200) return true;
  if (answer.status === 404) return false;
  throw await failureOf(answer, target.asked);
}

function callOf(target: UploadPlace, method: Call['method'], path: string | URL): Call {
  const { as, scopes, asked, signal } = target;
  return { method, path, as, scopes, asked, signal };
}

function bodyOf(reader: SourceReader, offset: number, length: number, sent: Progress): HttpBody {
  return {
    length,
    chunks: () => {
      // Sent again after a 401.
      sent.backTo(offset);
      return reader.range(offset, length);
    },
    onSent: sent.forward,
  };
}

/** Where an upload goes on (Location, absolute or not, its query kept) and how many bytes the registry has, where it says so. */
function sessionOf(answer: HttpAnswer, target: UploadPlace, before: URL | undefined): { location: URL; received: number | undefined } {
  const { location } = answer.headers;
  const next = location === undefined ? before : URL.parse(location, answer.url);
  if (next === null || next === undefined || !['http:', 'https:'].includes(next.protocol)) {
    throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `${target.endpoint.host} does not say where an upload goes on`);
  }
  // Behind something that ends TLS, registries take themselves for spoken to in the clear.
  if (next.host === answer.url.host && answer.url.protocol === 'https:') next.protocol = 'https:';
  // `0-N` is N + 1 bytes, but `0-0` is none: distribution says that of an upload that has just begun.
  const match = /^(?:bytes=)?0-(\d{1,15})$/.exec(answer.headers.range ?? '');
  const last = match === null ? undefined : Number(match[1]);
  return { location: next, received: last === undefined ? undefined : last === 0 ? 0 : last + 1 };
}

function lostTooOften({ asked, endpoint, digest }: UploadTarget): EngineError {
  return new EngineError(
    'Unavailable',
    'REGISTRY_FAILED',
    `${digest} cannot be uploaded to ${asked.name}: ${endpoint.host} lost the upload ${maxBeginnings} times`,
  );
}
