import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { posix } from 'node:path';
import { type ByteString, toBytes } from '../../base/bytes.ts';
import { isErrno } from '../../base/errors.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import type { RootView } from '../../kernel/root-view.ts';
import { type FileStat, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../../kernel/stat.ts';
import { listXattrsAt, listXattrsFd } from '../../kernel/xattr.ts';
import type { TarMember, TarType } from '../../oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../oci/tar/writer.ts';
import type { TreeContext } from '../../store/port.ts';
import { evaluatePath, explainPath, type LiveRoot, openLiveRoot, openPlace } from './live-root.ts';
import { Owners } from './owners.ts';

export type PackParams = {
  root: LiveRoot;
  path: string;
  /** A file or pipe that exists, to write to. */
  output: string;
};

/** What HEAD and GET tell of the path itself. `mode` is st_mode, `linkTarget` where a symlink leads to in the end, absolute in the container. */
export type PathStat = { name: string; mode: number; sizeBytes: number; mtimeSec: number; mtimeNsec: number; linkTarget: ByteString };

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
export function statInRoot(_context: Pick<TreeContext, 'report'>, { root, path }: Omit<PackParams, 'output'>): PathStat {
  using walk = new Walk(root);
  return walk.locate(path);
}

/**
 * Job `api.pack`: a file or a whole directory of a container as a tar, under its own name, as `docker cp` expects it. Names of one file are hardlinks of
 * each other. Ends with EPIPE when the reader of a pipe goes away.
 */
export function packFromRoot(context: Pick<TreeContext, 'report'>, { root, path, output }: PackParams): void {
  // Only for writing: a descriptor that could read too would keep a pipe open after its reader left.
  const out = openSync(output, constants.O_WRONLY);
  try {
    using walk = new Walk(root, () => context.report({}));
    walk.locate(path);
    walk.pack(out, memberName(path));
    writeAll(out, endOfArchive);
  } finally {
    closeSync(out);
  }
}

/** Under which name Docker puts a path into its tar: the last one, `.` for the content of a directory, none for the root. */
function memberName(path: string): ByteString {
  const name = posix.basename(path);
  return toBytes(/^\/*$/.test(path) ? '' : name);
}

const entriesBetweenReports = 100;

/** One walk over a container's files, every step relative to an open directory and never through a symlink. */
class Walk implements Disposable {
  readonly #reader = new DirectoryReader();
  readonly #buffer = Buffer.allocUnsafe(256 * 1024);
  readonly #container: string;
  readonly #owners: Owners;
  readonly #onProgress: () => void;
  /** The first name of each file with several. */
  readonly #links = new Map<string, ByteString>();
  readonly #root: RootView;
  #parent = -1;
  #name = none;
  #entries = 0;

  constructor(root: LiveRoot, onProgress: () => void = () => {}) {
    this.#container = root.container;
    this.#owners = new Owners(root.idMap);
    this.#onProgress = onProgress;
    this.#root = openLiveRoot(root, this.#reader);
  }

  locate(path: string): PathStat {
    const asked = { path, container: this.#container };
    const place = openPlace(this.#root.root, asked);
    this.#parent = place.parent;
    this.#name = place.name;
    try {
      const { mode, size, mtimeSec, mtimeNsec } =
        this.#name === '' ? this.#reader.statFd(this.#parent) : this.#reader.statAt(this.#parent, this.#name);
      const isLink = (mode & S_IFMT) === S_IFLNK;
      const linkTarget = isLink ? evaluatePath(this.#root.root, toBytes(path), this.#reader) : none;
      return { name: posix.basename(path) || '/', mode, sizeBytes: size, mtimeSec, mtimeNsec, linkTarget };
    } catch (error) {
      throw explainPath(error, asked);
    }
  }

  pack(out: number, name: ByteString): void {
    if (this.#name !== '') this.#entry(out, this.#parent, this.#name, name);
    else this.#directory(out, this.#parent, name);
  }

  [Symbol.dispose](): void {
    if (this.#parent !== -1) closeSync(this.#parent);
    this.#root.close();
  }

  /** What is removed or exchanged by the container meanwhile is left out. */
  #entry(out: number, parent: number, name: ByteString, shown: ByteString): void {
    if (++this.#entries % entriesBetweenReports === 0) this.#onProgress();
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
    writeAll(out, encodeTarHeader(this.#member(`${shown}/` as ByteString, this.#reader.statFd(fd), 'directory', listXattrsFd(fd))));
    for (const name of this.#reader.read(fd).sort()) this.#entry(out, fd, name, `${shown}/${name}` as ByteString);
  }

  /** The size is what it was at the header: a file that shrinks is filled with zeros, one that grows is cut. */
  #file(out: number, fd: number, shown: ByteString): void {
    const stat = this.#reader.statFd(fd);
    if ((stat.mode & S_IFMT) !== S_IFREG) return;
    const { size, nlink, inodeKey } = stat;
    const first = nlink > 1 ? this.#links.get(inodeKey) : undefined;
    if (first !== undefined) {
      writeAll(out, encodeTarHeader({ ...this.#member(shown, stat, 'link', []), linkTarget: first }));
      return;
    }
    if (nlink > 1) this.#links.set(inodeKey, shown);
    writeAll(out, encodeTarHeader({ ...this.#member(shown, stat, 'file', listXattrsFd(fd)), size }));
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
    const header = this.#member(shown, this.#reader.stat, type, []);
    const linkTarget = type === 'symlink' ? this.#readLink(parent, name) : none;
    if (linkTarget === undefined) return;
    writeAll(out, encodeTarHeader({ ...header, linkTarget, xattrs: withoutHost(listXattrsAt(parent, name)) }));
  }

  /** Undefined when it is no symlink any more. */
  #readLink(parent: number, name: ByteString): ByteString | undefined {
    try {
      return this.#reader.readLinkAt(parent, name);
    } catch (error) {
      if (isErrno(error, 'EINVAL')) return undefined;
      throw error;
    }
  }

  #member(name: ByteString, stat: FileStat, type: TarType, xattrs: TarMember['xattrs']): TarMember {
    const device = type === 'charDevice' || type === 'blockDevice';
    return {
      type,
      name,
      linkTarget: none,
      size: 0,
      mode: stat.mode & 0o7777,
      ...this.#owners.inside(stat),
      mtimeSec: stat.mtimeSec,
      mtimeNsec: stat.mtimeNsec,
      major: device ? stat.rdevMajor : 0,
      minor: device ? stat.rdevMinor : 0,
      xattrs: withoutHost(xattrs),
    };
  }
}

/** What the host keeps for itself there (overlayfs, SELinux labels) is not the container's. */
function withoutHost(xattrs: TarMember['xattrs']): TarMember['xattrs'] {
  return xattrs.filter(([key]) => !key.startsWith('trusted.') && key !== 'security.selinux');
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
