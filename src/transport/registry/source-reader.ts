import type { BlobSource } from './port.ts';

/** Reads a source from place to place. Going on where it stopped goes on with the same stream; anything else opens another. */
export class SourceReader implements AsyncDisposable {
  readonly #source: BlobSource;
  readonly #size: number;
  #stream: AsyncIterator<Uint8Array> | undefined;
  #position = 0;
  /** What came beyond the end of the range before. */
  #rest: Uint8Array | undefined;
  /** Which range is read. One that was given up while it waited for the source must not go on. */
  #turn = 0;
  #waits = false;

  constructor(source: BlobSource, size: number) {
    this.#source = source;
    this.#size = size;
  }

  /** Less than `length` only where the source ends. A range ends the one before. */
  async *range(offset: number, length: number): AsyncGenerator<Uint8Array, void, undefined> {
    const turn = ++this.#turn;
    if (this.#stream === undefined || this.#position !== offset || this.#waits) await this.#open(offset);
    const end = Math.min(offset + length, this.#size);
    while (turn === this.#turn && this.#position < end) {
      const chunk = this.#rest ?? (await this.#next());
      if (chunk === undefined || turn !== this.#turn) return;
      const wanted = chunk.subarray(0, end - this.#position);
      this.#rest = wanted.length < chunk.length ? chunk.subarray(wanted.length) : undefined;
      this.#position += wanted.length;
      if (wanted.length > 0) yield wanted;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  async #open(offset: number): Promise<void> {
    await this.#close();
    this.#position = offset;
    this.#stream = this.#source.read(offset)[Symbol.asyncIterator]();
  }

  async #next(): Promise<Uint8Array | undefined> {
    const stream = this.#stream;
    this.#waits = true;
    try {
      const result = await stream?.next();
      return result === undefined || result.done === true ? undefined : result.value;
    } finally {
      if (stream === this.#stream) this.#waits = false;
    }
  }

  async #close(): Promise<void> {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#rest = undefined;
    this.#waits = false;
    await stream?.return?.();
  }
}
