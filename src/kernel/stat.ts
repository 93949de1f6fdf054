import type { Pinned } from './libc.ts';

/**
 * What statx(2) says of one file, in plain numbers. Records are reused: copy what must last. The inode number comes in two halves
 * because overlayfs (xino) uses the high bits, beyond what a double holds.
 */
export class FileStat {
  /** Type and permission bits, as in st_mode. */
  mode = 0;
  uid = 0;
  gid = 0;
  size = 0;
  nlink = 0;
  inoLow = 0;
  inoHigh = 0;
  devMajor = 0;
  devMinor = 0;
  rdevMajor = 0;
  rdevMinor = 0;
  mtimeSec = 0;
  mtimeNsec = 0;
  ctimeSec = 0;
  ctimeNsec = 0;
  /** Allocated, in units of 512 bytes. */
  blocks = 0;
  /** STATX_ATTR_* bits. */
  attributes = 0;

  /** The inode number; exact up to 2^53. */
  get ino(): number {
    return this.inoHigh * 0x1_0000_0000 + this.inoLow;
  }

  /** Names an inode within a host while it exists. */
  get inodeKey(): string {
    return `${this.devMajor}:${this.devMinor}:${this.inoHigh}:${this.inoLow}`;
  }
}

export const statxBytes = 256;
/** STATX_BASIC_STATS. */
export const statxMask = 0x7ff;
/** STATX_ATTR_MOUNT_ROOT (Linux 5.8). */
export const statxAttrMountRoot = 0x2000;

/** File types in `mode & S_IFMT` (inode(7)). */
export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFIFO = 0o010000;
export const S_IFSOCK = 0o140000;

/** Fills a record from a struct statx (linux/stat.h). */
export function decodeStatx({ view }: Pinned, into: FileStat): FileStat {
  into.attributes = view.getUint32(8, true);
  into.nlink = view.getUint32(16, true);
  into.uid = view.getUint32(20, true);
  into.gid = view.getUint32(24, true);
  into.mode = view.getUint16(28, true);
  into.inoLow = view.getUint32(32, true);
  into.inoHigh = view.getUint32(36, true);
  into.size = view.getUint32(40, true) + view.getUint32(44, true) * 0x1_0000_0000;
  into.blocks = view.getUint32(48, true) + view.getUint32(52, true) * 0x1_0000_0000;
  into.ctimeSec = view.getUint32(96, true) + view.getInt32(100, true) * 0x1_0000_0000;
  into.ctimeNsec = view.getUint32(104, true);
  into.mtimeSec = view.getUint32(112, true) + view.getInt32(116, true) * 0x1_0000_0000;
  into.mtimeNsec = view.getUint32(120, true);
  into.rdevMajor = view.getUint32(128, true);
  into.rdevMinor = view.getUint32(132, true);
  into.devMajor = view.getUint32(136, true);
  into.devMinor = view.getUint32(140, true);
  return into;
}
