import { createHash } from 'node:crypto';
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { O, openBeneath } from '../kernel/files.ts';
import { isMountPoint, unmountIfMounted } from '../kernel/mount.ts';
import { bindOpen } from '../kernel/mount-tree.ts';

/**
 * Parts of volumes, each mounted at a path of its own, `<directory>/<user>/<volume>/<digest>`. What a volume holds is its containers' to write,
 * so a path into it is resolved once, by the kernel, and the mount is of what was found: a symlink that is put there later changes nothing.
 */
export class Subpaths {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Idempotent. NotFound `SUBPATH_NOT_FOUND`, InvalidArgument `SUBPATH_ESCAPES`. */
  mount(mountpoint: string, subpath: string, owner: { user: string; volume: string }): string {
    const digest = createHash('sha256').update(subpath).digest('hex').slice(0, 16);
    const folder = join(this.#directory, owner.user, owner.volume);
    const target = join(folder, digest);
    if (isMountPoint(target)) return target;
    const found = openInVolume(mountpoint, subpath);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      makeMountPoint(target, fstatSync(found).isDirectory());
      bindOpen(found, target, { recursive: true });
    } finally {
      closeSync(found);
    }
    return target;
  }

  /** Idempotent. */
  unmount(owner: { user: string; volume: string }): void {
    const folder = join(this.#directory, owner.user, owner.volume);
    for (const name of namesIn(folder)) removeMountPoint(join(folder, name));
    removeEmpty(folder);
    removeEmpty(join(this.#directory, owner.user));
  }

  users(): { user: string; volume: string }[] {
    return namesIn(this.#directory).flatMap((user) => namesIn(join(this.#directory, user)).map((volume) => ({ user, volume })));
  }
}

function openInVolume(mountpoint: string, subpath: string): number {
  const fail = (kind: 'NotFound' | 'InvalidArgument', code: string, why: string, cause?: unknown) =>
    new EngineError(kind, code, `cannot access path ${join(mountpoint, subpath)}: ${why}`, { cause, exitCode: 125 });
  if (subpath.startsWith('/')) throw fail('InvalidArgument', 'SUBPATH_ESCAPES', 'subpath must be a relative path within the volume');
  const root = openSync(mountpoint, O.PATH | O.DIRECTORY | O.CLOEXEC);
  try {
    return openBeneath(root, subpath, O.PATH);
  } catch (error) {
    if (isErrno(error, 'EXDEV')) throw fail('InvalidArgument', 'SUBPATH_ESCAPES', 'path concatenation escapes the base directory', error);
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw fail('NotFound', 'SUBPATH_NOT_FOUND', 'no such file or directory', error);
    if (isErrno(error, 'ELOOP')) throw fail('InvalidArgument', 'SUBPATH_ESCAPES', 'too many levels of symbolic links', error);
    throw error;
  } finally {
    closeSync(root);
  }
}

function makeMountPoint(target: string, isDirectory: boolean): void {
  removeMountPoint(target);
  if (isDirectory) mkdirSync(target, { mode: 0o700 });
  else writeFileSync(target, '', { mode: 0o600, flag: 'wx' });
}

/** Never deletes what is in a directory: were the mount still there, it would be the volume's. */
function removeMountPoint(target: string): void {
  unmountIfMounted(target);
  try {
    rmdirSync(target);
  } catch (error) {
    if (isErrno(error, 'ENOTDIR')) unlinkSync(target);
    else if (!isErrno(error, 'ENOENT')) throw error;
  }
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
