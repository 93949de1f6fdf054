import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { DirectoryReader } from '../../kernel/directory.ts';
import { type FileStat, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../../kernel/stat.ts';
import { listXattrsAt } from '../../kernel/xattr.ts';
import type { Hex } from '../../oci/digest.ts';
import type { JobContext } from '../jobs/context.ts';
import { type Entry, EntryType, type Meta, type NodeDigests, type Xattr } from '../model.ts';
import { FileHasher, type HashedFile } from './file-hasher.ts';
import { portableXattrs } from './xattrs.ts';

export type EntryReaderOptions = { owner: { uid: number; gid: number } | undefined; xattrs: boolean };

/** What the last walk knows of an unchanged entry. `object` only when the store still has it. */
export type Remembered = { hasXattrs: boolean; object: Hex | undefined };

export type ReadEntry = { entry: Entry; stat: FileStat };

/** Makes tree entries of what lies on disk. Throws SystemCallError when a name vanishes. */
export class EntryReader {
  hashedFiles = 0;
  hashedBytes = 0;
  readonly #reader: DirectoryReader;
  readonly #hasher: FileHasher;
  readonly #options: EntryReaderOptions;
  /** Files with several names are read once, so that all their names say the same. */
  readonly #byInode = new Map<string, HashedFile>();

  constructor(context: JobContext, reader: DirectoryReader, options: EntryReaderOptions) {
    this.#reader = reader;
    this.#hasher = new FileHasher(context, reader, options.xattrs);
    this.#options = options;
  }

  /** `stat` is kept. `digests` are there for a directory, `remembered` when `stat` is what the last walk saw. Sockets give undefined. */
  read(
    dirFd: number,
    name: ByteString,
    path: ByteString,
    stat: FileStat,
    digests: NodeDigests | undefined,
    remembered: Remembered | undefined,
  ): ReadEntry | undefined {
    switch (stat.mode & S_IFMT) {
      case S_IFREG:
        return this.#file(dirFd, name, path, stat, remembered);
      case S_IFDIR:
        if (digests === undefined) return undefined;
        return { stat, entry: { type: EntryType.directory, name, ...this.#meta(dirFd, name, stat, remembered), ...digests } };
      case S_IFLNK: {
        const target = this.#reader.readLinkAt(dirFd, name);
        return { stat, entry: { type: EntryType.symlink, name, ...this.#meta(dirFd, name, stat, remembered), target } };
      }
      case S_IFIFO:
        return { stat, entry: { type: EntryType.fifo, name, ...this.#meta(dirFd, name, stat, remembered) } };
      case S_IFCHR:
      case S_IFBLK:
        return { stat, entry: this.#device(dirFd, name, path, stat, remembered) };
      default:
        return undefined; // a socket means nothing without the process that listens on it
    }
  }

  meta(stat: FileStat, xattrs: readonly Xattr[] | undefined): Meta {
    const { uid, gid } = this.#options.owner ?? stat;
    return { mode: stat.mode & 0o7777, uid, gid, mtimeSec: stat.mtimeSec, mtimeNsec: stat.mtimeNsec, xattrs };
  }

  #meta(dirFd: number, name: ByteString, stat: FileStat, remembered: Remembered | undefined): Meta {
    const look = this.#options.xattrs && remembered?.hasXattrs !== false;
    return this.meta(stat, look ? portableXattrs(listXattrsAt(dirFd, name)) : undefined);
  }

  #file(dirFd: number, name: ByteString, path: ByteString, stat: FileStat, remembered: Remembered | undefined): ReadEntry {
    if (remembered?.object !== undefined) {
      const { object } = remembered;
      return { stat, entry: { type: EntryType.file, name, ...this.#meta(dirFd, name, stat, remembered), size: stat.size, object } };
    }
    const { object, size, xattrs, stat: read } = this.#hash(dirFd, name, path, stat);
    return { stat: read, entry: { type: EntryType.file, name, ...this.meta(read, xattrs), size, object } };
  }

  #hash(dirFd: number, name: ByteString, path: ByteString, stat: FileStat): HashedFile {
    const key = stat.nlink > 1 ? stat.inodeKey : undefined;
    const known = key === undefined ? undefined : this.#byInode.get(key);
    if (known !== undefined) return known;
    const hashed = this.#hasher.hash(dirFd, name, path, stat);
    this.hashedFiles++;
    this.hashedBytes += hashed.size;
    if (key !== undefined) this.#byInode.set(key, hashed);
    return hashed;
  }

  #device(dirFd: number, name: ByteString, path: ByteString, stat: FileStat, remembered: Remembered | undefined): Entry {
    const type = (stat.mode & S_IFMT) === S_IFCHR ? EntryType.charDevice : EntryType.blockDevice;
    const { rdevMajor: major, rdevMinor: minor } = stat;
    if (type === EntryType.charDevice && major === 0 && minor === 0) {
      throw new EngineError(
        'InvalidArgument',
        'DEVICE_ZERO',
        `/${toText(path)} is the character device 0:0, which overlayfs takes for a deleted file`,
        {
          hint: 'Remove it. It is a whiteout: the folder is probably the upper directory of an overlay mount.',
        },
      );
    }
    return { type, name, ...this.#meta(dirFd, name, stat, remembered), major, minor };
  }
}
