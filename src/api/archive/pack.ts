import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { posix } from 'node:path';
import { type ByteString, toBytes } from '../../base/bytes.ts';
import { isErrno } from '../../base/errors.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import { type FileStat, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../../kernel/stat.ts';
import { listXattrsAt, listXattrsFd } from '../../kernel/xattr.ts';
import type { TarMember, TarType } from '../../oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../oci/tar/writer.ts';
import type { TreeContext } from '../../store/port.ts';
import { type LiveRoot, openLiveRoot, openPlace, pathNotFound } from './live-root.ts';

export type PackParams = { root: LiveRoot; path: string /** A file to write, made anew. */; output: string };

/** What HEAD and GET tell of the path itself. `mode` is st_mode. */
export type PathStat = { name: string; mode: number; sizeBytes: number; mtimeMs: number; linkTarget: ByteString };

const none = '' as ByteString;
const typeOf: Record<number, TarType> = {
  [S_IFREG]: 'file',
  [S_IFDIR]: 'directory',
  [S_IFLNK]: 'symlink',
  [S_IFCHR]: 'charDevice',
  [S_IFBLK]: 'blockDevice',
  [S_IFIFO]: 'fifo',
};

/** Job `api.stat`. NotFound `PATH_NOT_FOUND`. */
export function statInRoot(_context: TreeContext, { root, path }: Omit<PackParams, 'output'>): PathStat {
  const walk = new Walk();
  try {
    return walk.locate(root, path);
  } finally {
    walk.close();
  }
}

/** Job `api.pack`: a file or a whole directory of a container as a tar, under its own name, as `docker cp` expects it. */
export function packFromRoot(_context: TreeContext, { root, path, output }: PackParams): PathStat {
  const walk = new Walk();
  const out = openSync(output, 'wx', 0o600);
  try {
    const stat = walk.locate(root, path);
    walk.pack(out, memberName(path));
    writeAll(out, endOfArchive);
    return stat;
  } finally {
    closeSync(out);
    walk.close();
  }
}

/** Under which name Docker puts a path into its tar: the last one, `.` for the content of a directory. */
function memberName(path: string): ByteString {
  const name = posix.basename(path);
  return toBytes(name === '' || name === '/' ? '.' : name);
}

/** One walk over a container's files, every step relative to an open directory and never through a symlink. */
class Walk {
  readonly #reader = new DirectoryReader();
  readonly #buffer = Buffer.allocUnsafe(256 * 1024);
  readonly #open: number[] = [];
  #parent = -1;
  #name = none;

  locate(root: LiveRoot, path: string): PathStat {
    const rootFd = this.#keep(openLiveRoot(root, this.#reader));
    const place = openPlace(rootFd, path);
    this.#parent = this.#keep(place.parent);
    this.#name = place.name;
    const stat = this.#statPlace(path);
    const linkTarget = (stat.mode & S_IFMT) === S_IFLNK ? this.#reader.readLinkAt(this.#parent, this.#name) : none;
    const mtimeMs = stat.mtimeSec * 1000 + Math.floor(stat.mtimeNsec / 1e6);
    return { name: posix.basename(path) || '/', mode: stat.mode, sizeBytes: stat.size, mtimeMs, linkTarget };
  }

  pack(out: number, name: ByteString): void {
    if (this.#name !== '') this.#entry(out, this.#parent, this.#name, name);
    else this.#directory(out, this.#parent, name);
  }

  close(): void {
    for (const fd of this.#open.splice(0)) closeSync(fd);
  }

  #keep(fd: number): number {
    this.#open.push(fd);
    return fd;
  }

  #statPlace(path: string): FileStat {
    try {
      return this.#name === '' ? this.#reader.statFd(this.#parent) : this.#reader.statAt(this.#parent, this.#name);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) throw pathNotFound(path);
      throw error;
    }
  }

  /** What is removed or exchanged by the container meanwhile is left out. */
  #entry(out: number, parent: number, name: ByteString, shown: ByteString): void {
    try {
      const type = typeOf[this.#reader.statAt(parent, name).mode & S_IFMT];
      if (type === 'directory') this.#within(this.#reader.openAt(parent, name), (fd) => this.#directory(out, fd, shown));
      else if (type === 'file') this.#within(this.#reader.openFileAt(parent, name), (fd) => this.#file(out, fd, shown));
      else if (type !== undefined) this.#special(out, parent, name, shown, type);
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ELOOP', 'ENOTDIR')) throw error;
    }
  }

  #within(fd: number, use: (fd: number) => void): void {
    try {
      use(fd);
    } finally {
      closeSync(fd);
    }
  }

  #directory(out: number, fd: number, shown: ByteString): void {
    const header = member(`${shown}/` as ByteString, this.#reader.statFd(fd), 'directory', listXattrsFd(fd));
    writeAll(out, encodeTarHeader(header));
    for (const name of this.#reader.read(fd).sort()) this.#entry(out, fd, name, `${shown}/${name}` as ByteString);
  }

  /** The size is what it was at the header: a file that shrinks is filled with zeros, one that grows is cut. */
  #file(out: number, fd: number, shown: ByteString): void {
    const stat = this.#reader.statFd(fd);
    if ((stat.mode & S_IFMT) !== S_IFREG) return;
    const { size } = stat;
    writeAll(out, encodeTarHeader({ ...member(shown, stat, 'file', listXattrsFd(fd)), size }));
    for (let done = 0; done < size; ) {
      const count = readSync(fd, this.#buffer, 0, Math.min(this.#buffer.length, size - done), done);
      const length = count > 0 ? count : Math.min(this.#buffer.length, size - done);
      if (count === 0) this.#buffer.fill(0, 0, length);
      writeAll(out, this.#buffer.subarray(0, length));
      done += length;
    }
    writeAll(out, tarPadding(size));
  }

  #special(out: number, parent: number, name: ByteString, shown: ByteString, type: TarType): void {
    const { stat } = this.#reader;
    const header = member(shown, stat, type, []);
    const linkTarget = type === 'symlink' ? this.#reader.readLinkAt(parent, name) : none;
    writeAll(out, encodeTarHeader({ ...header, linkTarget, xattrs: listXattrsAt(parent, name) }));
  }
}

function member(name: ByteString, stat: FileStat, type: TarType, xattrs: TarMember['xattrs']): TarMember {
  const device = type === 'charDevice' || type === 'blockDevice';
  return {
    type,
    name,
    linkTarget: none,
    size: 0,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    mtimeSec: stat.mtimeSec,
    mtimeNsec: stat.mtimeNsec,
    major: device ? stat.rdevMajor : 0,
    minor: device ? stat.rdevMinor : 0,
    // What the host keeps for itself there (overlayfs, SELinux labels) is not the container's.
    xattrs: xattrs.filter(([key]) => !key.startsWith('trusted.') && key !== 'security.selinux'),
  };
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
