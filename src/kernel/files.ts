import { closeSync, readSync, writeSync } from 'node:fs';
import { isErrno } from '../base/errors.ts';
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  check,
  cString,
  declare,
  errnoNumbers,
  failure,
  lastErrno,
  type PathArgument,
  pinned,
  syscall,
} from './libc.ts';
import { decodeStatx, FileStat, statxBytes, statxMask } from './stat.ts';

const libcSyncfs = declare('int syncfs(int)');
const libcFlock = declare('int flock(int, int)');
const libcMknod = declare('int mknod(uintptr_t, uint, uint64_t)');
const libcLchown = declare('int lchown(uintptr_t, uint, uint)');
const libcUtimensat = declare('int utimensat(int, uintptr_t, uintptr_t, int)');
const libcFutimens = declare('int futimens(int, uintptr_t)');
const libcLseek = declare('int64_t lseek(int, int64_t, int)');
const libcCopyFileRange = declare('int64_t copy_file_range(int, uintptr_t, int, uintptr_t, uint64_t, uint)');
const libcLinkat = declare('int linkat(int, uintptr_t, int, uintptr_t, int)');
const libcStatfs = declare('int statfs(uintptr_t, uintptr_t)');
const libcStatx = declare('int statx(int, uintptr_t, int, uint, uintptr_t)');
const libcFallocate = declare('int fallocate(int, int, int64_t, int64_t)');

/** open(2) flags that node:fs does not name, and those most used here. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  NONBLOCK: 0o4000,
  DIRECTORY: process.arch === 'arm64' ? 0o40000 : 0o200000,
  NOFOLLOW: process.arch === 'arm64' ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

/** Makes everything written to the file system that holds `fd` durable. Can take as long as other writers there have data pending. */
export function syncfs(fd: number): void {
  check(libcSyncfs(fd), 'syncfs');
}

