import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import { type Digest, hexOf } from '../../oci/digest.ts';
import type { StorePaths, TreeContext } from '../../store/port.ts';
import type { ByteRange } from '../registry/port.ts';
import { damagedContent, invalidForm } from './errors.ts';
import { isFormBlob } from './port.ts';

/**
 * How a job gets bytes of a registry: it asks by a progress report, the main thread writes what comes into a file (fetcher.ts) and counts in shared memory, and the job reads what is there
 * already while the rest is on its way. `state[0]` is 1 once fetching has failed; each request has a number of its own that counts its finished ranges.
 */
export type FetchRequest =
  | { kind: 'ranges'; slot: number; blob: RemoteBlob; ranges: ByteRange[]; file: string }
  /** A small blob that is kept, whole and checked, among the store's. */
  | { kind: 'whole'; slot: number; blob: RemoteBlob };
export type RemoteBlob = { digest: Digest; size: number; mediaType: string };

export const maxRequests = 30_000;
const failedState = 1;
/** Also how soon a failure is noticed. */
const waitMs = 50;
const leastReadMemory = 64 << 10;
const staleMs = 3 * 24 * 3600 * 1000;
/** Added to the name of a file of parts. */
export const journal = '.ranges';
export const journalRow = 16;

/** What a job needs to be served. `owner` names the engine that runs: files that another one was writing are free for the taking. */
export type Channel = { readonly state: SharedArrayBuffer; readonly owner: string };

/** Parts of blobs that were fetched are kept until the pull that they are for is done: a pull that was cut off goes on from them. */
function partsFolder(paths: StorePaths): string {
  return join(paths.root, 'parts');
}

export class Remote {
  readonly #context: TreeContext;
  readonly #state: Int32Array;
  readonly #folder: string;
  readonly #owner: string;
  readonly #fetched: FetchedParts[] = [];
  #nextSlot = 1;

  constructor(context: TreeContext, { state, owner }: Channel) {
    this.#context = context;
    this.#state = new Int32Array(state);
    this.#owner = owner;
    this.#folder = partsFolder(context.paths);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    removeStale(this.#folder);
  }

