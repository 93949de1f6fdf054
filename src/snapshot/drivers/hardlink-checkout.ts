import { chmodSync, closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ByteString } from '../../base/bytes.ts';
import { isErrno } from '../../base/errors.ts';
import { copyRange, lchown, linkat, mkfifo, mknod, seekHoles, setTimes, syncfs } from '../../kernel/files.ts';
import { AT_FDCWD } from '../../kernel/libc.ts';
import { S_IFBLK, S_IFCHR } from '../../kernel/stat.ts';
import { setXattr } from '../../kernel/xattr.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import { type Entry, EntryType, type FileEntry, type Meta, type TreeId } from '../../store/model.ts';
import type { StorePaths, TreeContext } from '../../store/port.ts';
import type { ProjectionInfo } from '../erofs/format.ts';
import { joinPath } from '../overlay/base-tree.ts';
import { escapeXattr } from '../overlay/private-xattrs.ts';

/** Changes whenever the same tree would be laid out otherwise. */
const checkoutVersion = 1;

/** `inodes/trees/<tree>.<version>/{info.json,root/}`: see docs/formats/snapshots.md. */
export function checkoutFolder(paths: Pick<StorePaths, 'inodes'>, tree: TreeId): string {
  return join(paths.inodes, 'trees', `${tree}.${checkoutVersion}`);
}

