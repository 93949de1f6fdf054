import { closeSync, constants, fstatSync, mkdirSync, openSync, readdirSync, readlinkSync, readSync, type Stats } from 'node:fs';
import { posix } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { O, openIn } from '../../kernel/files.ts';

/**
 * A directory seen as `/` by everything in it: no symlink and no `..` leads out. For the few small look-ups before a start; synchronous.
 * `mounts` are what will be mounted over it: a path below one is looked up in the mount's source.
 */
export class InRoot implements Disposable {
  readonly #fd: number;
  readonly #mounts: readonly { destination: string; source: string }[];

  constructor(rootfs: string, mounts: readonly { destination: string; source: string }[] = []) {
    this.#fd = openSync(rootfs, O.PATH | O.DIRECTORY | O.CLOEXEC);
    this.#mounts = [...mounts].sort((a, b) => b.destination.length - a.destination.length);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  /** Undefined when there is nothing; symlinks are followed. */
  stat(path: string): Stats | undefined {
    return this.#with(path, O.PATH, (fd) => fstatSync(fd));
  }

  /** Undefined when there is no such regular file; `limit` in bytes, the rest is cut. */
  read(path: string, limit: number): string | undefined {
    return this.#with(path, O.RDONLY | O.NONBLOCK, (fd) => {
      const stats = fstatSync(fd);
      if (!stats.isFile()) return undefined;
      const buffer = Buffer.alloc(Math.min(stats.size, limit));
      let length = 0;
      while (length < buffer.length) {
        const count = readSync(fd, buffer, length, buffer.length - length, null);
        if (count === 0) break;
        length += count;
      }
      return buffer.toString('utf8', 0, length);
    });
  }

  /** Makes the directory and its missing parents, 0755 of root. EEXIST or ENOTDIR when something else is in the way. */
  makeDirectory(path: string): void {
    if (this.#below(path)) return;
    const names = posix
      .normalize(`/${path}`)
      .split('/')
      .filter((name) => name !== '');
    for (const [index, name] of names.entries()) {
      const parent = openIn(this.#fd, names.slice(0, index).join('/'), O.PATH | O.DIRECTORY);
      try {
        mkdirSync(`/proc/self/fd/${parent}/${name}`, 0o755);
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error;
        closeSync(openIn(this.#fd, names.slice(0, index + 1).join('/'), O.PATH | O.DIRECTORY));
      } finally {
        closeSync(parent);
      }
    }
  }

  /** The missing ones of `path` and its parents, relative to the root, outermost first. */
  missing(path: string): string[] {
    const names = posix
      .normalize(`/${path}`)
      .split('/')
      .filter((name) => name !== '');
    const paths = names.map((_, index) => names.slice(0, index + 1).join('/'));
    const first = paths.findIndex((candidate) => this.stat(`/${candidate}`) === undefined);
    return first === -1 ? [] : paths.slice(first);
  }

  /** Names in a directory; none when there is no such directory. */
  list(path: string): string[] {
    return this.#with(path, O.PATH | O.DIRECTORY, (fd) => readdirSync(`/proc/self/fd/${fd}`)) ?? [];
  }

  /** A descriptor (O_PATH), for a child that gets it; undefined when nothing is there. The caller closes it. */
  open(path: string): number | undefined {
    return this.#find(path, O.PATH);
  }

  #with<T>(path: string, flags: number, use: (fd: number) => T): T | undefined {
    const fd = this.#find(path, flags);
    if (fd === undefined) return undefined;
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** Symlinks at the end are followed by hand, since they may lead below a mount. */
  #find(path: string, flags: number): number | undefined {
    let current = posix.normalize(`/${path}`);
    for (let hops = 0; hops < 16; hops++) {
      const target = this.#readLink(current);
      if (target === undefined) return this.#openExact(current, flags);
      current = posix.normalize(target.startsWith('/') ? target : `${posix.dirname(current)}/${target}`);
    }
    return undefined;
  }

  #readLink(path: string): string | undefined {
    const fd = this.#openExact(path, O.PATH | O.NOFOLLOW);
    if (fd === undefined) return undefined;
    try {
      // An empty path reads the link that the descriptor itself is; Node has no readlinkat, so its /proc name says where it points.
      if ((fstatSync(fd).mode & constants.S_IFMT) !== constants.S_IFLNK) return undefined;
      const parent = this.#openExact(posix.dirname(path), O.PATH | O.DIRECTORY);
      if (parent === undefined) return undefined;
      try {
        return readlinkSync(`/proc/self/fd/${parent}/${posix.basename(path)}`);
      } finally {
        closeSync(parent);
      }
    } finally {
      closeSync(fd);
    }
  }

  #openExact(path: string, flags: number): number | undefined {
    const mount = this.#below(path);
    try {
      if (!mount) return openIn(this.#fd, path, flags);
      const rest = path.slice(mount.destination === '/' ? 0 : mount.destination.length);
      if (rest === '') return openSync(mount.source, flags | O.CLOEXEC);
      const source = openSync(mount.source, O.PATH | O.DIRECTORY | O.CLOEXEC);
      try {
        return openIn(source, rest, flags);
      } finally {
        closeSync(source);
      }
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENXIO', 'ENAMETOOLONG')) return undefined;
      throw error;
    }
  }

  #below(path: string): { destination: string; source: string } | undefined {
    const clean = posix.normalize(`/${path}`);
    return this.#mounts.find(({ destination }) => clean === destination || clean.startsWith(`${destination}/`));
  }
}
