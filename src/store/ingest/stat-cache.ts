import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { ByteString } from '../../base/bytes.ts';
import { isErrno } from '../../base/errors.ts';
import type { FileStat } from '../../kernel/stat.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import { EntryType, type NodeDigests } from '../model.ts';
import { ByteWriter } from '../tree/byte-writer.ts';

/**
 * What the last ingest of a folder saw: docs/formats/stat-cache.md. A flat file of blocks, one a directory, children before parents, so
 * that the block of an unchanged subtree is copied as one range and a directory is compared with no object made for an entry.
 *
 * Offsets inside an entry: u8 type and flags, u8 length of name, u16 mode, u32 uid, gid, inode low and high, device major and minor,
 * mtime ns, ctime ns; f64 size, mtime s, ctime s; then what the type has; then the name.
 */
const statBytes = 60;
const racyFlag = 0x20;
const xattrsFlag = 0x10;
const typeMask = 0x0f;
const digestBytes = 32;
const fileExtra = digestBytes;
const directoryExtra = 4 + 2 * digestBytes;
/** Block header: u32 number of entries, u32 bytes of the blocks below this one, the two digests. */
const blockHeader = 8 + 2 * digestBytes;
const magic = Buffer.from('slipway-stat\x01');
const fileHeader = magic.length + digestBytes + 8;
/** Above this the cache costs more memory than it saves time. */
const maxCacheBytes = 1 << 30;

/** A cache as read: entries are looked at in place. */
export class StatCache {
  readonly buffer: Buffer;
  readonly #view: DataView;
  /** Offset of the root directory's block. */
  readonly root: number;

  constructor(buffer: Buffer, root: number) {
    this.buffer = buffer;
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    this.root = root;
  }

  entryCount(block: number): number {
    return this.#view.getUint32(block, true);
  }

