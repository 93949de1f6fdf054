import type { ByteString } from '../../base/bytes.ts';
import { type DirectoryEntry, type Entry, EntryType, type Meta, type Xattr } from '../model.ts';

/** Binary search in a sorted directory. */
export function findEntry(entries: readonly Entry[], name: string): Entry | undefined {
  let low = 0;
  let high = entries.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const entry = entries[middle];
    if (entry === undefined) return undefined;
    if (entry.name === name) return entry;
    if (entry.name < name) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

export function isDirectory(entry: Entry | undefined): entry is DirectoryEntry {
  return entry?.type === EntryType.directory;
}

/** Mode, owner and extended attributes; not the time. */
export function sameMeta(a: Meta, b: Meta): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid && sameXattrs(a.xattrs ?? [], b.xattrs ?? []);
}

function sameXattrs(a: readonly Xattr[], b: readonly Xattr[]): boolean {
  return a.length === b.length && a.every(([name, value], i) => b[i]?.[0] === name && b[i]?.[1] === value);
}

export function sameTime(a: Meta, b: Meta): boolean {
  return a.mtimeSec === b.mtimeSec && a.mtimeNsec === b.mtimeNsec;
}

/** Equal in all but times, a directory's subtree included. Names are not compared. */
export function sameContent(a: Entry, b: Entry): boolean {
  return sameMeta(a, b) && sameBody(a, b, 'content');
}

/** Equal in what they hold: bytes, link target, device, or (by the chosen digest) directory node. */
export function sameBody(a: Entry, b: Entry, compare: 'full' | 'content'): boolean {
  if (a.type === EntryType.file) return b.type === a.type && a.object === b.object && a.size === b.size;
  if (a.type === EntryType.directory) return b.type === a.type && a[compare] === b[compare];
  if (a.type === EntryType.symlink) return b.type === a.type && a.target === b.target;
  if (a.type === EntryType.fifo) return b.type === a.type;
  return b.type === a.type && a.major === b.major && a.minor === b.minor;
}

export function joinPath(directory: ByteString, name: ByteString): ByteString {
  return directory === '' ? name : (`${directory}/${name}` as ByteString);
}

/** `path` is `above` or lies below it. '' is above everything. */
export function isAtOrBelow(path: string, above: string): boolean {
  return above === '' || path === above || (path.length > above.length && path.startsWith(above) && path[above.length] === '/');
}
