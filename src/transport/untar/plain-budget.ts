import { EngineError } from '../../base/errors.ts';

const leastBytes = 16 * 2 ** 30;
/** Text and zeros compress further, but not by the gigabyte; gzip ends at 1,032. */
const ratio = 200;

/** What a layer may measure uncompressed: so many bytes, or, when none are given, 16 GiB or 200 times what was read of its blob, what is more. */
export class PlainBudget {
  readonly #what: string;
  readonly #most: number | undefined;
  #bytes = 0;

  constructor(what: string, most: number | undefined) {
    this.#what = what;
    this.#most = most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws InvalidArgument `LAYER_TOO_LARGE`. */
  count(bytes: number, readOfBlob: number): void {
    this.#bytes += bytes;
    const limit = this.#most ?? Math.max(leastBytes, ratio * readOfBlob);
    if (this.#bytes <= limit) return;
    throw new EngineError('InvalidArgument', 'LAYER_TOO_LARGE', `${this.#what} has more than ${limit} bytes uncompressed`, {
      hint: 'It looks like a decompression bomb, and was not unpacked.',
    });
  }
}
