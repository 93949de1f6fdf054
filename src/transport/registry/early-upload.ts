import { EngineError } from '../../base/errors.ts';
import type { BegunUpload, GrowingBlob } from './port.ts';
import { isPassing, Retries } from './retry.ts';
import { SourceReader } from './source-reader.ts';
import { abandon, begin, Progress, type Session, SessionLost, sendPiece, statusOf, type UploadPlace } from './upload.ts';

type OnBytes = ((count: number) => void) | undefined;

/** A blob that is whole before so much of it is there goes the usual way. */
const leastBytes = 16 * 1024 * 1024;
/** In a row. A registry that loses its place more often is better asked to take the blob when it is whole. */
const maxLosses = 3;
const abandonMs = 5_000;
const anySize = Number.MAX_SAFE_INTEGER;

/**
 * Uploads a blob that is still being made, in pieces (distribution-spec, "Pushing a blob in chunks"), as far as it is there. Its digest is told last, by whoever goes on with the upload. When the
 * registry does not take pieces, or fails for longer than is waited, this ends, and the blob goes from its first byte when it is whole.
 */
export class EarlyUpload implements BegunUpload {
  readonly #place: UploadPlace;
  readonly #source: GrowingBlob;
  readonly #stop = new AbortController();
  readonly #retries: Retries;
  readonly #sent: Progress;
  readonly #ended: Promise<void>;
  #session: Session | undefined;
  #losses = 0;
  #bytes = 0;
  #onBytes: OnBytes;
  #isHandedOver = false;

  constructor(place: UploadPlace, source: GrowingBlob) {
    const signal = place.signal === undefined ? this.#stop.signal : AbortSignal.any([place.signal, this.#stop.signal]);
    this.#place = { ...place, signal };
    this.#source = source;
    this.#retries = new Retries(place.endpoint.retries, signal);
    const onBytes = (count: number) => {
      this.#bytes += count;
      this.#onBytes?.(count);
    };
    this.#sent = new Progress({ onBytes }, this.#retries);
    this.#ended = this.#run();
    this.#ended.catch(() => {}); // told by finish
  }

  /** What the registry has taken when the whole blob has gone, or no more of it will; undefined when that is nothing. `onBytes` is told of what went so far, and of the rest. */
  async finish(onBytes: OnBytes): Promise<Session | undefined> {
    this.#tell(onBytes);
    this.#isHandedOver = true;
    await this.#ended;
    return this.#session;
  }

  async abandon(onBytes?: OnBytes): Promise<void> {
    this.#tell(onBytes);
    // Whoever cancels a push does not wait for a registry; it forgets what nobody goes on with.
    const isCancelled = this.#place.signal?.aborted === true;
    this.#stop.abort();
    await this.#ended.catch(() => {});
    const { location } = this.#sent;
    if (location === undefined || isCancelled || this.#isHandedOver) return;
    await abandon({ ...this.#place, signal: AbortSignal.timeout(abandonMs) }, location);
  }

  #tell(onBytes: OnBytes): void {
    this.#onBytes = onBytes;
    if (this.#bytes > 0) onBytes?.(this.#bytes);
  }

  async #run(): Promise<void> {
    await using reader = new SourceReader(this.#source, anySize);
    while (this.#place.endpoint.takesPieces) {
      try {
        if (await this.#sendSome(reader)) return;
      } catch (error) {
        if (!(await this.#mayGoOn(error))) return this.#forget();
      }
    }
    this.#forget();
  }

  /** Whether nothing is left to send. */
  async #sendSome(reader: SourceReader): Promise<boolean> {
    const { signal } = this.#place;
    const offset = this.#session?.offset ?? 0;
    const there = await this.#source.available(offset + (this.#session?.pieceBytes ?? leastBytes), signal);
    if (there === offset || (this.#session === undefined && there < leastBytes)) return true;
    this.#session ??= await begin(this.#place);
    this.#sent.location = this.#session.location;
    this.#session = await sendPiece(this.#place, this.#session, reader, this.#sent, there);
    this.#sent.location = this.#session.location;
    this.#losses = 0;
    return false;
  }

  async #mayGoOn(error: unknown): Promise<boolean> {
    try {
      const isLost = error instanceof SessionLost;
      if (isLost ? ++this.#losses > maxLosses : !isPassing(error)) return false;
      if (!isLost) await this.#retries.wait(error);
      const session = this.#session;
      if (session === undefined) return true;
      const status = await statusOf({ ...this.#place, size: anySize }, session.location, this.#retries);
      if (status === undefined || status.offset > this.#sent.position) return false;
      this.#sent.backTo(status.offset);
      this.#session = { ...session, ...status };
      return true;
    } catch (cause) {
      // Whoever uploads the whole blob meets it again, and tells it.
      if (cause instanceof EngineError || this.#place.signal?.aborted) return false;
      throw cause;
    }
  }

  #forget(): void {
    this.#session = undefined;
    this.#sent.backTo(0);
  }
}
