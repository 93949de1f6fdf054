import { Buffer } from 'node:buffer';
import type { ByteString } from '../../base/bytes.ts';
import type { EngineError } from '../../base/errors.ts';
import { checksumAgrees, field, isZeroBlock, readNumber, readText } from './header.ts';
import { blockSize, paddingOf, type TarMember, tarError } from './member.ts';
import { type PaxRecord, parsePaxRecords } from './pax.ts';
import { resolveMember } from './resolve.ts';
import { checkSparseMap, gnuContinues, paxSparse, readGnuExtents, type SparseMap, SparseMapText } from './sparse.ts';

/** Takes a file's stored bytes in order. `position` is where they belong; between two writes of a sparse file is a hole. The chunk is only lent. */
export interface TarSink {
  write(chunk: Buffer, position: number): void;
  /** All bytes came; the rest up to `member.size` is a hole. */
  finish(): void;
}

/** A member as it was met. In bytes of the uncompressed tar, `offset` is where its first header begins and `dataOffset` where its last one ends. */
export type MetTarMember = TarMember & { readonly offset: number; readonly dataOffset: number; readonly sparse: boolean };

export type TarReaderOptions = {
  /** Names the archive in errors. */
  what: string;
  /**
   * Refuse an archive without its end marker, which else reads as complete when it was cut between two members. Without, the last member's padding may be missing
   * too: docker build sends it so when the Dockerfile lies outside of the context.
   */
  requireEnd: boolean;
  /** Of one extended header or long name, in bytes. */
  maxExtensionBytes?: number;
  /** Of one file, holes included. */
  maxFileBytes?: number;
};

const oneMiB = 1024 * 1024;
const extensionTypes = 'xXgLK';

type Data = { sink: TarSink | undefined; map: SparseMap | undefined; extent: number; position: number; left: number };
type State =
  | { at: 'header' }
  | { at: 'extension'; type: string; body: Buffer; filled: number; padding: number }
  | { at: 'gnu-extents'; member: PendingSparse }
  | { at: 'map-text'; member: PendingSparse; text: SparseMapText }
  | { at: 'data'; data: Data; padding: number }
  | { at: 'skip'; left: number }
  | { at: 'ended' };
type PendingSparse = { met: MetTarMember; map: SparseMap; storedBytes: number; padding: number };

/**
 * A tar, pushed in chunks of any size: v7, ustar, PAX, GNU and star, their long names, xattrs, large numbers and sparse files. Holds one
 * extended header at most, never a member's content. Nothing is checked against a file system: `..`, absolute names and links are for the
 * handler. Errors are InvalidArgument `TAR_INVALID` or `TAR_TRUNCATED`; after one the reader must not be used again.
 *
 * Where formats leave room, it reads as Go's archive/tar does, so that this engine and Docker see the same files in the same bytes.
 */
export class TarReader {
  readonly #handler: (member: MetTarMember) => TarSink | undefined;
  readonly #options: Required<TarReaderOptions>;
  readonly #scratch = Buffer.alloc(blockSize);
  #scratchFilled = 0;
  #state: State = { at: 'header' };
  #offset = 0;
  #members = 0;
  #zeroBlocks = 0;
  /** Where the member began whose extended headers are being collected. */
  #memberOffset: number | undefined;
  #currentName: ByteString | undefined;
  #global = new Map<ByteString, ByteString>();
  #local: PaxRecord[] = [];
  #longName: ByteString | undefined;
  #longLink: ByteString | undefined;

  /** `handler` is called for each member, before its content; without a sink the content is skipped. */
  constructor(handler: (member: MetTarMember) => TarSink | undefined, options: TarReaderOptions) {
    this.#handler = handler;
    this.#options = { maxExtensionBytes: oneMiB, maxFileBytes: 2 ** 43, ...options };
  }

  /** The end marker was read; what follows is ignored. */
  get ended(): boolean {
    return this.#state.at === 'ended';
  }

