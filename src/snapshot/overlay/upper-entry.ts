import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { DirectoryReader } from '../../kernel/directory.ts';
import { type FileStat, S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../../kernel/stat.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type Meta, type Xattr } from '../../store/model.ts';
import { engineId } from './idmapped.ts';
import type { UpperXattrs } from './private-xattrs.ts';

type Content = { readonly object: Hex; readonly size: number };

/** Makes tree entries of the files of an upper layer. */
export class UpperEntries {
  readonly #reader: DirectoryReader;
  readonly #store: (fd: number) => Content;

  constructor(reader: DirectoryReader, store: (fd: number) => Content) {
    this.#reader = reader;
    this.#store = store;
  }

  /**
   * Anything but a directory; undefined for a socket, which no tree holds. `lower` finds the base's file of a metadata-only copy-up.
   * Throws DataLoss `SNAPSHOT_CONTENT_MISSING` when there is none.
   */
  leaf(
    dirFd: number,
    name: ByteString,
    path: ByteString,
    stat: FileStat,
    { own, metacopy }: UpperXattrs,
    lower: () => Entry | undefined,
  ): Entry | undefined {
    const meta = { ...metaOf(stat, own), name };
    switch (stat.mode & S_IFMT) {
      case S_IFREG: {
        const { object, size } = metacopy ? lowerContent(lower(), path) : this.#content(dirFd, name);
        return { ...meta, type: EntryType.file, object, size };
      }
      case S_IFLNK:
        return { ...meta, type: EntryType.symlink, target: this.#reader.readLinkAt(dirFd, name) };
      case S_IFCHR:
        return { ...meta, type: EntryType.charDevice, major: stat.rdevMajor, minor: stat.rdevMinor };
      case S_IFBLK:
        return { ...meta, type: EntryType.blockDevice, major: stat.rdevMajor, minor: stat.rdevMinor };
      case S_IFIFO:
        return { ...meta, type: EntryType.fifo };
      default:
        return undefined;
    }
  }

  #content(dirFd: number, name: ByteString): Content {
    const fd = this.#reader.openFileAt(dirFd, name);
    try {
      return this.#store(fd);
    } finally {
      this.#reader.close(fd);
    }
  }
}

function lowerContent(base: Entry | undefined, path: ByteString): Content {
  if (base?.type === EntryType.file) return base;
  throw new EngineError(
    'DataLoss',
    'SNAPSHOT_CONTENT_MISSING',
    `/${toText(path)} has only metadata in the snapshot, and its content is not in the base tree`,
    { hint: 'The snapshot was changed from outside while it was mounted. Make the container anew.' },
  );
}

/** A deletion: a character device 0:0, or an empty file with the attribute for it. */
export function isWhiteout(stat: FileStat, xattrs: UpperXattrs): boolean {
  if ((stat.mode & S_IFMT) === S_IFCHR) return stat.rdevMajor === 0 && stat.rdevMinor === 0;
  return (stat.mode & S_IFMT) === S_IFREG && stat.size === 0 && xattrs.whiteout;
}

export function metaOf(stat: FileStat, xattrs: readonly Xattr[] | undefined): Meta {
  return {
    mode: stat.mode & 0o7777,
    uid: ownerOf(stat.uid),
    gid: ownerOf(stat.gid),
    mtimeSec: stat.mtimeSec,
    mtimeNsec: stat.mtimeNsec,
    xattrs,
  };
}

/** What the engine made in a root with an id map is root's. */
function ownerOf(id: number): number {
  return id === engineId ? 0 : id;
}
