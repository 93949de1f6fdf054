import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { isErrno } from '../../base/errors.ts';
import { newHash } from '../../oci/digest.ts';
import type { StorePaths } from '../../store/port.ts';
import type { PlainFrame } from './cutter.ts';

/** Blobs whose frames are remembered. */
const maxBlobs = 64;
const keyBytes = 24;
const recordBytes = keyBytes + 16;
const magic = Buffer.from('SXF2');

export type FrameKey = Buffer;
export type FramePlace = { readonly key: FrameKey; readonly offset: number; readonly length: number; readonly crc: number };

type Index = { readonly path: string; readonly blob: string; readonly records: Buffer; fd: number | undefined; used: boolean };

/**
 * Frames that were compressed before. It holds no bytes of its own: for each blob that was made it has a small file in `<root>/frames/` that says which frames lie
 * where, so that making a layer again takes them from the earlier blob. All of it can be deleted at any time, and so can the blobs. A job opens it and closes it.
 */
export class FrameCache {
  readonly #folder: string;
  readonly #blobs: string;
  #indexes: Index[] | undefined;

  constructor(paths: StorePaths) {
    this.#folder = join(paths.root, 'frames');
    this.#blobs = join(paths.blobs, 'sha256');
  }

  /**
   * Names a frame by all of its plain bytes: what is in chunks by their ids, which whoever cut them has checked. `recipe`: what else decides the compressed bytes.
   */
  static key({ plain, chunks }: PlainFrame, recipe: string): FrameKey {
    const hash = newHash().update(`${recipe}\n${chunks.map(({ id, offset, length }) => `${offset} ${length} ${id}\n`).join('')}\n`);
    let end = 0;
    for (const { offset, length } of chunks) {
      if (offset > end) hash.update(plain.subarray(end, offset));
      end = offset + length;
    }
    return hash.update(plain.subarray(end)).digest().subarray(0, keyBytes);
  }

  /** The compressed frame, checked; undefined when it is not known or no longer there. */
  get(key: FrameKey): Buffer | undefined {
    this.#indexes ??= this.#load();
    for (const index of this.#indexes) {
      const at = find(index.records, key);
      if (at === undefined) continue;
      const bytes = this.#read(index, at);
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  /** Remembers where the frames of a blob are. */
  add(blobHex: string, places: readonly FramePlace[], tmpDir: string): void {
    const sorted = [...places].sort((a, b) => Buffer.compare(a.key, b.key));
    const bytes = Buffer.alloc(magic.length + sorted.length * recordBytes);
    magic.copy(bytes);
    for (const [number, { key, offset, length, crc }] of sorted.entries()) {
      const at = magic.length + number * recordBytes;
      key.copy(bytes, at);
      bytes.writeUIntLE(offset, at + keyBytes, 6);
      bytes.writeUInt32LE(length, at + keyBytes + 8);
      bytes.writeUInt32LE(crc, at + keyBytes + 12);
    }
    // Not synced: an index that is lost or torn costs time only.
    const temporary = join(tmpDir, 'frames-index');
    writeFileSync(temporary, bytes, { mode: 0o600 });
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    renameSync(temporary, join(this.#folder, blobHex));
  }

  /** Tells which blobs were of use, forgets the others beyond the limit, and closes what is open. */
  close(): void {
    const now = new Date();
    for (const index of this.#indexes ?? []) {
      if (index.fd !== undefined) closeSync(index.fd);
      if (index.used) ignoreMissing(() => utimesSync(index.path, now, now));
    }
    this.#indexes = undefined;
    for (const path of this.#newestFirst().slice(maxBlobs)) rmSync(path, { force: true });
  }

  #load(): Index[] {
    return this.#newestFirst().flatMap((path): Index[] => {
      const blob = join(this.#blobs, path.slice(-64));
      if (!existsSync(blob)) {
        rmSync(path, { force: true });
        return [];
      }
      const bytes = ignoreMissing(() => readFileSync(path));
      if (bytes === undefined || !bytes.subarray(0, magic.length).equals(magic)) return [];
      return [{ path, blob, records: bytes.subarray(magic.length), fd: undefined, used: false }];
    });
  }

  #newestFirst(): string[] {
    const names = ignoreMissing(() => readdirSync(this.#folder)) ?? [];
    return names
      .filter((name) => /^[0-9a-f]{64}$/.test(name))
      .map((name) => join(this.#folder, name))
      .map((path) => ({ path, time: ignoreMissing(() => statSync(path).mtimeMs) ?? 0 }))
      .sort((a, b) => b.time - a.time)
      .map(({ path }) => path);
  }

  #read(index: Index, at: number): Buffer | undefined {
    const { records } = index;
    const offset = records.readUIntLE(at + keyBytes, 6);
    const bytes = Buffer.allocUnsafe(records.readUInt32LE(at + keyBytes + 8));
    index.fd ??= ignoreMissing(() => openSync(index.blob, 'r'));
    if (index.fd === undefined || readSync(index.fd, bytes, 0, bytes.length, offset) !== bytes.length) return undefined;
    // A bit that the disk lost must not get into another blob.
    if (crc32(bytes) !== records.readUInt32LE(at + keyBytes + 12)) return undefined;
    index.used = true;
    return bytes;
  }
}

/** Where the record of a key begins. Binary search: loading an index costs one read. */
function find(records: Buffer, key: FrameKey): number | undefined {
  let low = 0;
  let high = Math.floor(records.length / recordBytes) - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const at = middle * recordBytes;
    const order = records.compare(key, 0, keyBytes, at, at + keyBytes);
    if (order === 0) return at;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/** Another job may delete what this one reads. */
function ignoreMissing<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
