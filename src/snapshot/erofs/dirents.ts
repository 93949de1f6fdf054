import type { Entry } from '../../store/model.ts';
import { blockSize, direntBytes } from './format.ts';
import type { ImageBuffer } from './image-buffer.ts';

/**
 * A directory's names in the order that EROFS searches them, bytewise with `.` and `..` in their places (not always first: `!` and `-`
 * sort before), each with the inode and type that it leads to. One list is reused for all directories.
 */
export class DirentList {
  readonly names: string[] = [];
  readonly nids: number[] = [];
  readonly types: number[] = [];

  clear(): void {
    this.names.length = 0;
    this.nids.length = 0;
    this.types.length = 0;
  }

  add(name: string, nid: number, type: number): void {
    this.names.push(name);
    this.nids.push(nid);
    this.types.push(type);
  }
}

/** Where `.` and `..` belong among sorted names. */
export function dotPositions(entries: readonly Entry[]): { dot: number; dotDot: number } {
  let dot = 0;
  while (dot < entries.length && (entries[dot]?.name ?? '') < '.') dot++;
  let dotDot = dot;
  while (dotDot < entries.length && (entries[dotDot]?.name ?? '') < '..') dotDot++;
  return { dot, dotDot };
}

/** The size of the directory's data: whole blocks, and the used part of the last one. Names fill a block until the next does not fit. */
export function direntsSize(entries: readonly Entry[]): number {
  const { dot, dotDot } = dotPositions(entries);
  let [blocks, used] = [0, 0];
  const add = (length: number) => {
    const need = direntBytes + length;
    if (used + need > blockSize) {
      blocks++;
      used = 0;
    }
    used += need;
  };
  for (let i = 0; i <= entries.length; i++) {
    if (i === dot) add(1);
    if (i === dotDot) add(2);
    const entry = entries[i];
    if (entry !== undefined) add(entry.name.length);
  }
  return blocks * blockSize + used;
}

/** Writes the list at `position`, block by block, as `direntsSize` counted it. */
export function writeDirents(image: ImageBuffer, position: number, list: DirentList): void {
  let block = position;
  for (let first = 0; first < list.names.length; block += blockSize) {
    const end = blockEnd(list.names, first);
    let nameOffset = (end - first) * direntBytes;
    for (let i = first; i < end; i++) {
      const name = list.names[i] ?? '';
      writeDirent(image, block + (i - first) * direntBytes, list.nids[i] ?? 0, nameOffset, list.types[i] ?? 0);
      image.writeName(name, block + nameOffset);
      nameOffset += name.length;
    }
    first = end;
  }
}

function blockEnd(names: readonly string[], first: number): number {
  let used = 0;
  let end = first;
  for (; end < names.length; end++) {
    used += direntBytes + (names[end] ?? '').length;
    if (used > blockSize) break;
  }
  return end;
}

/** struct erofs_dirent: nid u64, nameoff u16, file_type u8, reserved u8. */
function writeDirent(image: ImageBuffer, position: number, nid: number, nameOffset: number, type: number): void {
  const word = position >>> 2;
  image.words[word] = nid;
  image.words[word + 2] = nameOffset | (type << 16);
}
