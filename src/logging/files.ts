import { closeSync, fstatSync, openSync, readdirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';

/** Names in a spool's folder, docs/formats/log-spool.md: `spool` is being written, `spool.7` is older than `spool.8` is older than `spool`. */
export const currentName = 'spool';
export const temporaryName = 'spool.tmp';

export function currentPath(directory: string): string {
  return join(directory, currentName);
}

/** Numbers of the closed files, oldest first. Empty when the folder is missing. */
export function closedNumbers(directory: string): number[] {
  try {
    return readdirSync(directory)
      .flatMap((name) => /^spool\.(\d+)$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

export function closedPath(directory: string, number: number): string {
  return join(directory, `${currentName}.${number}`);
}

/** All files, oldest first; the current one last, when it is there. */
export function spoolPaths(directory: string): string[] {
  const closed = closedNumbers(directory).map((number) => closedPath(directory, number));
  return statIfThere(currentPath(directory)) ? [...closed, currentPath(directory)] : closed;
}

export function statIfThere(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

export function sameFile(a: Pick<Stats, 'dev' | 'ino'>, b: Pick<Stats, 'dev' | 'ino'> | undefined): boolean {
  return b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

/** An open file of a spool. It can be read on after it was renamed or removed. */
export class SpoolFile implements Disposable {
  readonly path: string;
  readonly fd: number;
  readonly identity: Pick<Stats, 'dev' | 'ino'>;

  /** Undefined when it is gone. */
  static open(path: string): SpoolFile | undefined {
    try {
      return new SpoolFile(path, openSync(path, 'r'));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
    const { dev, ino } = fstatSync(fd);
    this.identity = { dev, ino };
  }

  get size(): number {
    return fstatSync(this.fd).size;
  }

  get removed(): boolean {
    return fstatSync(this.fd).nlink === 0;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/**
 * The file that follows `file`, which is open: undefined when it is the newest. Names change under a reader, so it is found again by its inode; when the
 * rotation has removed it, the oldest that is left follows.
 */
export function nextFile(directory: string, file: SpoolFile): SpoolFile | undefined {
  for (let attempt = 0; attempt < 10; attempt++) {
    const paths = spoolPaths(directory);
    const index = paths.findIndex((path) => sameFile(file.identity, statIfThere(path)));
    // It has a name, but got another one between the listing and the look at it.
    if (index === -1 && !file.removed) continue;
    if (index === paths.length - 1) return undefined;
    const next = SpoolFile.open(paths[index + 1] ?? '');
    // A rename between the listing and the open shows as the same file, or as none.
    if (next && !sameFile(next.identity, file.identity)) return next;
    next?.[Symbol.dispose]();
  }
  return undefined;
}

/** More than this many files are not held open ahead of a reader: at the usual size, 6 GB. */
const aheadLimit = 64;

/**
 * The files that a slow reader has yet to read, opened when they appear: what a rotation removes meanwhile is still there for it. A
 * reader that falls behind by more than the limit loses what is removed, as one that came later would.
 */
export class FilesAhead implements Disposable {
  readonly #directory: string;
  readonly #files: SpoolFile[] = [];
  #last: SpoolFile | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The file that the reader begins with; it stays the reader's. */
  start(file: SpoolFile): void {
    this.#last = file;
  }

  /** Opens what has appeared behind the last file known. */
  extend(): void {
    while (this.#last && this.#files.length < aheadLimit) {
      const next = nextFile(this.#directory, this.#last);
      if (!next) return;
      this.#files.push(next);
      this.#last = next;
    }
  }

  /** The next file, for the reader to close; undefined when it has the newest. */
  next(): SpoolFile | undefined {
    this.extend();
    return this.#files.shift();
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }
}
