import { type FileHandle, open } from 'node:fs/promises';
import { EngineError } from '../../base/errors.ts';
import type { Blobs } from '../../store/port.ts';
import type { Repository } from '../registry/port.ts';
import { invalidDelta, invalidForm } from './errors.ts';
import { ChunkedType, isFormBlob } from './port.ts';
import { type FetchRequest, journal, journalRow, maxRequests } from './remote.ts';

/** Where bytes come from: a repository, or what answers like one. */
export type FetchSource = Pick<Repository, 'blob' | 'parts'>;

/** Fetches what a job asks for (remote.ts), on the main thread. */
export class Fetcher {
  readonly shared = new SharedArrayBuffer(4 * (1 + maxRequests + 1));
  readonly #state = new Int32Array(this.shared);
  readonly #repository: FetchSource | undefined;
  readonly #blobs: Blobs;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #onBytes: ((current: number, total: number) => void) | undefined;
  readonly #running = new Set<Promise<void>>();
  bytesReceived = 0;
  #bytesAskedFor = 0;
  #failure: { error: unknown } | undefined;

  constructor(
    repository: FetchSource | undefined,
    blobs: Blobs,
    options: { signal?: AbortSignal | undefined; onBytes?: ((current: number, total: number) => void) | undefined },
  ) {
    this.#repository = repository;
    this.#blobs = blobs;
    this.#signal = options.signal === undefined ? this.#abort.signal : AbortSignal.any([options.signal, this.#abort.signal]);
    this.#onBytes = options.onBytes;
  }

  take(request: FetchRequest): void {
    const fetching = (request.kind === 'whole' ? this.#whole(request) : this.#ranges(request)).catch((error: unknown) =>
      this.#fail(orInvalid(error, request.blob)),
    );
    this.#running.add(fetching);
    void fetching.finally(() => this.#running.delete(fetching));
  }

  /** What made fetching fail says more than the job that waited for it. */
  reasonOf(error: unknown): unknown {
    return this.#failure === undefined ? error : this.#failure.error;
  }

  /** Ends what is under way and waits for it. */
  async end(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled(this.#running);
  }

  get #from(): FetchSource {
    if (this.#repository === undefined) throw new EngineError('Internal', 'NO_REPOSITORY', 'a job asked for bytes of no repository');
    return this.#repository;
  }

  async #whole({ slot, blob }: Extract<FetchRequest, { kind: 'whole' }>): Promise<void> {
    const expected = { digest: blob.digest, sizeBytes: blob.size };
    const meter = this.#meter(blob.size);
    await this.#blobs.put(this.#from.blob(blob, { signal: this.#signal, onBytes: meter }), expected, { signal: this.#signal });
    this.#count(slot);
  }

  async #ranges({ slot, blob, ranges, file }: Extract<FetchRequest, { kind: 'ranges' }>): Promise<void> {
    const meter = this.#meter(ranges.reduce((sum, { length }) => sum + length, 0));
    await using parts = await open(file, 'r+');
    await using ranged = await open(file + journal, 'a', 0o600);
    for await (const { offset, bytes } of this.#from.parts(blob, ranges, { signal: this.#signal, onBytes: meter })) {
      await writeAt(parts, bytes, offset);
      const row = Buffer.alloc(journalRow);
      row.writeDoubleLE(offset, 0);
      row.writeDoubleLE(bytes.length, 8);
      await ranged.write(row);
      this.#count(slot);
    }
  }

  #meter(asked: number): (count: number) => void {
    this.#bytesAskedFor += asked;
    return (count) => {
      this.bytesReceived += count;
      this.#onBytes?.(this.bytesReceived, this.#bytesAskedFor);
    };
  }

  #count(slot: number): void {
    Atomics.add(this.#state, slot, 1);
    Atomics.notify(this.#state, slot);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    Atomics.store(this.#state, 0, 1);
    this.#abort.abort();
  }
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** A blob of the form that is missing or damaged makes the form unsound, and nothing else. */
export function orInvalid(error: unknown, blob: { digest: string; mediaType: string }): unknown {
  if (!isFormBlob(blob) || !(error instanceof EngineError) || (error.kind !== 'NotFound' && error.kind !== 'DataLoss')) return error;
  return blob.mediaType === ChunkedType.delta
    ? invalidDelta(`blob ${blob.digest}`, error.message)
    : invalidForm(`blob ${blob.digest}`, error.message);
}