  /** Bytes from here that nobody wants: a caller that can seek may pass over at most so many with `skip` instead of pushing them. */
  get skippable(): number {
    const state = this.#state;
    if (state.at === 'skip') return state.left;
    return state.at === 'data' && state.data.sink === undefined ? state.data.left : 0;
  }

  skip(count: number): void {
    const state = this.#state;
    if (count <= 0 || count > this.skippable) throw new RangeError(`cannot skip ${count} of ${this.skippable} bytes`);
    this.#offset += count;
    if (state.at === 'skip') {
      state.left -= count;
      if (state.left === 0) this.#state = { at: 'header' };
    } else if (state.at === 'data') {
      state.data.left -= count;
      if (state.data.left === 0) this.#endData(state.data, state.padding);
    }
  }

  push(bytes: Uint8Array): void {
    const chunk = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (at < chunk.length && this.#state.at !== 'ended') at += this.#take(chunk, at);
  }

  /** Says that the archive is over. Throws `TAR_TRUNCATED` when it ended too early. */
  end(): void {
    const state = this.#state;
    if (state.at === 'ended') return;
    const padded = state.at === 'header' && this.#scratchFilled === 0;
    const unpadded = state.at === 'skip' && !this.#options.requireEnd;
    const betweenMembers = (padded || unpadded) && this.#memberOffset === undefined;
    if (betweenMembers && this.#zeroBlocks > 0) return;
    if (betweenMembers && !this.#options.requireEnd) return;
    if (this.#offset === 0) throw tarError(this.#place(), 'the archive is empty', 'TAR_TRUNCATED');
    const missing = betweenMembers ? 'the end marker is missing' : 'the archive ends in the middle of it';
    throw tarError(this.#place(), missing, 'TAR_TRUNCATED');
  }

  /** Lets the state use what it needs of `chunk` from `at`; returns how many bytes it used. */
  #take(chunk: Buffer, at: number): number {
    const state = this.#state;
    switch (state.at) {
      case 'header':
      case 'gnu-extents':
      case 'map-text':
        return this.#takeBlock(chunk, at);
      case 'extension': {
        const count = Math.min(chunk.length - at, state.body.length - state.filled);
        chunk.copy(state.body, state.filled, at, at + count);
        state.filled += count;
        this.#offset += count;
        if (state.filled === state.body.length) this.#endExtension(state.type, state.body.toString('latin1') as ByteString, state.padding);
        return count;
      }
      case 'data':
        return this.#takeData(state.data, state.padding, chunk, at);
      case 'skip': {
        const count = Math.min(chunk.length - at, state.left);
        state.left -= count;
        this.#offset += count;
        if (state.left === 0) this.#state = { at: 'header' };
        return count;
      }
      case 'ended':
        return chunk.length - at;
    }
  }

  #takeBlock(chunk: Buffer, at: number): number {
    if (this.#scratchFilled === 0 && chunk.length - at >= blockSize) {
      this.#offset += blockSize;
      this.#block(chunk, at);
      return blockSize;
    }
    const count = Math.min(chunk.length - at, blockSize - this.#scratchFilled);
    chunk.copy(this.#scratch, this.#scratchFilled, at, at + count);
    this.#scratchFilled += count;
    this.#offset += count;
    if (this.#scratchFilled === blockSize) {
      this.#scratchFilled = 0;
      this.#block(this.#scratch, 0);
    }
    return count;
  }

  #block(block: Buffer, start: number): void {
    const state = this.#state;
    if (state.at === 'header') this.#header(block, start);
    else if (state.at === 'gnu-extents') this.#gnuExtents(state.member, block, start);
    else if (state.at === 'map-text') this.#mapText(state.member, state.text, block, start);
  }

  #header(block: Buffer, start: number): void {
    const headerOffset = this.#offset - blockSize;
    if (isZeroBlock(block, start)) {
      if (this.#memberOffset !== undefined) throw this.#error('the archive ends after an extended header');
      this.#zeroBlocks++;
      this.#currentName = undefined;
      if (this.#zeroBlocks === 2) this.#state = { at: 'ended' };
      return;
    }
    this.#memberOffset ??= headerOffset;
    if (this.#zeroBlocks > 0) throw this.#error('a lone zero block where a header or the end was expected');
    this.#currentName = undefined;
    if (!checksumAgrees(block, start)) {
      throw this.#error(this.#members === 0 ? 'this is not a tar: the header checksum is wrong' : 'the header checksum is wrong');
    }
    this.#currentName = readText(block, start + field.name[0], field.name[1]);
    const type = String.fromCharCode(block[start + field.type] ?? 0);
    const stored = this.#number(block, start, field.size, 'size');
    if (stored < 0) throw this.#error(`its size is negative: ${stored}`);
    if (extensionTypes.includes(type)) this.#beginExtension(type, stored);
    else this.#member(block, start, type, stored);
  }

  #beginExtension(type: string, size: number): void {
    const { maxExtensionBytes } = this.#options;
    if (size > maxExtensionBytes) throw this.#error(`its extended header has ${size} bytes, at most ${maxExtensionBytes} are allowed`);
    if (size === 0) return;
    this.#state = { at: 'extension', type, body: Buffer.allocUnsafe(size), filled: 0, padding: paddingOf(size) };
  }

  #endExtension(type: string, body: ByteString, padding: number): void {
    this.#state = padding === 0 ? { at: 'header' } : { at: 'skip', left: padding };
    if (type === 'L' || type === 'K') {
      const text = body.replace(/\0.*$/s, '') as ByteString;
      if (type === 'L') this.#longName = text;
      else this.#longLink = text;
      return;
    }
    const records = parsePaxRecords(body);
    if ('problem' in records) throw this.#error(records.problem);
    if (type === 'g') this.#addGlobal(records);
    else this.#local = records;
  }

  #addGlobal(records: readonly PaxRecord[]): void {
    for (const [key, value] of records) {
      // Engines disagree on whether these count for every later member; then the same bytes would be different images.
      if (/^(path|linkpath|size|GNU\.sparse\..*)$/.test(key)) throw this.#error(`"${key}" in a global PAX header`);
      this.#global.set(key, value);
    }
    if (this.#global.size > 10_000) throw this.#error('too many global PAX records');
    // A global header stands for itself, not for the member after it.
    this.#memberOffset = undefined;
  }

  #member(block: Buffer, start: number, typeFlag: string, headerSize: number): void {
    const records: PaxRecord[] = this.#global.size === 0 ? this.#local : [...this.#global, ...this.#local];
    const sparse = paxSparse(records);
    if (sparse !== undefined && 'problem' in sparse) throw this.#error(sparse.problem);
    const { member, paxSize } = resolveMember(
      { block, start, typeFlag, records, longName: this.#longName, longLink: this.#longLink },
      (problem, name) => {
        this.#currentName = name;
        return this.#error(problem);
      },
    );
    this.#currentName = member.name;
    const stored = paxSize ?? headerSize;
    const isFile = member.type === 'file';
    const oldSparse = typeFlag === 'S';
    const size = !isFile ? 0 : oldSparse ? this.#number(block, start, field.gnuRealSize, 'real size') : (sparse?.realSize ?? stored);
    if (size < 0 || size > this.#options.maxFileBytes)
      throw this.#error(`its size is ${size}, at most ${this.#options.maxFileBytes} is allowed`);
    if (isFile && stored > size && sparse?.map !== 'in-data') throw this.#error(`it stores ${stored} bytes of a file of ${size}`);
    const met: MetTarMember = {
      ...member,
      size,
      offset: this.#memberOffset ?? 0,
      dataOffset: this.#offset,
      sparse: oldSparse || (isFile && sparse !== undefined),
    };
    this.#startMember();
    if (oldSparse) this.#startGnuSparse(met, stored, block, start);
    else if (isFile && sparse !== undefined) this.#startPaxSparse(met, stored, sparse.map);
    else this.#startData(met, isFile || typeFlag === 'D' ? stored : 0, undefined, isFile);
  }

  #startMember(): void {
    this.#members++;
    this.#local = [];
    this.#longName = undefined;
    this.#longLink = undefined;
  }

  #startGnuSparse(met: MetTarMember, storedBytes: number, block: Buffer, start: number): void {
    const member: PendingSparse = { met, map: [], storedBytes, padding: paddingOf(storedBytes) };
    if (!readGnuExtents(block, start + field.gnuSparse, 4, member.map)) throw this.#error('a sparse file with a broken map');
    if (gnuContinues(block, start, true)) this.#state = { at: 'gnu-extents', member };
    else this.#startSparseData(member);
  }

  #gnuExtents(member: PendingSparse, block: Buffer, start: number): void {
    if (!readGnuExtents(block, start, 21, member.map)) throw this.#error('a sparse file with a broken map');
    if (member.map.length > 2_000_000) throw this.#error('a sparse map of more than 1000000 extents');
    if (!gnuContinues(block, start, false)) this.#startSparseData(member);
  }

  #startPaxSparse(met: MetTarMember, storedBytes: number, map: SparseMap | 'in-data'): void {
    const member: PendingSparse = { met, map: map === 'in-data' ? [] : map, storedBytes, padding: paddingOf(storedBytes) };
    if (map === 'in-data') this.#state = { at: 'map-text', member, text: new SparseMapText() };
    else this.#startSparseData(member);
  }

  #mapText(member: PendingSparse, text: SparseMapText, block: Buffer, start: number): void {
    member.storedBytes -= blockSize;
    if (member.storedBytes < 0) throw this.#error('a sparse file whose map is longer than its data');
    const map = text.push(block, start);
    if (map === undefined) return;
    if ('problem' in map) throw this.#error(map.problem);
    member.map = map;
    this.#startSparseData(member);
  }

