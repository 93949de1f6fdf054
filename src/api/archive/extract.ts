import {
  closeSync,
  createReadStream,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { type ByteString, toPathBuffer } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { DirectoryReader } from '../../kernel/directory.ts';
import { lchown, linkat, mkfifo, mknod, O, openIn, setTimes, setTimesFd } from '../../kernel/files.ts';
import { S_IFBLK, S_IFCHR } from '../../kernel/stat.ts';
import { setXattrFd } from '../../kernel/xattr.ts';
import { showName, type TarMember } from '../../oci/tar/member.ts';
import { TarReader, type TarSink } from '../../oci/tar/reader.ts';
import type { TreeContext } from '../../store/port.ts';
import { isDirectoryMode, type LiveRoot, openDirectory, openLiveRoot, pathIn } from './live-root.ts';

export type ExtractParams = {
  root: LiveRoot /** A directory of the container. */;
  path: string /** The tar; plain, gzip or zstd. */;
  file: string;
};

/**
 * Job `api.extract`: puts a tar's members into a directory of a container, which may be running and hostile. Every name is resolved inside the
 * container's root by the kernel (openat2), its last part never followed. An existing entry is replaced, a directory by a non-directory
 * only when it is empty. InvalidArgument for a damaged tar; what was put before stays, as with tar.
 */
export async function extractIntoRoot(_context: TreeContext, { root, path, file }: ExtractParams): Promise<void> {
  const extraction = new Extraction(root, path);
  try {
    const reader = new TarReader((member) => extraction.put(member), { what: 'the archive', requireEnd: false });
    for await (const chunk of openTar(file)) reader.push(chunk as Buffer);
    reader.end();
    extraction.finish();
  } finally {
    extraction.close();
  }
}

function openTar(file: string): Readable {
  const magic = Buffer.alloc(6);
  const fd = openSync(file, 'r');
  readSync(fd, magic, 0, magic.length, 0);
  closeSync(fd);
  const source = createReadStream(file, { highWaterMark: 256 * 1024 });
  const decompressor =
    magic.readUInt16BE(0) === 0x1f8b ? createGunzip() : magic.readUInt32BE(0) === 0x28b52ffd ? createZstdDecompress() : undefined;
  if (decompressor !== undefined) return source.on('error', (error) => decompressor.destroy(error)).pipe(decompressor);
  const other = magic.toString('latin1').startsWith('BZh') ? 'bzip2' : magic.toString('latin1').startsWith('\xfd7zXZ') ? 'xz' : undefined;
  if (other === undefined) return source;
  source.destroy();
  throw new EngineError('Unsupported', 'COMPRESSION_UNSUPPORTED', `the archive is compressed with ${other}`, {
    hint: 'Use gzip, zstd or none.',
  });
}

class Extraction {
  readonly #reader = new DirectoryReader();
  readonly #root: number;
  readonly #base: string;
  /** Directories get their times last: what is put into them would change them. */
  readonly #directories: { path: ByteString; member: TarMember }[] = [];
  #file: number | undefined;

  constructor(root: LiveRoot, path: string) {
    this.#root = openLiveRoot(root, this.#reader);
    this.#base = posix.normalize(`/${path}`);
    try {
      closeSync(openDirectory(this.#root, this.#base, path));
    } catch (error) {
      closeSync(this.#root);
      throw error;
    }
  }

  put(member: TarMember): TarSink | undefined {
    const path = cleanName(member);
    if (path === '') return undefined;
    const slash = path.lastIndexOf('/');
    const parent = this.#openParent(path.slice(0, Math.max(slash, 0)) as ByteString);
    try {
      return this.#putIn(parent, path.slice(slash + 1) as ByteString, path, member);
    } finally {
      closeSync(parent);
    }
  }

  finish(): void {
    for (const { path, member } of this.#directories.reverse()) {
      try {
        const fd = openIn(this.#root, this.#inBase(path), O.RDONLY | O.DIRECTORY);
        setTimesFd(fd, member.mtimeSec, member.mtimeNsec);
        closeSync(fd);
      } catch (error) {
        // A later member, or the container, put something else there.
        if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
      }
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    closeSync(this.#root);
  }

  #inBase(path: ByteString): Buffer {
    return Buffer.concat([Buffer.from(`${this.#base}/`), toPathBuffer(path)]);
  }

  /** Missing directories on the way are made, as tar does. */
  #openParent(path: ByteString): number {
    try {
      return openIn(this.#root, this.#inBase(path), O.RDONLY | O.DIRECTORY);
    } catch (error) {
      if (!isErrno(error, 'ENOENT') || path === '') throw error;
    }
    const slash = path.lastIndexOf('/');
    const grandparent = this.#openParent(path.slice(0, Math.max(slash, 0)) as ByteString);
    try {
      mkdirSync(pathIn(grandparent, path.slice(slash + 1) as ByteString), 0o755);
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error;
    } finally {
      closeSync(grandparent);
    }
    return openIn(this.#root, this.#inBase(path), O.RDONLY | O.DIRECTORY);
  }

  #putIn(parent: number, name: ByteString, path: ByteString, member: TarMember): TarSink | undefined {
    const target = pathIn(parent, name);
    if (member.type === 'directory') {
      this.#putDirectory(parent, name, member);
      this.#directories.push({ path, member });
      return undefined;
    }
    this.#makeRoom(parent, name, target);
    if (member.type === 'file') return this.#openFile(parent, name, member);
    this.#putSpecial(target, parent, name, member);
    return undefined;
  }

  #putDirectory(parent: number, name: ByteString, member: TarMember): void {
    if (!isDirectoryMode(this.#modeOf(parent, name))) {
      this.#makeRoom(parent, name, pathIn(parent, name));
      mkdirSync(pathIn(parent, name), 0o700);
    }
    const fd = this.#reader.openAt(parent, name);
    try {
      applyMeta(fd, member);
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

  #makeRoom(parent: number, name: ByteString, target: Buffer): void {
    const mode = this.#modeOf(parent, name);
    if (mode === 0) return;
    try {
      if (isDirectoryMode(mode)) rmdirSync(target);
      else unlinkSync(target);
    } catch (error) {
      if (!isErrno(error, 'ENOTEMPTY', 'EEXIST', 'EBUSY')) throw error;
      throw new EngineError('Conflict', 'DIRECTORY_IN_THE_WAY', `cannot overwrite directory ${showName(name)} with non-directory`, {
        cause: error,
      });
    }
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
        applyMeta(fd, member);
        setTimesFd(fd, member.mtimeSec, member.mtimeNsec);
        closeSync(fd);
        this.#file = undefined;
      },
    };
  }

  #putSpecial(target: Buffer, parent: number, name: ByteString, member: TarMember): void {
    switch (member.type) {
      case 'link': {
        this.#putLink(parent, name, member);
        return;
      }
      case 'symlink':
        symlinkSync(toPathBuffer(member.linkTarget), target);
        break;
      case 'fifo':
        mkfifo(target, member.mode);
        break;
      default:
        if (member.major === 0 && member.minor === 0) throw refused(member, 'a device 0:0 means a deletion to overlayfs');
        mknod(target, (member.type === 'charDevice' ? S_IFCHR : S_IFBLK) | (member.mode & 0o777), member.major, member.minor);
    }
    lchown(target, member.uid, member.gid);
    setTimes(target, member.mtimeSec, member.mtimeNsec);
  }

  #putLink(parent: number, name: ByteString, member: TarMember): void {
    const source = cleanName({ ...member, name: member.linkTarget });
    const slash = source.lastIndexOf('/');
    const from = this.#openParent(source.slice(0, Math.max(slash, 0)) as ByteString);
    try {
      linkat(from, toPathBuffer(source.slice(slash + 1) as ByteString), parent, toPathBuffer(name));
    } finally {
      closeSync(from);
    }
  }
}

/** Owner first: changing it clears setuid bits and capabilities. */
function applyMeta(fd: number, member: TarMember): void {
  fchownSync(fd, member.uid, member.gid);
  fchmodSync(fd, member.mode);
  for (const [key, value] of member.xattrs) setXattrFd(fd, key, value);
}

/** Relative, without `.` and empty parts; '' for the directory itself. A `..` is refused even where it would stay inside. */
function cleanName(member: TarMember): ByteString {
  const parts = member.name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw refused(member, 'it leads upwards');
  return parts.join('/') as ByteString;
}

function refused(member: TarMember, why: string): EngineError {
  return new EngineError('InvalidArgument', 'TAR_MEMBER_REFUSED', `the archive's member ${showName(member.name)} is refused: ${why}`);
}