  /** Asks for ranges of a blob, sorted and apart. */
  parts(blob: RemoteBlob, ranges: readonly ByteRange[]): FetchedParts {
    const file = this.#claim(hexOf(blob.digest));
    const missing = withoutCovered(ranges, readJournal(file + journal));
    const slot = this.#takeSlot();
    if (missing.length > 0) this.#ask({ kind: 'ranges', slot, blob, ranges: missing, file });
    const fetched = new FetchedParts(blob, file, missing, (count) => this.#wait(slot, count));
    this.#fetched.push(fetched);
    return fetched;
  }

  /** Blobs as files of the store, fetched side by side when they are not there. */
  whole(blobs: readonly RemoteBlob[]): Map<Digest, Buffer> {
    const asked = blobs.map((blob) => ({ blob, path: join(this.#context.paths.blobs, 'sha256', hexOf(blob.digest)), slot: 0 }));
    for (const one of asked) {
      if (statSync(one.path, { throwIfNoEntry: false }) !== undefined) continue;
      one.slot = this.#takeSlot();
      this.#ask({ kind: 'whole', slot: one.slot, blob: one.blob });
    }
    const files = new Map<Digest, Buffer>();
    for (const { blob, path, slot } of asked) {
      if (slot > 0) this.#wait(slot, 1);
      files.set(blob.digest, readFileSync(path));
    }
    return files;
  }

  /** What was fetched and not forgotten is for the next try. */
  close(): void {
    for (const parts of this.#fetched) {
      parts.close();
      parts.keep(join(this.#folder, hexOf(parts.blob.digest)));
    }
  }

  /** A file for this job alone: others may fetch the same blob at the same time. What an earlier try left becomes its own. */
  #claim(hex: string): string {
    const file = join(this.#folder, `${hex}.${this.#owner}.${randomBytes(6).toString('hex')}`);
    const isFree = (name: string) =>
      name === hex || (name.startsWith(`${hex}.`) && !name.includes(`.${this.#owner}.`) && !name.endsWith(journal));
    for (const name of readdirSync(this.#folder).filter(isFree)) {
      const left = join(this.#folder, name);
      if (!moved(left, file)) continue;
      moved(left + journal, file + journal);
      break;
    }
    closeSync(openSync(file, 'a', 0o600));
    return file;
  }

  /** The pull is done: what was fetched is in the store. */
  forget(): void {
    for (const parts of this.#fetched) parts.remove();
  }

  #ask(request: FetchRequest): void {
    this.#context.report(request);
  }

  #takeSlot(): number {
    if (this.#nextSlot > maxRequests) throw new EngineError('Internal', 'TOO_MANY_REQUESTS', 'one pull asks for too many blobs');
    return this.#nextSlot++;
  }

  #wait(slot: number, count: number): void {
    for (;;) {
      const done = Atomics.load(this.#state, slot);
      if (done >= count) return;
      // What failed is told by whoever fetches; this only ends the job.
      if (Atomics.load(this.#state, 0) === failedState) throw new EngineError('Unavailable', 'FETCH_FAILED', 'fetching failed');
      Atomics.wait(this.#state, slot, done, waitMs);
    }
  }
}

/** Ranges of one blob in a file, at their own offsets. */
export class FetchedParts {
  readonly blob: RemoteBlob;
  readonly #file: string;
  readonly #awaited: readonly ByteRange[];
  readonly #wait: (count: number) => void;
  #fd: number | undefined;
  #ready = 0;
  #memory = Buffer.alloc(0);

  constructor(blob: RemoteBlob, file: string, awaited: readonly ByteRange[], wait: (count: number) => void) {
    this.blob = blob;
    this.#file = file;
    this.#awaited = awaited;
    this.#wait = wait;
    this.#fd = openSync(file, 'r');
  }

  /** Waits until these bytes are there. They must lie in the ranges that were asked for. Good until the next read: frame by frame, new memory for each would be garbage by the gigabyte. */
  read(offset: number, length: number): Buffer {
    this.#awaitEnd(offset + length);
    if (this.#memory.length < length) this.#memory = Buffer.allocUnsafeSlow(Math.max(length, leastReadMemory));
    const bytes = this.#memory.subarray(0, length);
    const count = readSync(this.#fd ?? -1, bytes, 0, length, offset);
    if (count < length) throw this.damaged(`${length} bytes at ${offset}`, `${count} bytes`);
    return bytes;
  }

  /** What was fetched is of no use: it is fetched again next time. */
  damaged(expected: string, read: string): EngineError {
    this.remove();
    if (isFormBlob(this.blob)) return invalidForm(`blob ${this.blob.digest}`, `expected ${expected}, read ${read}`);
    return damagedContent(`blob ${this.blob.digest}`, expected, read);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#memory = Buffer.alloc(0);
  }

  remove(): void {
    rmSync(this.#file, { force: true });
    rmSync(this.#file + journal, { force: true });
  }

  /** Moves what there is to where the next try looks for it. */
  keep(place: string): void {
    // A journal must never stand beside bytes that it is not of.
    rmSync(place + journal, { force: true });
    if (moved(this.#file, place)) moved(this.#file + journal, place + journal);
  }

  #awaitEnd(end: number): void {
    let low = this.#ready;
    let high = this.#awaited.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#awaited[middle] as ByteRange).offset < end) low = middle + 1;
      else high = middle;
    }
    if (low === this.#ready) return;
    this.#wait(low);
    this.#ready = low;
  }
}

function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

/** The ranges that were written whole, sorted and joined. */
function readJournal(path: string): ByteRange[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
  const ranges: ByteRange[] = [];
  for (let at = 0; at + journalRow <= bytes.length; at += journalRow) {
    ranges.push({ offset: bytes.readDoubleLE(at), length: bytes.readDoubleLE(at + 8) });
  }
  return joinRanges(ranges);
}

/** Sorted and without overlap; those that touch made one as long as that has at most `most` bytes. */
export function joinRanges(ranges: readonly ByteRange[], most = Number.MAX_SAFE_INTEGER): ByteRange[] {
  const joined: { offset: number; length: number }[] = [];
  for (const { offset, length } of [...ranges].sort((a, b) => a.offset - b.offset)) {
    const last = joined.at(-1);
    const end = offset + length;
    if (last !== undefined && offset <= last.offset + last.length && end - last.offset <= most) {
      last.length = Math.max(last.length, end - last.offset);
    } else if (last === undefined || end > last.offset + last.length) {
      const from = Math.max(offset, last === undefined ? 0 : last.offset + last.length);
      joined.push({ offset: from, length: end - from });
    }
  }
  return joined;
}

function withoutCovered(ranges: readonly ByteRange[], covered: readonly ByteRange[]): ByteRange[] {
  let next = 0;
  return ranges.filter(({ offset, length }) => {
    for (; next < covered.length; next++) {
      const one = covered[next] as ByteRange; // within the bounds
      if (one.offset + one.length > offset) return !(one.offset <= offset && one.offset + one.length >= offset + length);
    }
    return true;
  });
}

function removeStale(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && stat.mtimeMs < Date.now() - staleMs) rmSync(path, { force: true });
  }
}