/** Undefined when there is no whole checkout of this version. */
export function readCheckoutInfo(folder: string): ProjectionInfo | undefined {
  try {
    const info = JSON.parse(readFileSync(join(folder, 'info.json'), 'utf8')) as ProjectionInfo;
    return info.version === checkoutVersion ? info : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/**
 * Lays a tree out as files whose inodes are shared with other checkouts: an inode for each content with the same owner, mode, time and
 * attributes. Visible only when it is whole and durable.
 */
export function checkOut(context: TreeContext, tree: TreeId): void {
  const temporary = join(context.tmpDir, 'checkout');
  mkdirSync(temporary, { mode: 0o711 });
  const checkout = new Checkout(context, tree, join(temporary, 'root'));
  checkout.write();
  const root = context.root(tree);
  const info: ProjectionInfo = { version: checkoutVersion, tree, hardlinks: root.hardlinks.length > 0, canary: checkout.canary };
  writeFileSync(join(temporary, 'info.json'), JSON.stringify(info));
  checkout.publish();
  mkdirSync(join(context.paths.inodes, 'trees'), { recursive: true, mode: 0o711 });
  show(temporary, checkoutFolder(context.paths, tree));
}

/** A checkout that stands already is the same: its job was cancelled after it had shown it. This one goes with the job's folder. */
function show(checkout: string, folder: string): void {
  try {
    renameSync(checkout, folder);
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY') || readCheckoutInfo(folder) === undefined) throw error;
  }
}

const filesBetweenReports = 500;

class Checkout {
  canary: ProjectionInfo['canary'];
  readonly #context: TreeContext;
  readonly #tree: TreeId;
  readonly #target: string;
  /** Files written here that are to become shared inodes. */
  readonly #fresh: { path: Buffer; shared: string }[] = [];
  /** How many inodes of a key this tree has used: two files of one tree share an inode only when they are hardlinks of each other. */
  readonly #used = new Map<Hex, number>();
  /** The first path of each hardlink group that has been written, by group. */
  readonly #linked = new Map<number, Buffer>();
  readonly #groups = new Map<string, number>();
  #files = 0;

  constructor(context: TreeContext, tree: TreeId, target: string) {
    this.#context = context;
    this.#tree = tree;
    this.#target = target;
    for (const [group, paths] of context.root(tree).hardlinks.entries()) for (const path of paths) this.#groups.set(path, group);
  }

  write(): void {
    const root = this.#context.root(this.#tree);
    this.#directory(root, root.full, '' as ByteString);
  }

  /** Makes all that was written durable, then shares it. A shared inode is never one that a crash could have torn. */
  publish(): void {
    const fd = openSync(this.#target, 'r');
    try {
      syncfs(fd);
    } finally {
      closeSync(fd);
    }
    for (const { path, shared } of this.#fresh) {
      mkdirSync(join(shared, '..'), { recursive: true, mode: 0o711 });
      try {
        linkat(AT_FDCWD, path, AT_FDCWD, shared);
      } catch (error) {
        // Another checkout was first with the same inode: both stay, this one unshared.
        if (!isErrno(error, 'EEXIST')) throw error;
      }
    }
  }

  #path(path: ByteString): Buffer {
    return Buffer.concat([Buffer.from(this.#target), Buffer.from(`/${path}`, 'latin1')]);
  }

  #directory(meta: Meta, full: Hex, path: ByteString): void {
    const target = this.#path(path);
    mkdirSync(target, { mode: 0o700 });
    for (const entry of this.#context.node(full)) this.#entry(entry, joinPath(path, entry.name));
    applyMeta(target, meta, true);
  }

  #entry(entry: Entry, path: ByteString): void {
    if (entry.type === EntryType.directory) {
      this.#directory(entry, entry.full, path);
      return;
    }
    const target = this.#path(path);
    const group = this.#groups.get(path);
    const first = group === undefined ? undefined : this.#linked.get(group);
    if (first !== undefined) {
      linkat(AT_FDCWD, first, AT_FDCWD, target);
      return;
    }
    this.#leaf(entry, target, path);
    if (group !== undefined) this.#linked.set(group, target);
  }

  #leaf(entry: Exclude<Entry, { type: typeof EntryType.directory }>, target: Buffer, path: ByteString): void {
    switch (entry.type) {
      case EntryType.file:
        this.#file(entry, target, path);
        return;
      case EntryType.symlink:
        symlinkSync(Buffer.from(entry.target, 'latin1'), target);
        break;
      case EntryType.fifo:
        mkfifo(target, 0o600);
        break;
      default:
        mknod(target, (entry.type === EntryType.charDevice ? S_IFCHR : S_IFBLK) | 0o600, entry.major, entry.minor);
    }
    applyMeta(target, entry, entry.type !== EntryType.symlink);
  }

  #file(entry: FileEntry, target: Buffer, path: ByteString): void {
    if (++this.#files % filesBetweenReports === 0) this.#context.report({ files: this.#files });
    if (this.canary === undefined && entry.size > 0 && path.length <= 100 && !this.#groups.has(path))
      this.canary = { path, object: entry.object };
    const key = inodeKey(entry);
    for (let number = this.#used.get(key) ?? 0; ; number++) {
      this.#used.set(key, number + 1);
      const shared = join(this.#context.paths.inodes, key.slice(0, 2), `${key.slice(2)}.${number}`);
      try {
        linkat(AT_FDCWD, shared, AT_FDCWD, target);
        return;
      } catch (error) {
        // An inode with as many links as the file system allows (65,000 on ext4): the next number is a second one of the same kind.
        if (isErrno(error, 'EMLINK')) continue;
        if (!isErrno(error, 'ENOENT')) throw error;
      }
      copyFile(this.#context.objectPath(entry.object), target, entry.size);
      applyMeta(target, entry, true);
      this.#fresh.push({ path: target, shared });
      return;
    }
  }
}

/** Everything that hardlinks share with each other. */
function inodeKey({ object, mode, uid, gid, mtimeSec, mtimeNsec, xattrs }: FileEntry): Hex {
  return sha256(JSON.stringify([checkoutVersion, object, mode, uid, gid, mtimeSec, mtimeNsec, xattrs ?? []]));
}

function copyFile(source: string, target: Buffer, size: number): void {
  const from = openSync(source, 'r');
  try {
    const to = openSync(target, 'wx', 0o600);
    try {
      ftruncateSync(to, size);
      for (const [start, end] of seekHoles(from, size)) copyRange(from, start, to, start, end - start);
    } finally {
      closeSync(to);
    }
  } finally {
    closeSync(from);
  }
}

/** Owner first (it clears setuid and capabilities), then mode, then attributes (an ACL is part of the mode), times last. */
function applyMeta(target: Buffer, meta: Meta, hasMode: boolean): void {
  lchown(target, meta.uid, meta.gid);
  if (hasMode) chmodSync(target, meta.mode);
  for (const xattr of meta.xattrs ?? []) {
    const [name, value] = escapeXattr(xattr);
    try {
      setXattr(target, name, value);
    } catch (error) {
      // A name space that this file system does not have (system.nfs4_acl): the tree keeps it, no mount can show it.
      if (!isErrno(error, 'EOPNOTSUPP')) throw error;
    }
  }
  setTimes(target, meta.mtimeSec, meta.mtimeNsec);
}