  #startSparseData({ met, map, storedBytes }: PendingSparse): void {
    const problem = checkSparseMap(map, met.size, storedBytes);
    if (problem !== undefined) throw this.#error(problem);
    this.#startData(met, storedBytes, map, true);
  }

  #startData(met: MetTarMember, left: number, map: SparseMap | undefined, wantsSink: boolean): void {
    if (met.type === 'directory' && left > 0 && wantsSink) throw this.#error('a directory with content');
    const sink = this.#handler(met);
    const data: Data = { sink: wantsSink ? sink : undefined, map, extent: 0, position: map?.[0] ?? 0, left };
    if (left > 0) this.#state = { at: 'data', data, padding: paddingOf(left) };
    else this.#endData(data, 0);
  }

  #takeData(data: Data, padding: number, chunk: Buffer, at: number): number {
    let count = Math.min(chunk.length - at, data.left);
    if (data.map !== undefined) count = Math.min(count, this.#leftInExtent(data, data.map));
    data.sink?.write(at === 0 && count === chunk.length ? chunk : chunk.subarray(at, at + count), data.position);
    data.position += count;
    data.left -= count;
    this.#offset += count;
    if (data.left === 0) this.#endData(data, padding);
    return count;
  }

  /** Steps over finished and empty extents first. */
  #leftInExtent(data: Data, map: SparseMap): number {
    for (;;) {
      const position = map[data.extent] ?? 0;
      const end = position + (map[data.extent + 1] ?? 0);
      if (data.position < position) data.position = position;
      if (data.position < end) return end - data.position;
      data.extent += 2;
    }
  }

  #endData(data: Data, padding: number): void {
    data.sink?.finish();
    this.#memberOffset = undefined;
    this.#state = padding === 0 ? { at: 'header' } : { at: 'skip', left: padding };
  }

  #number(block: Buffer, start: number, [at, length]: readonly [number, number], what: string): number {
    const value = readNumber(block, start + at, length);
    if (value === undefined) throw this.#error(`its ${what} is not a number, or too large`);
    return value;
  }

  #place(): { what: string; name: ByteString | undefined; offset: number } {
    return { what: this.#options.what, name: this.#currentName, offset: this.#memberOffset ?? this.#offset };
  }

  #error(problem: string): EngineError {
    return tarError(this.#place(), problem);
  }
}
