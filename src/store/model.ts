import type { ByteString } from '../base/bytes.ts';
import type { Hex } from '../oci/digest.ts';

/** What an entry is. The numbers are those of docs/formats/tree.md and never change. */
export const EntryType = { file: 1, directory: 2, symlink: 3, charDevice: 4, blockDevice: 5, fifo: 6 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

/** A raw extended attribute: full name (`security.capability`) and value, both bytes. Lists are sorted by name, bytewise. */
export type Xattr = readonly [name: ByteString, value: ByteString];

/** What every entry has. `mode` is the low 12 bits (permissions, setuid, setgid, sticky). mtimeSec may be negative; mtimeNsec is 0..999,999,999. */
export type Meta = {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly xattrs?: readonly Xattr[] | undefined;
};

export type FileEntry = Meta & {
  readonly type: typeof EntryType.file;
  readonly name: ByteString;
  readonly size: number;
  readonly object: Hex;
};
/** `full` is the digest of the directory's node with mtimes, `content` the one without them. */
export type DirectoryEntry = Meta & {
  readonly type: typeof EntryType.directory;
  readonly name: ByteString;
  readonly full: Hex;
  readonly content: Hex;
};
export type SymlinkEntry = Meta & { readonly type: typeof EntryType.symlink; readonly name: ByteString; readonly target: ByteString };
export type DeviceEntry = Meta & {
  readonly type: typeof EntryType.charDevice | typeof EntryType.blockDevice;
  readonly name: ByteString;
  readonly major: number;
  readonly minor: number;
};
export type FifoEntry = Meta & { readonly type: typeof EntryType.fifo; readonly name: ByteString };

/** One name in a directory. An entry's metadata sits in its parent's node; the root directory's in the root record. */
export type Entry = FileEntry | DirectoryEntry | SymlinkEntry | DeviceEntry | FifoEntry;

/** A directory's two digests: build keys, early cutoff and adaptive layers compare `content`. */
export type NodeDigests = { readonly full: Hex; readonly content: Hex };

/**
 * A whole file system: the root directory's metadata and digests, and the hardlink groups as lists of paths (relative, no leading
 * slash, sorted; groups sorted by first path; each path names a non-directory entry of equal metadata and content).
 */
export type Root = Meta & NodeDigests & { readonly hardlinks: readonly (readonly ByteString[])[] };

/** The SHA-256 of an encoded root record. Names a tree everywhere in the engine. */
export type TreeId = Hex & { readonly __treeId: true };

/** A committed tree. `content` is the digest of its root record without mtimes: equal when the trees differ in nothing but times. */
export type TreeRef = { readonly id: TreeId; readonly content: Hex };
