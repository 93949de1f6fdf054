import { closeSync, openSync } from 'node:fs';
import { posix } from 'node:path';
import { type ByteString, toBytes, toPathBuffer } from '../../base/bytes.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { DirectoryReader } from '../../kernel/directory.ts';
import { O, openIn } from '../../kernel/files.ts';
import { openRootView, plainView, type RootView, type ViewMount } from '../../kernel/root-view.ts';
import { S_IFDIR, S_IFLNK, S_IFMT } from '../../kernel/stat.ts';
import type { IdMap } from '../../snapshot/port.ts';
import { Owners } from './owners.ts';

/**
 * A container's root as a job is told of it: the mount; the process whose view (volumes included) is preferred while it lives; and what is to be mounted
 * over the root of one that does not run.
 */
export type LiveRoot = {
  /** As the client named it, for errors. */
  container: string;
  rootfs: string;
  pid?: number | undefined;
  mounts?: readonly ViewMount[] | undefined;
  idMap?: IdMap | undefined;
};

/** Opens a container's root directory. The caller closes it. */
export function openLiveRoot({ rootfs, pid, mounts = [], idMap }: LiveRoot, reader: DirectoryReader): RootView {
  if (pid !== undefined) return openProcessRoot(rootfs, pid, reader);
  if (mounts.length === 0) return plainView(rootfs);
  return openRootView({ rootfs, mounts, owner: new Owners(idMap).root });
}

/**
 * The view of a process is taken only when it is the same root: a pid that was given to another process meanwhile must not lead anywhere
 * else.
 */
function openProcessRoot(rootfs: string, pid: number, reader: DirectoryReader): RootView {
  const plain = plainView(rootfs);
  let live: RootView;
  try {
    live = plainView(`/proc/${pid}/root`);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES', 'ESRCH')) return plain;
    plain.close();
    throw error;
  }
  const same = reader.statFd(plain.root).inodeKey === reader.statFd(live.root).inodeKey;
  (same ? plain : live).close();
  return same ? live : plain;
}

/** The directory that holds a path's last name, and that name; '' when the path is the root. */
export type Place = { parent: number; name: ByteString };

/** A path and the container it is in, for errors. */
export type Asked = { path: string; container: string };

/**
 * Finds a path of a container: symlinks on the way are followed inside the root, the last name is not, unless the path ends in `/` or `/.`,
 * which asks for what is in a directory. The caller closes `parent`.
 */
export function openPlace(rootFd: number, asked: Asked): Place {
  const { path } = asked;
  const clean = posix.normalize(`/${path}`);
  const wantsDirectory = /(^|\/)\.?$/.test(path);
  const bare = clean.replace(/\/+$/, '');
  if (bare === '' || wantsDirectory) return { parent: openDirectory(rootFd, bare, asked), name: '' as ByteString };
  return { parent: openDirectory(rootFd, posix.dirname(bare), asked), name: toBytes(posix.basename(bare)) };
}

function openDirectory(rootFd: number, path: string | Buffer, asked: Asked): number {
  try {
    return openIn(rootFd, path, O.RDONLY | O.DIRECTORY);
  } catch (error) {
    throw explainPath(error, asked);
  }
}

/** A path that cannot be walked is the client's mistake. Anything else comes back as it is. */
export function explainPath(error: unknown, { path, container }: Asked): unknown {
  if (isErrno(error, 'ENOENT')) return pathNotFound({ path, container });
  if (isErrno(error, 'ENOTDIR')) return invalid('NOT_A_DIRECTORY', `${path} is not a directory in container ${container}`, error);
  if (isErrno(error, 'ELOOP'))
    return invalid('TOO_MANY_SYMLINKS', `${path} in container ${container} leads through too many symbolic links`, error);
  if (isErrno(error, 'ENAMETOOLONG')) return invalid('NAME_TOO_LONG', `the name ${path.slice(0, 100)}… is too long`, error);
  return error;
}

function invalid(code: string, message: string, cause: unknown): EngineError {
  return new EngineError('InvalidArgument', code, message, { cause });
}

export function pathNotFound({ path, container }: Asked): EngineError {
  return new EngineError('NotFound', 'PATH_NOT_FOUND', `Could not find the file ${path} in container ${container}`);
}

const maxSymlinks = 255;

/**
 * The absolute path in the container that `path` leads to with all symlinks followed, as far as it exists. For people and for rules about paths: by
 * the time it is read, the container may have changed what is there.
 */
export function evaluatePath(rootFd: number, path: ByteString, reader: DirectoryReader): ByteString {
  const left = path.split('/').reverse();
  let known: string[] = [];
  let followed = 0;
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      known.pop();
      continue;
    }
    const target = linkAt(rootFd, known.join('/') as ByteString, name as ByteString, reader);
    if (target === undefined || followed === maxSymlinks) {
      known.push(name);
      continue;
    }
    followed++;
    if (target.startsWith('/')) known = [];
    left.push(...target.split('/').reverse());
  }
  return `/${known.join('/')}` as ByteString;
}

/** A symlink's text; undefined for anything else, and for nothing. */
function linkAt(rootFd: number, directory: ByteString, name: ByteString, reader: DirectoryReader): ByteString | undefined {
  try {
    const parent = openIn(rootFd, toPathBuffer(directory), O.PATH | O.DIRECTORY);
    try {
      return (reader.statAt(parent, name).mode & S_IFMT) === S_IFLNK ? reader.readLinkAt(parent, name) : undefined;
    } finally {
      closeSync(parent);
    }
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL', 'ENAMETOOLONG')) return undefined;
    throw error;
  }
}

export function isDirectoryMode(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

/** A name in an open directory as a path for calls that have no descriptor form. The directory cannot be exchanged under it. */
export function pathIn(directory: number, name: ByteString): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), toPathBuffer(name)]);
}

/** Opens what is at a name itself, so that what follows reaches it and nothing that is put in its place. */
export function openEntry(directory: number, name: ByteString): number {
  return openSync(pathIn(directory, name), O.PATH | O.NOFOLLOW | O.CLOEXEC);
}
