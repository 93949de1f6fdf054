import { closeSync, openSync } from 'node:fs';
import { posix } from 'node:path';
import { type ByteString, toBytes, toPathBuffer } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { DirectoryReader } from '../../kernel/directory.ts';
import { O, openIn } from '../../kernel/files.ts';
import { S_IFDIR, S_IFMT } from '../../kernel/stat.ts';

/** A container's root as a job is told of it: the mount, and the process whose view (volumes included) is preferred while it lives. */
export type LiveRoot = { rootfs: string; pid?: number | undefined };

/**
 * Opens a container's root directory. The view of its process is taken only when it is the same root: a pid that was given to another
 * process meanwhile must not lead anywhere else. The caller closes the descriptor.
 */
export function openLiveRoot({ rootfs, pid }: LiveRoot, reader: DirectoryReader): number {
  const plain = reader.open(rootfs);
  if (pid === undefined) return plain;
  let live: number;
  try {
    live = openSync(`/proc/${pid}/root`, O.RDONLY | O.DIRECTORY | O.CLOEXEC);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES', 'ESRCH')) return plain;
    throw error;
  }
  const same = reader.statFd(plain).inodeKey === reader.statFd(live).inodeKey;
  closeSync(same ? plain : live);
  return same ? live : plain;
}

/** The directory that holds a path's last name, and that name; '' when the path is the root. */
export type Place = { parent: number; name: ByteString };

/**
 * Finds a path of a container: symlinks on the way are followed inside the root, the last name is not, unless the path ends in `/` or `/.`,
 * which asks for what is in a directory. The caller closes `parent`.
 */
export function openPlace(rootFd: number, path: string): Place {
  const clean = posix.normalize(`/${path}`);
  const wantsDirectory = /(^|\/)\.?$/.test(path);
  const bare = clean.replace(/\/+$/, '');
  if (bare === '' || wantsDirectory) return { parent: openDirectory(rootFd, bare, path), name: '' as ByteString };
  return { parent: openDirectory(rootFd, posix.dirname(bare), path), name: toBytes(posix.basename(bare)) };
}

export function openDirectory(rootFd: number, path: string | Buffer, asked: string): number {
  try {
    return openIn(rootFd, path, O.RDONLY | O.DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw pathNotFound(asked);
    if (isErrno(error, 'ENOTDIR'))
      throw new EngineError('InvalidArgument', 'NOT_A_DIRECTORY', `${asked} is not a directory in the container`);
    throw error;
  }
}

export function pathNotFound(path: string): EngineError {
  return new EngineError('NotFound', 'PATH_NOT_FOUND', `Could not find the file ${path} in the container`);
}

export function isDirectoryMode(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

/** A name in an open directory as a path for calls that have no descriptor form. The directory cannot be exchanged under it. */
export function pathIn(directory: number, name: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), toPathBuffer(name)]);
}
