import { field, readNumber } from './header.ts';
import { blockSize } from './member.ts';
import type { PaxRecord } from './pax.ts';

/** Where stored bytes belong in the file: pairs of (position, length), in one flat list. */
export type SparseMap = number[];

/** More extents than any sound archive has; a map is held in memory. */
const maxExtents = 1_000_000;

/** What a PAX header says of a sparse file (GNU tar manual, "Storing Sparse Files"). In format 1.0 the map comes at the head of the data. */
export type PaxSparse = { realSize: number; map: SparseMap | 'in-data' };

/** Undefined: not sparse. Understands 0.0 (repeated offset/numbytes), 0.1 (one map) and 1.0 (map in the data). */
export function paxSparse(records: readonly PaxRecord[]): PaxSparse | { problem: string } | undefined {
  const last = (key: string) => records.findLast(([name]) => name === key)?.[1];
  const major = last('GNU.sparse.major');
  const minor = last('GNU.sparse.minor');
  if (major !== undefined || minor !== undefined) {
    if (major !== '1' || minor !== '0') return { problem: `sparse format ${major ?? '?'}.${minor ?? '?'} is not known` };
    const realSize = decimal(last('GNU.sparse.realsize'));
    return realSize === undefined ? { problem: 'a sparse file without its real size' } : { realSize, map: 'in-data' };
  }
  const size = last('GNU.sparse.size');
  if (size === undefined) return undefined;
  const realSize = decimal(size);
  if (realSize === undefined) return { problem: 'a sparse file with a broken size' };
  const listed = last('GNU.sparse.map');
  const texts = listed === undefined ? repeatedExtents(records) : listed === '' ? [] : listed.split(',');
  const map = texts.map(decimal);
  if (map.includes(undefined)) return { problem: 'a sparse file with a broken map' };
  return { realSize, map: map as number[] };
}

function repeatedExtents(records: readonly PaxRecord[]): string[] {
  return records.filter(([key]) => key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes').map(([, value]) => value);
}

/** Says what is wrong with a map: extents must be in order, apart, inside the file, and use up the stored bytes. */
export function checkSparseMap(map: SparseMap, realSize: number, storedBytes: number): string | undefined {
  if (map.length % 2 !== 0) return 'a sparse map with half an extent';
  if (map.length > maxExtents * 2) return `a sparse map of more than ${maxExtents} extents`;
  let end = 0;
  let stored = 0;
  for (let index = 0; index < map.length; index += 2) {
    const [position = 0, length = 0] = [map[index], map[index + 1]];
    if (position < end || length < 0) return 'a sparse map out of order';
    end = position + length;
    stored += length;
  }
  if (end > realSize) return `a sparse map that reaches to byte ${end} of a file of ${realSize}`;
  if (stored !== storedBytes) return `a sparse map of ${stored} bytes with ${storedBytes} stored`;
  return undefined;
}

/** Appends the extents of an old GNU header or continuation block. Returns false when a number is broken. */
export function readGnuExtents(block: Buffer, start: number, count: number, into: SparseMap): boolean {
  for (let index = 0; index < count; index++) {
    const at = start + index * 24;
    if (block[at] === 0 && block[at + 12] === 0) break;
    const position = readNumber(block, at, 12);
    const length = readNumber(block, at + 12, 12);
    if (position === undefined || length === undefined) return false;
    into.push(position, length);
  }
  return true;
}

export function gnuContinues(block: Buffer, start: number, first: boolean): boolean {
  return block[start + (first ? field.gnuIsExtended : 504)] !== 0;
}

/** The text map at the head of a 1.0 sparse file: a count, then a position and a length for each extent, one number a line, padded to a block. */
export class SparseMapText {
  #text = '';
  #numbers: number[] = [];

  /** Takes a block. Returns the map when it is complete, `undefined` when more is needed, a problem when it is broken. */
  push(block: Buffer, start: number): SparseMap | { problem: string } | undefined {
    this.#text += block.toString('latin1', start, start + blockSize);
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      const number = decimal(line);
      if (number === undefined) return { problem: 'a sparse file whose map is not numbers' };
      this.#numbers.push(number);
      const wanted = (this.#numbers[0] ?? 0) * 2 + 1;
      if (wanted > maxExtents * 2) return { problem: `a sparse map of more than ${maxExtents} extents` };
      if (this.#numbers.length === wanted) return this.#numbers.slice(1);
    }
    return this.#text.length > 32 ? { problem: 'a sparse file whose map is not numbers' } : undefined;
  }
}

function decimal(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}
