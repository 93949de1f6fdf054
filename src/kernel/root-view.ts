import { closeSync, constants, fstatSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { posix } from 'node:path';
import { isErrno } from '../base/errors.ts';
import { lchown, O, openIn } from './files.ts';
import { AT_EMPTY_PATH, AT_RECURSIVE, check, cString, declare, pinned, syscall } from './libc.ts';
import { mount, unmount } from './mount.ts';
import { attachTree, cloneTree } from './mount-tree.ts';

const libcUnshare = declare('int unshare(int)');
const libcSetns = declare('int setns(int, int)');
const libcChdir = declare('int chdir(uintptr_t)');
const CLONE_NEWNS = 0x0002_0000;
const MS_REC = 16_384;
const MS_PRIVATE = 1 << 18;
const SYS_PIVOT_ROOT = process.arch === 'arm64' ? 41 : 155;
const SYS_MOVE_MOUNT = 429;
const SYS_MOUNT_SETATTR = 442;
const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
const MOUNT_ATTR_RDONLY = 1;

export type ViewMount = { source: string; destination: string; readOnly: boolean };

/** `root` is the view's `/`, for `openIn`. The view ends, and all its mounts with it, when `close` is called or the process ends. */
export type RootView = { readonly root: number; close(): void };

export type RootViewOptions = {
  rootfs: string;
  mounts: readonly ViewMount[];
  /** Of the mount points that have to be made; root when not given. */
  owner?: { uid: number; gid: number } | undefined;
};

/**
 * A root file system with mounts over it, as a container would see it that does not run: in a mount name space of its own, so that the host sees none of
 * them and a killed engine leaves none. Missing mount points are made in it. No symlink in the root or in a mount leads a mount elsewhere. Blocks, and
 * changes what the calling thread works on: for job threads only. Throws SystemCallError, naming source or destination.
 */
export function openRootView({ rootfs, mounts, owner }: RootViewOptions): RootView {
  const trees: number[] = [];
  const keep = (fd: number) => {
    trees.push(fd);
    return fd;
  };
  try {
    const base = keep(cloneTree(rootfs));
    const parts = [...mounts].sort((a, b) => depth(a) - depth(b)).map((part) => ({ ...part, tree: keep(cloneSource(part)) }));
    return inNewNamespace((namespace) => {
      attachTree(base, rootfs);
      const root = openSync(rootfs, O.RDONLY | O.DIRECTORY | O.CLOEXEC);
      try {
        for (const part of parts) attachAt(root, part, owner);
        leaveTheRest(rootfs);
      } catch (error) {
        closeSync(root);
        throw error;
      }
      return {
        root,
        close: () => {
          closeSync(root);
          closeSync(namespace);
        },
      };
    });
  } finally {
    for (const fd of trees) closeSync(fd);
  }
}

function depth({ destination }: ViewMount): number {
  return destination.split('/').filter((name) => name !== '').length;
}

const attributes = pinned(32);

function cloneSource({ source, readOnly }: ViewMount): number {
  const tree = cloneTree(source, { recursive: true });
  if (!readOnly) return tree;
  attributes.buffer.fill(0);
  attributes.view.setBigUint64(0, BigInt(MOUNT_ATTR_RDONLY), true);
  try {
    check(syscall(SYS_MOUNT_SETATTR, tree, cString(''), AT_EMPTY_PATH | AT_RECURSIVE, attributes.address, 32, 0), 'mount_setattr', source);
  } catch (error) {
    closeSync(tree);
    throw error;
  }
  return tree;
}

/** Runs `build` with this thread in a copy of its name space, from which nothing propagates; `build` keeps the descriptor or throws. */
function inNewNamespace<T>(build: (namespace: number) => T): T {
  const own = openSync('/proc/thread-self/ns/mnt', O.RDONLY | O.CLOEXEC);
  let namespace: number | undefined;
  try {
    check(libcUnshare(CLONE_NEWNS), 'unshare', 'CLONE_NEWNS');
    try {
      mount({ source: 'none', target: '/', type: 'none', flags: MS_REC | MS_PRIVATE });
      namespace = openSync('/proc/thread-self/ns/mnt', O.RDONLY | O.CLOEXEC);
      return build(namespace);
    } finally {
      returnTo(own);
    }
  } catch (error) {
    if (namespace !== undefined) closeSync(namespace);
    throw error;
  } finally {
    closeSync(own);
  }
}

function returnTo(own: number): void {
  if (libcSetns(own, CLONE_NEWNS) === 0) return;
  // A thread that went on in a container's files would take them for the host's.
  writeSync(2, 'slipway: cannot return to the own mount namespace\n');
  process.abort();
}

/** Makes the root the name space's only one: a copy of the host's mounts would keep everybody else's file systems busy. */
function leaveTheRest(rootfs: string): void {
  check(libcChdir(cString(rootfs)), 'chdir', rootfs);
  if (syscall(SYS_PIVOT_ROOT, cString('.', 0), cString('.', 1), 0, 0, 0, 0) === -1) {
    // The first root of a host that runs from its initramfs cannot be moved: the copy stays for as long as the view.
    return;
  }
  unmount('.', { detach: true });
}

function attachAt(root: number, { destination, tree }: ViewMount & { tree: number }, owner: RootViewOptions['owner']): void {
  const isDirectory = fstatSync(tree).isDirectory();
  const target = openMountPoint(root, destination, isDirectory, owner);
  try {
    const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    check(syscall(SYS_MOVE_MOUNT, tree, cString('', 0), target, cString('', 1), flags, 0), 'move_mount', destination);
  } finally {
    closeSync(target);
  }
}

function openMountPoint(root: number, destination: string, isDirectory: boolean, owner: RootViewOptions['owner']): number {
  const names = destination.split('/').filter((name) => name !== '');
  for (let index = 0; index < names.length; index++) {
    const path = names.slice(0, index + 1).join('/');
    try {
      closeSync(openIn(root, path, O.PATH));
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
      const parent = openIn(root, names.slice(0, index).join('/'), O.PATH | O.DIRECTORY);
      try {
        makeEmpty(`/proc/self/fd/${parent}/${names[index]}`, isDirectory || index < names.length - 1, owner);
      } finally {
        closeSync(parent);
      }
    }
  }
  return openIn(root, posix.normalize(destination), O.PATH);
}

function makeEmpty(path: string, isDirectory: boolean, owner: RootViewOptions['owner']): void {
  try {
    if (isDirectory) mkdirSync(path, 0o755);
    else closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | O.CLOEXEC, 0o644));
  } catch (error) {
    // A dangling symlink: what it leads to is made when a path through it is opened; here it is in the way.
    if (!isErrno(error, 'EEXIST')) throw error;
    return;
  }
  if (owner) lchown(path, owner.uid, owner.gid);
}

/** For callers that have no view to share: a plain directory as one. */
export function plainView(rootfs: string): RootView {
  const root = openSync(rootfs, O.RDONLY | O.DIRECTORY | O.CLOEXEC);
  return { root, close: () => closeSync(root) };
}
