import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { EngineError } from '../../base/errors.ts';
import { type Hex, newHash } from '../../oci/digest.ts';

/** Shorter streams stay in memory until their digest is known: most exist already and are never written. */
const spillBytes = 256 * 1024;
const zeros = Buffer.alloc(64 * 1024);

export type StoredObject = { object: Hex; size: number };

/** What a stream asks of the place where its object goes. */
type StreamOwner = {
  create(): { file: number; fd: number };
  finish(object: Hex, file: number): void;
  abort(file: number): void;
  putBytes(bytes: Uint8Array): StoredObject;
};

/** An object whose digest is known only at its end. */
export class ObjectStream {
  readonly #owner: StreamOwner;
  readonly #hash = newHash();
  #size = 0;
  #held: Buffer[] = [];
  #open: { file: number; fd: number } | undefined;
  #ended = false;

  constructor(owner: StreamOwner) {
    this.#owner = owner;
  }

  /** The bytes are copied or written before this returns. */
  write(chunk: Uint8Array): void {
    if (this.#ended) throw new EngineError('Internal', 'OBJECT_STREAM_ENDED', 'an object was written to after its end');
    this.#hash.update(chunk);
    if (this.#open === undefined && this.#size + chunk.length <= spillBytes) this.#held.push(Buffer.from(chunk));
    else this.#writeOut(chunk);
    this.#size += chunk.length;
  }

  /** Adds `count` zeros as a hole. */
  skip(count: number): void {
    for (let rest = count; rest > 0; rest -= zeros.length) this.#hash.update(rest < zeros.length ? zeros.subarray(0, rest) : zeros);
    if (count > 0) this.#spill();
    this.#size += count;
  }

  finish(): StoredObject {
    this.#ended = true;
    const size = this.#size;
    if (this.#open === undefined)
      return this.#owner.putBytes(this.#held.length === 1 ? (this.#held[0] ?? zeros) : Buffer.concat(this.#held));
    const { file, fd } = this.#open;
    try {
      ftruncateSync(fd, size); // a hole at the end has no bytes of its own
    } finally {
      closeSync(fd);
    }
    const object = this.#hash.digest('hex') as Hex;
    this.#owner.finish(object, file);
    return { object, size };
  }

  abort(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#held = [];
    if (this.#open === undefined) return;
    closeSync(this.#open.fd);
    this.#owner.abort(this.#open.file);
  }

  #spill(): number {
    if (this.#open === undefined) {
      this.#open = this.#owner.create();
      let position = 0;
      for (const chunk of this.#held) {
        writeAll(this.#open.fd, chunk, 0, chunk.length, position);
        position += chunk.length;
      }
      this.#held = [];
    }
    return this.#open.fd;
  }

  #writeOut(chunk: Uint8Array): void {
    const fd = this.#spill();
    for (let start = 0; start < chunk.length; start += zeros.length) {
      const end = Math.min(start + zeros.length, chunk.length);
      if (!isZero(chunk, start, end)) writeAll(fd, chunk, start, end, this.#size + start);
    }
  }
}

function isZero(chunk: Uint8Array, start: number, end: number): boolean {
  // Nearly all data fails the first look.
  if (chunk[start] !== 0 || chunk[end - 1] !== 0 || end - start < 4096) return false;
  return zeros.compare(chunk, start, end, 0, end - start) === 0;
}

/** Writes all of `[start, end)`, at `position` or where the file stands. */
export function writeAll(fd: number, bytes: Uint8Array, start: number, end: number, position: number | null): void {
  for (let done = start; done < end; ) {
    done += writeSync(fd, bytes, done, end - done, position === null ? null : position + done - start);
  }
}