  digests(block: number): NodeDigests {
    return { full: this.#hex(block + 8), content: this.#hex(block + 8 + digestBytes) };
  }

  firstEntry(block: number): number {
    return block + blockHeader;
  }

  nextEntry(entry: number): number {
    return entry + this.#nameOffset(entry) + this.#byte(entry + 1);
  }

  type(entry: number): EntryType {
    return (this.#byte(entry) & typeMask) as EntryType;
  }

  hasXattrs(entry: number): boolean {
    return (this.#byte(entry) & xattrsFlag) !== 0;
  }

  name(entry: number): ByteString {
    const start = entry + this.#nameOffset(entry);
    return this.buffer.toString('latin1', start, start + this.#byte(entry + 1)) as ByteString;
  }

  nameIs(entry: number, name: string): boolean {
    const length = this.#byte(entry + 1);
    if (name.length !== length) return false;
    const start = entry + this.#nameOffset(entry);
    for (let i = 0; i < length; i++) if (this.buffer[start + i] !== name.charCodeAt(i)) return false;
    return true;
  }

  /** Nothing that a write, a chmod, a rename over it or a change of attributes leaves as it was differs, and the clock had moved on. */
  isUnchanged(entry: number, stat: FileStat): boolean {
    const view = this.#view;
    return (
      (this.#byte(entry) & racyFlag) === 0 &&
      view.getFloat64(entry + 44, true) === stat.mtimeSec &&
      view.getUint32(entry + 28, true) === stat.mtimeNsec &&
      view.getFloat64(entry + 52, true) === stat.ctimeSec &&
      view.getUint32(entry + 32, true) === stat.ctimeNsec &&
      view.getUint32(entry + 12, true) === stat.inoLow &&
      view.getUint32(entry + 16, true) === stat.inoHigh &&
      view.getFloat64(entry + 36, true) === stat.size &&
      view.getUint16(entry + 2, true) === stat.mode &&
      view.getUint32(entry + 4, true) === stat.uid &&
      view.getUint32(entry + 8, true) === stat.gid &&
      view.getUint32(entry + 20, true) === stat.devMajor &&
      view.getUint32(entry + 24, true) === stat.devMinor
    );
  }

  object(entry: number): Hex {
    return this.#hex(entry + statBytes);
  }

  /** The block of a subdirectory, given the block that its entry is in. */
  childBlock(block: number, entry: number): number {
    return block - this.#view.getUint32(entry + statBytes, true);
  }

  /** Where the blocks of a whole subtree begin and end. */
  subtree(block: number): { start: number; end: number } {
    let end = this.firstEntry(block);
    for (let i = this.entryCount(block); i > 0; i--) end = this.nextEntry(end);
    return { start: block - this.#view.getUint32(block + 4, true), end };
  }

  #nameOffset(entry: number): number {
    const type = this.type(entry);
    return statBytes + (type === EntryType.file ? fileExtra : type === EntryType.directory ? directoryExtra : 0);
  }

  #byte(offset: number): number {
    return this.buffer[offset] as number; // the file's checksum was right, so its offsets are inside it
  }

  #hex(offset: number): Hex {
    return this.buffer.toString('hex', offset, offset + digestBytes) as Hex;
  }
}

/** Writes the blocks of the next cache, children first. */
export class StatCacheWriter {
  readonly #writer = new ByteWriter(1 << 20);

  constructor() {
    this.#writer.raw(Buffer.alloc(fileHeader));
  }

  get position(): number {
    return this.#writer.length;
  }

  /** Copies an unchanged subtree; gives the position of its top block. */
  copySubtree(cache: StatCache, block: number): number {
    const { start, end } = cache.subtree(block);
    const position = this.#writer.length + (block - start);
    this.#writer.raw(cache.buffer, start, end);
    return position;
  }

  /** Begins the block of a directory whose subdirectories' blocks lie between `subtreeStart` and here. */
  beginBlock(subtreeStart: number, digests: NodeDigests, entries: number): number {
    const block = this.#writer.length;
    this.#writer.u32(entries);
    this.#writer.u32(block - subtreeStart);
    this.#writer.digest(digests.full);
    this.#writer.digest(digests.content);
    return block;
  }

  entry(options: {
    block: number;
    type: EntryType;
    name: ByteString;
    stat: FileStat;
    racy: boolean;
    hasXattrs: boolean;
    object?: Hex | undefined;
    child?: ({ block: number } & NodeDigests) | undefined;
  }): void {
    const writer = this.#writer;
    const { stat, name, child } = options;
    writer.u8(options.type | (options.racy ? racyFlag : 0) | (options.hasXattrs ? xattrsFlag : 0));
    writer.u8(name.length);
    writer.u16(stat.mode);
    for (const value of [stat.uid, stat.gid, stat.inoLow, stat.inoHigh, stat.devMajor, stat.devMinor, stat.mtimeNsec, stat.ctimeNsec]) {
      writer.u32(value);
    }
    writer.f64(stat.size);
    writer.f64(stat.mtimeSec);
    writer.f64(stat.ctimeSec);
    if (options.object !== undefined) writer.digest(options.object);
    if (child !== undefined) {
      writer.u32(options.block - child.block);
      writer.digest(child.full);
      writer.digest(child.content);
    }
    writer.text(name);
  }

  /** The finished file; undefined when it would be too large to be worth it. */
  finish(fingerprint: Hex, root: number): Buffer | undefined {
    const length = this.#writer.length;
    if (length > maxCacheBytes) return undefined;
    const file = this.#writer.view();
    magic.copy(file);
    file.write(fingerprint, magic.length, digestBytes, 'hex');
    file.writeUInt32LE(root, magic.length + digestBytes);
    file.writeUInt32LE(checksum(file), magic.length + digestBytes + 4);
    return file;
  }
}

/** The cache files of a store, by name. */
export class StatCacheFolder {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Undefined when there is none, it was made with other options, or it is damaged: then everything is read anew. */
  read(name: string, fingerprint: Hex): StatCache | undefined {
    let file: Buffer;
    try {
      file = readFileSync(this.#path(name));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
    if (file.length < fileHeader + blockHeader || !file.subarray(0, magic.length).equals(magic)) return undefined;
    if (file.toString('hex', magic.length, magic.length + digestBytes) !== fingerprint) return undefined;
    if (file.readUInt32LE(magic.length + digestBytes + 4) !== checksum(file)) return undefined;
    return new StatCache(file, file.readUInt32LE(magic.length + digestBytes));
  }

  /** Not synced: a cache that a power cut tears fails its checksum. */
  write(name: string, file: Buffer, temporaryFolder: string): void {
    const temporary = join(temporaryFolder, 'statcache');
    mkdirSync(this.#folder, { recursive: true });
    try {
      writeFileSync(temporary, file);
      renameSync(temporary, this.#path(name));
    } catch (error) {
      rmSync(temporary, { force: true });
      // Without room for it the next ingest is slower, no more.
      if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error;
    }
  }

  #path(name: string): string {
    return join(this.#folder, sha256(name));
  }
}

/** Of all but the checksum's own four bytes, which end the header. */
function checksum(file: Buffer): number {
  return crc32(file.subarray(fileHeader), crc32(file.subarray(0, fileHeader - 4)));
}
