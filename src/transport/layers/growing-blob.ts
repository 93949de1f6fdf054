import { type FileHandle, open } from 'node:fs/promises';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { GrowingBlob } from '../registry/port.ts';
import { readFrom } from '../source-file.ts';

/** A blob that a job writes, read beside it. It stays readable under whatever name the job gives it, until `close`. */
export class GrowingBlobFile implements GrowingBlob {
  /** Once it is whole. */
  digest: Digest | undefined;
  readonly #handle: FileHandle;
  #bytes = 0;
  #state: 'growing' | 'whole' | 'failed' = 'growing';
  #changed = Promise.withResolvers<void>();

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Undefined when the job has given it its name already: then there is nothing to hurry for. */
  static async open(path: string): Promise<GrowingBlobFile | undefined> {
    try {
      return new GrowingBlobFile(await open(path, 'r'));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  grow(bytes: number): void {
    this.#bytes = bytes;
    this.#wake();
  }

  end(digest: Digest, sizeBytes: number): void {
    this.digest = digest;
    this.#bytes = sizeBytes;
    this.#state = 'whole';
    this.#wake();
  }

  /** The rest will not come. */
  fail(): void {
    this.#state = 'failed';
    this.#wake();
  }

  async available(least: number, signal?: AbortSignal): Promise<number> {
    const aborted = Promise.withResolvers<void>();
    const abort = () => aborted.resolve();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (this.#state === 'failed') throw new EngineError('Cancelled', 'CANCELLED', 'the layer that is sent is not made after all');
        if (this.#bytes >= least || this.#state === 'whole') return this.#bytes;
        await Promise.race([this.#changed.promise, aborted.promise]);
      }
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Only as far as `available` has told. */
  read(offset: number): AsyncIterable<Uint8Array> {
    return readFrom(this.#handle, offset);
  }

  /** Nobody reads any more. */
  close(): Promise<void> {
    return this.#handle.close();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
