import { closeSync, readSync } from 'node:fs';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { DirectoryReader } from '../../kernel/directory.ts';
import { FileStat, S_IFMT, S_IFREG } from '../../kernel/stat.ts';
import { listXattrsFd } from '../../kernel/xattr.ts';
import type { JobContext } from '../jobs/context.ts';
import type { Xattr } from '../model.ts';
import type { StoredObject } from '../objects/object-stream.ts';
import { portableXattrs } from './xattrs.ts';

/** How often a file that changes while it is read is read again. */
const attempts = 3;

export type HashedFile = StoredObject & { stat: FileStat; xattrs: readonly Xattr[] | undefined };

/** Reads files into objects, each at one moment: bytes, size and attributes belong together. */
export class FileHasher {
  readonly #context: JobContext;
  readonly #reader: DirectoryReader;
  readonly #withXattrs: boolean;
  readonly #buffer = Buffer.allocUnsafeSlow(1 << 20);

  constructor(context: JobContext, reader: DirectoryReader, withXattrs: boolean) {
    this.#context = context;
    this.#reader = reader;
    this.#withXattrs = withXattrs;
  }

  /** `stat` is what the name's statx just gave. Conflict `FILE_CHANGED` when the file will not hold still. Throws SystemCallError. */
  hash(dirFd: number, name: ByteString, path: ByteString, stat: FileStat): HashedFile {
    let before = stat;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const fd = this.#reader.openFileAt(dirFd, name);
      try {
        const stored = this.#store(fd, before);
        const xattrs = this.#withXattrs ? portableXattrs(listXattrsFd(fd)) : undefined;
        const after = this.#reader.statFd(fd);
        if ((after.mode & S_IFMT) !== S_IFREG) break;
        if (stored?.size === after.size && isSameState(before, after)) return { ...stored, stat: before, xattrs };
        before = copyStat(after);
      } finally {
        closeSync(fd);
      }
    }
    throw fileChanged(path);
  }

  /** Undefined when the file's length is not what was expected. */
  #store(fd: number, stat: FileStat): StoredObject | undefined {
    const sparse = stat.blocks * 512 < stat.size;
    if (stat.size >= this.#buffer.length || (sparse && stat.size > 4096)) return this.#context.putFile(fd);
    this.#context.checkpoint();
    let length = 0;
    // One byte more than expected, so that growth shows.
    while (length <= stat.size) {
      const count = readSync(fd, this.#buffer, length, stat.size + 1 - length, null);
      if (count === 0) break;
      length += count;
      if (length === stat.size) break;
    }
    return length === stat.size ? this.#context.objects.putBytes(this.#buffer.subarray(0, length)) : undefined;
  }
}

export function fileChanged(path: ByteString): EngineError {
  return new EngineError('Conflict', 'FILE_CHANGED', `/${toText(path)} changed again and again while it was read`, {
    hint: 'Stop what writes to it, or leave it out with .dockerignore.',
  });
}

/** Same inode and nothing written, chmodded or linked in between. */
export function isSameState(a: FileStat, b: FileStat): boolean {
  return (
    a.inoLow === b.inoLow &&
    a.inoHigh === b.inoHigh &&
    a.size === b.size &&
    a.mtimeSec === b.mtimeSec &&
    a.mtimeNsec === b.mtimeNsec &&
    a.ctimeSec === b.ctimeSec &&
    a.ctimeNsec === b.ctimeNsec &&
    a.devMinor === b.devMinor &&
    a.devMajor === b.devMajor
  );
}

/** The reader's record is reused; this one stays. */
export function copyStat(stat: FileStat): FileStat {
  const copy = new FileStat();
  copy.mode = stat.mode;
  copy.uid = stat.uid;
  copy.gid = stat.gid;
  copy.size = stat.size;
  copy.nlink = stat.nlink;
  copy.inoLow = stat.inoLow;
  copy.inoHigh = stat.inoHigh;
  copy.devMajor = stat.devMajor;
  copy.devMinor = stat.devMinor;
  copy.rdevMajor = stat.rdevMajor;
  copy.rdevMinor = stat.rdevMinor;
  copy.mtimeSec = stat.mtimeSec;
  copy.mtimeNsec = stat.mtimeNsec;
  copy.ctimeSec = stat.ctimeSec;
  copy.ctimeNsec = stat.ctimeNsec;
  copy.blocks = stat.blocks;
  return copy;
}
