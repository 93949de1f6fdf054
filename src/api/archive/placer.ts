import {
  chmodSync,
  closeSync,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { type ByteString, toPathBuffer } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { DirectoryReader } from '../../kernel/directory.ts';
import { lchown, linkat, mkfifo, mknod, O, setTimes, setTimesFd } from '../../kernel/files.ts';
import { S_IFBLK, S_IFCHR } from '../../kernel/stat.ts';
import { setXattr, setXattrFd } from '../../kernel/xattr.ts';
import { showName, type TarMember } from '../../oci/tar/member.ts';
import type { TarSink } from '../../oci/tar/reader.ts';
import { isDirectoryMode, openEntry, pathIn } from './live-root.ts';
import type { Owner, Owners } from './owners.ts';

type PlacerOptions = {
  owners: Owners;
  /** On the host; who the tar says when not given. */
  owner: Owner | undefined;
  keepTypes: boolean;
};

/** A name in an open directory. */
type Spot = { parent: number; name: ByteString };

/** Puts members of a tar at names in open directories. Nothing here follows a symlink: a name is one name in one directory. */
export class Placer {
  readonly #reader: DirectoryReader;
  readonly #options: PlacerOptions;
  #file: number | undefined;

  constructor(reader: DirectoryReader, options: PlacerOptions) {
    this.#reader = reader;
    this.#options = options;
  }

  /** Ends a file that was cut. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** A directory that no member stands for. */
  makeParent(parent: number, name: ByteString): void {
    try {
      mkdirSync(pathIn(parent, name), 0o755);
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return;
      throw error;
    }
    const { uid, gid } = this.#options.owners.root;
    lchown(pathIn(parent, name), uid, gid);
  }

  /** Anything but a link. A file's content goes to what is answered. */
  put(parent: number, name: ByteString, member: TarMember): TarSink | undefined {
    if (member.type === 'directory') {
      this.#directory(parent, name, member);
      return undefined;
    }
    this.#makeRoom(parent, name, member);
    if (member.type === 'file') return this.#openFile(parent, name, member);
    this.#special(parent, name, member);
    return undefined;
  }

  link(from: Spot, to: Spot, member: TarMember): void {
    this.#makeRoom(to.parent, to.name, member);
    linkat(from.parent, toPathBuffer(from.name), to.parent, toPathBuffer(to.name));
  }

  #directory(parent: number, name: ByteString, member: TarMember): void {
    if (!isDirectoryMode(this.#modeOf(parent, name))) {
      this.#makeRoom(parent, name, member);
      mkdirSync(pathIn(parent, name), 0o700);
    }
    const fd = this.#reader.openAt(parent, name);
    try {
      this.#applyMeta(fd, member);
    } finally {
      closeSync(fd);
    }
  }

  /** 0 when nothing is there. */
  #modeOf(parent: number, name: ByteString): number {
    try {
      return this.#reader.statAt(parent, name).mode;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return 0;
      throw error;
    }
  }

  #makeRoom(parent: number, name: ByteString, member: TarMember): void {
    const mode = this.#modeOf(parent, name);
    if (mode === 0) return;
    const isDirectory = isDirectoryMode(mode);
    const becomesDirectory = member.type === 'directory';
    if (this.#options.keepTypes && isDirectory !== becomesDirectory) {
      const [there, wanted] = isDirectory ? ['directory', 'non-directory'] : ['non-directory', 'directory'];
      throw new EngineError(
        'InvalidArgument',
        'TYPE_CONFLICT',
        `cannot overwrite ${there} ${showName(name)} with ${wanted} ${showName(member.name)}`,
      );
    }
    try {
      this.#removeAll(parent, name, isDirectory);
    } catch (error) {
      if (!isErrno(error, 'EBUSY')) throw error;
      throw new EngineError('Conflict', 'PATH_BUSY', `unlinkat ${showName(name)}: device or resource busy: something is mounted there`, {
        cause: error,
      });
    }
  }

  /** Directory by directory through descriptors: what the container exchanges meanwhile is not entered. */
  #removeAll(parent: number, name: ByteString, isDirectory: boolean): void {
    if (!isDirectory) {
      unlinkSync(pathIn(parent, name));
      return;
    }
    const fd = this.#reader.openAt(parent, name);
    try {
      for (const child of this.#reader.read(fd)) this.#removeAll(fd, child, isDirectoryMode(this.#modeOf(fd, child)));
    } finally {
      closeSync(fd);
    }
    rmdirSync(pathIn(parent, name));
  }

  #openFile(parent: number, name: ByteString, member: TarMember): TarSink {
    const fd = openSync(pathIn(parent, name), O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC, 0o600);
    this.#file = fd;
    return {
      write: (chunk, position) => {
        for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at, chunk.length - at, position + at);
      },
      finish: () => {
        ftruncateSync(fd, member.size);
        this.#applyMeta(fd, member);
        setTimesFd(fd, member.mtimeSec, member.mtimeNsec);
        this.close();
      },
    };
  }

  #special(parent: number, name: ByteString, member: TarMember): void {
    const target = pathIn(parent, name);
    if (member.type === 'symlink') symlinkSync(toPathBuffer(member.linkTarget), target);
    else if (member.type === 'fifo') mkfifo(target, 0o600);
    else {
      if (member.major === 0 && member.minor === 0) {
        const why = 'a device 0:0 means a deletion to overlayfs';
        throw new EngineError('InvalidArgument', 'TAR_MEMBER_REFUSED', `the archive's member ${showName(member.name)} is refused: ${why}`);
      }
      mknod(target, (member.type === 'charDevice' ? S_IFCHR : S_IFBLK) | 0o600, member.major, member.minor);
    }
    const { uid, gid } = this.#ownerOf(member);
    lchown(target, uid, gid);
    if (member.type !== 'symlink') chmodEntry(parent, name, member.mode);
    for (const [key, value] of member.xattrs) ignoreUnsupported(() => setXattr(target, key, value));
    setTimes(target, member.mtimeSec, member.mtimeNsec);
  }

  #ownerOf(member: TarMember): Owner {
    return this.#options.owner ?? this.#options.owners.outside(member);
  }

  /** Owner first: changing it clears setuid bits and capabilities. */
  #applyMeta(fd: number, member: TarMember): void {
    const { uid, gid } = this.#ownerOf(member);
    fchownSync(fd, uid, gid);
    fchmodSync(fd, member.mode);
    for (const [key, value] of member.xattrs) ignoreUnsupported(() => setXattrFd(fd, key, value));
  }
}

/** chmod(2) follows a symlink at the end of a path; through a descriptor it reaches what was opened. */
function chmodEntry(parent: number, name: ByteString, mode: number): void {
  const fd = openEntry(parent, name);
  try {
    chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeSync(fd);
  }
}

/** A file system without attributes, or a name space that it does not let the engine write, is no reason to refuse the file: as Docker. */
function ignoreUnsupported(set: () => void): void {
  try {
    set();
  } catch (error) {
    if (!isErrno(error, 'EOPNOTSUPP', 'EPERM')) throw error;
  }
}
