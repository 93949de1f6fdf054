import { hash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { seekHoles, syncfs } from '../../kernel/files.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Witness } from '../jobs/witness.ts';
import { objectPath } from '../paths.ts';
import type { StorePaths } from '../port.ts';
import { ObjectStream, type StoredObject, writeAll } from './object-stream.ts';
import { WriterThread } from './writer-thread.ts';

/** Up to this many files are synced one by one: beside other writers a whole-file-system sync waits for their data too. */
const singleSyncs = 200;
/** From here on a second thread creates the files: it takes a moment to start. */
const filesBeforeWriter = 500;
/** An object younger than this may be another job's whose directory entry is not durable yet. */
const youngMs = 60_000;
/**
 * The objects that one job adds. They stay in the job's own folder until `publish`, which makes their bytes durable before it gives
 * them their names: whatever has a name in `objects/` is whole, after a power cut too, so that an object that is there need never be
 * written again. A job that fails leaves nothing behind.
 */
export class PendingObjects {
  readonly #paths: StorePaths;
  readonly #folder: string;
  readonly #pending = new Map<Hex, number>();
  readonly #youngFolders = new Set<string>();
  readonly #readBuffer = Buffer.allocUnsafeSlow(1 << 20);
  readonly #startWriter: ((folder: string) => WriterThread) | undefined;
  readonly #witness: Witness | undefined;
  #writer: WriterThread | undefined;
  #nextFile = 0;
  #folderMade = false;

  /** `startWriter`: how to get a second thread that creates files, for jobs that add many. `witness`: told of every object before it is looked for. */
  constructor(
    paths: StorePaths,
    folder: string,
    options: { startWriter?: ((folder: string) => WriterThread) | undefined; witness?: Witness | undefined } = {},
  ) {
    this.#paths = paths;
    this.#folder = folder;
    this.#startWriter = options.startWriter;
    this.#witness = options.witness;
  }

  /** The job's folder, made when it is first asked for. */
  get folder(): string {
    if (!this.#folderMade) {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      this.#folderMade = true;
    }
    return this.#folder;
  }

  /** Where the object's bytes are now: its place in the store, or this job's folder until `publish`. */
  path(object: Hex): string {
    const file = this.#pending.get(object);
    if (file === undefined) return objectPath(this.#paths, object);
    this.#writer?.flush();
    return this.#file(file);
  }

  /** Whether the object is in the store or pending here. */
  has(object: Hex): boolean {
    if (this.#pending.has(object)) return true;
    this.#witness?.note(object);
    const path = objectPath(this.#paths, object);
    // Cheaper than a failing stat, and in a new store nearly all fail.
    if (!existsSync(path)) return false;
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return false;
    // An unclean clock can put it in the future: then it counts as young, which costs one sync.
    if (stat.ctimeMs > Date.now() - youngMs) this.#youngFolders.add(object.slice(0, 2));
    return true;
  }

  putBytes(bytes: Uint8Array): StoredObject {
    const object = hash('sha256', bytes, 'hex') as Hex;
    if (!this.has(object)) this.#pending.set(object, this.#write(bytes));
    return { object, size: bytes.length };
  }

  #write(bytes: Uint8Array): number {
    if (this.#pending.size === filesBeforeWriter) this.#writer ??= this.#startWriter?.(this.folder);
    if (this.#writer !== undefined && WriterThread.takes(bytes)) {
      const file = this.#nextFile++;
      this.#writer.write(file, bytes);
      return file;
    }
    const { file, fd } = this.#create();
    try {
      writeAll(fd, bytes, 0, bytes.length, null);
      return file;
    } catch (error) {
      rmSync(this.#file(file), { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  /**
   * The content of an open regular file, from byte 0 to where reading ends. Holes are kept. `checkpoint` is called between reads, so
   * that a file of many GB can be interrupted.
   */
  putFile(fd: number, checkpoint: () => void = () => {}): StoredObject {
    const stat = fstatSync(fd);
    const sparse = stat.blocks * 512 < stat.size;
    if (sparse) return this.#putSparse(fd, stat.size, checkpoint);
    const buffer = this.#readBuffer;
    const first = readFully(fd, buffer, 0);
    if (first < buffer.length) return this.putBytes(buffer.subarray(0, first));
    const stream = this.stream();
    try {
      stream.write(buffer);
      for (let position = first; ; ) {
        checkpoint();
        const count = readSync(fd, buffer, 0, buffer.length, position);
        if (count === 0) break;
        stream.write(count === buffer.length ? buffer : buffer.subarray(0, count));
        position += count;
      }
      return stream.finish();
    } catch (error) {
      stream.abort();
      throw error;
    }
  }

  #putSparse(fd: number, size: number, checkpoint: () => void): StoredObject {
    const stream = this.stream();
    try {
      let position = 0;
      for (const [start, end] of seekHoles(fd, size)) {
        stream.skip(start - position);
        position = start;
        while (position < end) {
          checkpoint();
          const count = readSync(fd, this.#readBuffer, 0, Math.min(this.#readBuffer.length, end - position), position);
          if (count === 0) return stream.finish(); // cut short meanwhile: the caller compares sizes
          stream.write(this.#readBuffer.subarray(0, count));
          position += count;
        }
      }
      stream.skip(size - position);
      return stream.finish();
    } catch (error) {
      stream.abort();
      throw error;
    }
  }

  /** Chunks of any size; runs of zeros become holes. Ends with `finish` or `abort`. */
  stream(): ObjectStream {
    return new ObjectStream({
      create: () => this.#create(),
      finish: (object, file) => {
        if (this.has(object)) rmSync(this.#file(file));
        else this.#pending.set(object, file);
      },
      abort: (file) => rmSync(this.#file(file), { force: true }),
      putBytes: (bytes) => this.putBytes(bytes),
    });
  }

  /** Makes all pending objects durable under their names. */
  publish(): void {
    const folders = new Set(this.#youngFolders);
    for (const object of this.#pending.keys()) folders.add(object.slice(0, 2));
    if (folders.size === 0) return;
    this.#writer?.flush();
    const many = this.#pending.size > singleSyncs;
    if (many) this.#syncAll();
    else for (const file of this.#pending.values()) syncPath(this.#file(file));
    for (const [object, file] of this.#pending) renameSync(this.#file(file), objectPath(this.#paths, object));
    this.#pending.clear();
    this.#youngFolders.clear();
    // The names too: after a power cut a rename may vanish though the data survived.
    if (many) this.#syncAll();
    else for (const folder of folders) syncPath(`${this.#paths.objects}/${folder}`);
  }

  /** To be called when the job ends, however it ends: afterwards nothing is written to its folder. */
  end(): void {
    this.#writer?.end();
    this.#writer = undefined;
  }

  #syncAll(): void {
    const fd = openSync(this.#paths.objects, 'r');
    try {
      syncfs(fd);
    } finally {
      closeSync(fd);
    }
  }

  #file(file: number): string {
    return `${this.#folder}/${file}`;
  }

  #create(): { file: number; fd: number } {
    const file = this.#nextFile++;
    void this.folder;
    return { file, fd: openSync(this.#file(file), 'wx', 0o444) };
  }
}

/** Fills the buffer as far as the file goes. */
export function readFully(fd: number, buffer: Buffer, position: number): number {
  let length = 0;
  while (length < buffer.length) {
    const count = readSync(fd, buffer, length, buffer.length - length, position + length);
    if (count === 0) break;
    length += count;
  }
  return length;
}

function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
