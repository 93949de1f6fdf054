import { EngineError } from '../../base/errors.ts';

const maxLineBytes = 4096;

/** Decodes a chunked body (RFC 9112, 7.1), however the bytes are cut into pieces. Extensions and trailers are skipped. */
export class ChunkedDecoder {
  /** The last chunk and the trailers have been read. */
  done = false;
  #state: 'size' | 'data' | 'data-end' | 'trailer' = 'size';
  #left = 0;
  #line = '';

  /** The body's bytes in `piece`; they share its memory. Throws Unavailable `CHUNK_INVALID`. */
  *push(piece: Buffer): Generator<Buffer, void, undefined> {
    let at = 0;
    while (at < piece.length && !this.done) {
      if (this.#state === 'data') {
        const end = Math.min(piece.length, at + this.#left);
        yield piece.subarray(at, end);
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = 'data-end';
        continue;
      }
      const newline = piece.indexOf(0x0a, at);
      this.#line += piece.toString('latin1', at, newline < 0 ? piece.length : newline);
      if (this.#line.length > maxLineBytes) throw invalid('a line of its framing is too long');
      if (newline < 0) return;
      at = newline + 1;
      this.#takeLine(this.#line.replace(/\r$/, ''));
      this.#line = '';
    }
  }

  #takeLine(line: string): void {
    if (this.#state === 'size') {
      const size = /^([0-9a-fA-F]{1,12})[ \t]*(?:;|$)/.exec(line)?.[1];
      if (size === undefined) throw invalid(`expected the size of a chunk, read ${JSON.stringify(line.slice(0, 40))}`);
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? 'trailer' : 'data';
    } else if (this.#state === 'data-end') {
      if (line !== '') throw invalid('a chunk is longer than it said');
      this.#state = 'size';
    } else if (line === '') this.done = true;
  }
}

function invalid(why: string): EngineError {
  return new EngineError('Unavailable', 'CHUNK_INVALID', `the daemon's answer is damaged: ${why}`);
}