/** Takes an exclusive lock that ends with the open file (and so with the process). False when another holds it; never waits. */
export function flockExclusive(fd: number): boolean {
  const LOCK_EX = 2;
  const LOCK_NB = 4;
  if (libcFlock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  if (lastErrno() === errnoNumbers.EAGAIN) return false;
  throw failure('flock');
}

const openHow = pinned(24);
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_BENEATH = 0x08;
const RESOLVE_IN_ROOT = 0x10;

/**
 * Opens `path` as if `rootFd` were `/`: absolute symlinks and `..` cannot leave it (openat2(2), RESOLVE_IN_ROOT). Close-on-exec.
 * Throws SystemCallError (ENOENT, ENOTDIR, ELOOP, ...). The caller closes the descriptor.
 */
export function openIn(rootFd: number, path: PathArgument, flags: number, mode = 0): number {
  return openat2(rootFd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

/** As `openIn`, but what leads out, by `..` or a symlink, is EXDEV instead of being turned back in. */
export function openBeneath(rootFd: number, path: PathArgument, flags: number): number {
  return openat2(rootFd, path, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

function openat2(rootFd: number, path: PathArgument, flags: number, mode: number, resolve: number): number {
  openHow.view.setBigUint64(0, BigInt(flags | O.CLOEXEC), true);
  openHow.view.setBigUint64(8, BigInt(flags & O.CREAT ? mode : 0), true);
  openHow.view.setBigUint64(16, BigInt(resolve), true);
  for (let attempt = 0; ; attempt++) {
    const fd = syscall(437, rootFd, cString(path.length === 0 ? '.' : path), openHow.address, 24, 0, 0);
    if (fd >= 0) return fd;
    // A rename somewhere on the host during the walk makes the kernel give up with EAGAIN rather than risk an escape.
    if (lastErrno() !== errnoNumbers.EAGAIN || attempt === 100) throw failure('openat2', path);
  }
}

/** Makes a device node; `mode` includes S_IFCHR or S_IFBLK. The umask applies: chmod afterwards when the bits matter. */
export function mknod(path: PathArgument, mode: number, major: number, minor: number): void {
  check(libcMknod(cString(path), mode, makeDevice(major, minor)), 'mknod', path);
}

/** The 64-bit dev_t of glibc and of the kernel's statx. */
function makeDevice(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return ((high & 0xffff_f000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | (low & 0xffn);
}

export function mkfifo(path: PathArgument, mode: number): void {
  check(libcMknod(cString(path), (mode & 0o7777) | 0o010000, 0), 'mkfifo', path);
}

const timespecs = pinned(32);

function writeTimes(sec: number, nsec: number): number {
  for (const offset of [0, 16]) {
    timespecs.view.setBigInt64(offset, BigInt(sec), true);
    timespecs.view.setBigInt64(offset + 8, BigInt(nsec), true);
  }
  return timespecs.address;
}

/** Sets access and modification time of `path` itself, a symlink not followed. */
export function setTimes(path: PathArgument, sec: number, nsec: number): void {
  check(libcUtimensat(AT_FDCWD, cString(path), writeTimes(sec, nsec), AT_SYMLINK_NOFOLLOW), 'utimensat', path);
}

export function setTimesFd(fd: number, sec: number, nsec: number): void {
  check(libcFutimens(fd, writeTimes(sec, nsec)), 'futimens');
}

/** Sets the owner of `path` itself, a symlink not followed. Clears setuid, setgid and capabilities of a regular file, as chown does. */
export function lchown(path: PathArgument, uid: number, gid: number): void {
  check(libcLchown(cString(path), uid, gid), 'lchown', path);
}

/** `[start, end)` of the parts that hold data, in bytes. One pair for the whole file where holes are unknown. Leaves the offset at 0. */
export function seekHoles(fd: number, size: number): [start: number, end: number][] {
  const SEEK_DATA = 3;
  const SEEK_HOLE = 4;
  const extents: [number, number][] = [];
  let position = 0;
  while (position < size) {
    const start = libcLseek(fd, position, SEEK_DATA);
    if (start === -1) {
      if (lastErrno() === errnoNumbers.ENXIO) break; // a hole up to the end
      if (lastErrno() === errnoNumbers.EINVAL) return [[0, size]];
      throw failure('lseek');
    }
    const end = Math.min(check(libcLseek(fd, start, SEEK_HOLE), 'lseek'), size);
    if (start >= size) break;
    extents.push([start, end]);
    position = end;
  }
  libcLseek(fd, 0, 0);
  return extents;
}

const rangeOffsets = pinned(16);

/**
 * Copies `length` bytes between two open files at the given offsets, inside the kernel (shared extents where the file system has them),
 * else through a buffer. Throws EIO when the source ends early.
 */
export function copyRange(inFd: number, inOffset: number, outFd: number, outOffset: number, length: number): void {
  let done = 0;
  while (done < length) {
    rangeOffsets.view.setBigInt64(0, BigInt(inOffset + done), true);
    rangeOffsets.view.setBigInt64(8, BigInt(outOffset + done), true);
    const chunk = Math.min(length - done, 1 << 30);
    const copied = libcCopyFileRange(inFd, rangeOffsets.address, outFd, rangeOffsets.address + 8, chunk, 0);
    if (copied <= 0) {
      if (copied === -1 && ![errnoNumbers.EXDEV, errnoNumbers.EINVAL, errnoNumbers.ENOSYS, errnoNumbers.EOPNOTSUPP].includes(lastErrno())) {
        throw failure('copy_file_range');
      }
      // Some file systems (proc, overlay in older kernels) answer 0 or refuse: the plain way decides.
      copyThroughBuffer(inFd, inOffset + done, outFd, outOffset + done, length - done);
      return;
    }
    done += copied;
  }
}

function copyThroughBuffer(inFd: number, inOffset: number, outFd: number, outOffset: number, length: number): void {
  const buffer = Buffer.allocUnsafe(Math.min(length, 1 << 18));
  let done = 0;
  while (done < length) {
    const count = readSync(inFd, buffer, 0, Math.min(buffer.length, length - done), inOffset + done);
    if (count === 0)
      throw Object.assign(new Error(`EIO: the file ended ${length - done} bytes early while it was copied`), { code: 'EIO' });
    let written = 0;
    while (written < count) written += writeSync(outFd, buffer, written, count - written, outOffset + done + written);
    done += count;
  }
}

/** linkat(2). Use AT_FDCWD for plain paths. EMLINK when the file system's link limit is reached. */
export function linkat(oldDirFd: number, oldPath: PathArgument, newDirFd: number, newPath: PathArgument, flags = 0): void {
  check(libcLinkat(oldDirFd, cString(oldPath, 0), newDirFd, cString(newPath, 1), flags), 'linkat', newPath);
}

/** Frees the space of `[start, start + length)`, which then reads as zeros. False where the file system cannot. */
export function punchHole(fd: number, start: number, length: number): boolean {
  const KEEP_SIZE = 1;
  const PUNCH_HOLE = 2;
  if (libcFallocate(fd, KEEP_SIZE | PUNCH_HOLE, start, length) === 0) return true;
  if (lastErrno() === errnoNumbers.EOPNOTSUPP) return false;
  throw failure('fallocate');
}

export type FilesystemStat = {
  /** f_type, for example 0xef53 for ext4. */
  type: number;
  blockSize: number;
  totalBytes: number;
  freeBytes: number;
  /** What an ordinary user may still use. */
  availableBytes: number;
  files: number;
  freeFiles: number;
};

const statfsResult = pinned(256);

export function statfs(path: PathArgument): FilesystemStat {
  check(libcStatfs(cString(path), statfsResult.address), 'statfs', path);
  const field = (index: number) => Number(statfsResult.view.getBigUint64(index * 8, true));
  const blockSize = field(1);
  return {
    type: field(0),
    blockSize,
    totalBytes: field(2) * blockSize,
    freeBytes: field(3) * blockSize,
    availableBytes: field(4) * blockSize,
    files: field(5),
    freeFiles: field(6),
  };
}

const statxResult = pinned(statxBytes);

/** lstat with nanoseconds as numbers, into `into` (a new record when not given). */
export function statPath(path: PathArgument, into = new FileStat(), options: { follow?: boolean } = {}): FileStat {
  const flags = options.follow ? 0 : AT_SYMLINK_NOFOLLOW;
  check(libcStatx(AT_FDCWD, cString(path), flags, statxMask, statxResult.address), 'statx', path);
  return decodeStatx(statxResult, into);
}

/** Closes a descriptor that some code may have closed already. */
export function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch (error) {
    if (!isErrno(error, 'EBADF')) throw error;
  }
}

const libcNameToHandleAt = declare('int name_to_handle_at(int, uintptr_t, uintptr_t, uintptr_t, int)');
const handle = pinned(8 + 128 + 8);

/**
 * What the file system itself calls an inode, in hex (name_to_handle_at(2)): stable over remounts, and what overlayfs records of a lower
 * file. A symlink is not followed. Undefined where the file system has no handles.
 */
export function fileHandle(path: PathArgument): string | undefined {
  handle.view.setUint32(0, 128, true);
  if (libcNameToHandleAt(AT_FDCWD, cString(path), handle.address, handle.address + 8 + 128, 0) === -1) {
    if (lastErrno() === errnoNumbers.EOPNOTSUPP) return undefined;
    throw failure('name_to_handle_at', path);
  }
  return handle.buffer.toString('hex', 8, 8 + handle.view.getUint32(0, true));
}
