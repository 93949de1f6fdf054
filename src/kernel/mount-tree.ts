import { closeSync } from 'node:fs';
import { AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, check, cString, type PathArgument, pinned, syscall } from './libc.ts';

const SYS_OPEN_TREE = 428;
const SYS_MOVE_MOUNT = 429;
const SYS_MOUNT_SETATTR = 442;

const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_IDMAP = 0x100000;

type CloneOptions = {
  /** Takes the mounts below along. */
  recursive?: boolean;
};

/**
 * A copy of the mount that `path` is in, rooted there, in no name space yet (open_tree(2), Linux 5.2): it goes away when the descriptor is closed
 * without `attachTree`. `from` is a descriptor that `path` is relative to; with an empty path it is the place itself.
 */
export function cloneTree(path: PathArgument, options: CloneOptions & { from?: number } = {}): number {
  const { from = AT_FDCWD, recursive = false } = options;
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  return check(syscall(SYS_OPEN_TREE, from, cString(path), flags, 0, 0, 0), 'open_tree', path);
}

/** Puts a cloned tree into the name space. The descriptor stays the caller's to close. */
export function attachTree(tree: number, target: string): void {
  check(syscall(SYS_MOVE_MOUNT, tree, cString('', 0), AT_FDCWD, cString(target, 1), MOVE_MOUNT_F_EMPTY_PATH, 0), 'move_mount', target);
}

const attributes = pinned(32);

/**
 * Shows the owners of a cloned tree, not attached yet, through the user namespace `userNamespace` (mount_setattr(2), Linux 5.12): the owner `n` of a
 * file is seen as what `n` inside is outside. EINVAL where the file system cannot.
 */
export function idmapTree(tree: number, userNamespace: number): void {
  attributes.buffer.fill(0);
  attributes.view.setBigUint64(0, BigInt(MOUNT_ATTR_IDMAP), true);
  attributes.view.setBigUint64(24, BigInt(userNamespace), true);
  check(syscall(SYS_MOUNT_SETATTR, tree, cString(''), AT_EMPTY_PATH, attributes.address, 32, 0), 'mount_setattr');
}

/** Shows what an open file or directory is at `target`, whatever happens to its path meanwhile. */
export function bindOpen(fd: number, target: string, options: CloneOptions = {}): void {
  const tree = cloneTree('', { ...options, from: fd });
  try {
    attachTree(tree, target);
  } finally {
    closeSync(tree);
  }
}
