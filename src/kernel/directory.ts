import { closeSync } from 'node:fs';
import type { ByteString } from '../base/bytes.ts';
import { O } from './files.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  cBytes,
  check,
  cString,
  declare,
  failure,
  type PathArgument,
  pinned,
} from './libc.ts';
import { decodeStatx, FileStat, statxBytes, statxMask } from './stat.ts';

const libcOpenat = declare('int openat(int, uintptr_t, int, uint)');
const libcGetdents64 = declare('int64_t getdents64(int, uintptr_t, uint64_t)');
const libcStatx = declare('int statx(int, uintptr_t, int, uint, uintptr_t)');
const libcReadlinkat = declare('int64_t readlinkat(int, uintptr_t, uintptr_t, uint64_t)');

/** d_type values of readdir(3). Some file systems give `unknown` for all: then ask statAt. */
export const DirentType = { unknown: 0, fifo: 1, char: 2, directory: 4, block: 6, file: 8, symlink: 10, socket: 12 } as const;

/**
 * The walker's primitives over descriptors, for trees of hundreds of thousands of files: no path is built, no object is made an entry,
 * names are bytes. One reader serves a whole recursive walk of a thread: `read` gives the names of a directory at once, then `statAt`
 * fills the one `stat` record. Paths longer than PATH_MAX work because every step is relative to an open directory.
 */
export class DirectoryReader {
  /** What the last `statAt` or `statFd` found. Reused. */
  readonly stat = new FileStat();
  /** The d_type of every name that the last `read` returned. Reused: take a `slice(0, names.length)` before descending. */
  types = new Uint8Array(1024);
  readonly #entries = pinned(131_072);
  readonly #statx = pinned(statxBytes);
  readonly #link = pinned(4096);

  /** Opens a directory, following symlinks. The caller closes it. */
  open(path: PathArgument): number {
    return check(libcOpenat(AT_FDCWD, cString(path), O.RDONLY | O.DIRECTORY | O.CLOEXEC, 0), 'open', path);
  }

  /** Opens the directory `name` in `dirFd`; ENOTDIR or ELOOP when it is none (symlinks are not followed). */
  openAt(dirFd: number, name: ByteString): number {
    return check(libcOpenat(dirFd, cBytes(name), O.RDONLY | O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC, 0), 'openat', name);
  }

  /** Opens a file in `dirFd`, symlinks not followed, without waiting (a fifo or device). `flags` are added. */
  openFileAt(dirFd: number, name: ByteString, flags: number = O.RDONLY): number {
    return check(libcOpenat(dirFd, cBytes(name), flags | O.NOFOLLOW | O.CLOEXEC | O.NONBLOCK, 0), 'openat', name);
  }

  close(fd: number): void {
    closeSync(fd);
  }

  /** All names of an open directory, without `.` and `..`, in the file system's order. A second `read` of the same descriptor is empty. */
  read(dirFd: number): ByteString[] {
    const { buffer, address, view } = this.#entries;
    const found: ByteString[] = [];
    for (;;) {
      const length = libcGetdents64(dirFd, address, buffer.length);
      if (length === 0) return found;
      if (length === -1) throw failure('getdents64');
      for (let offset = 0; offset < length; ) {
        // struct linux_dirent64: ino u64, off u64, reclen u16, type u8, name
        const recordLength = view.getUint16(offset + 16, true);
        const start = offset + 19;
        let end = start + 1;
        while (buffer[end] !== 0) end++;
        const length = end - start;
        if (!(buffer[start] === 0x2e && (length === 1 || (length === 2 && buffer[start + 1] === 0x2e)))) {
          if (found.length === this.types.length) this.#growTypes();
          this.types[found.length] = view.getUint8(offset + 18);
          found.push(buffer.latin1Slice(start, end) as ByteString);
        }
        offset += recordLength;
      }
    }
  }

  #growTypes(): void {
    const larger = new Uint8Array(this.types.length * 4);
    larger.set(this.types);
    this.types = larger;
  }

  /** Of `name` in `dirFd`, a symlink not followed. Throws SystemCallError. */
  statAt(dirFd: number, name: ByteString): FileStat {
    if (libcStatx(dirFd, cBytes(name), AT_SYMLINK_NOFOLLOW, statxMask, this.#statx.address) === -1) throw failure('statx', name);
    return decodeStatx(this.#statx, this.stat);
  }

  statFd(fd: number): FileStat {
    check(libcStatx(fd, cBytes(''), AT_EMPTY_PATH, statxMask, this.#statx.address), 'statx');
    return decodeStatx(this.#statx, this.stat);
  }

  /** A symlink's target. */
  readLinkAt(dirFd: number, name: ByteString): ByteString {
    const length = check(libcReadlinkat(dirFd, cBytes(name), this.#link.address, this.#link.buffer.length), 'readlinkat', name);
    return this.#link.buffer.latin1Slice(0, length) as ByteString;
  }
}
