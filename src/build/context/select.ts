import { lstat, readdir } from 'node:fs/promises';
import { posix } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import type { ContextPath } from './build-context.ts';

const pathLimit = 50;

/**
 * Ignore lines that leave only what a build's paths need of a directory, or undefined when all of it is to be read: for `COPY . .`, a wildcard in the first
 * name, a symlink on the way (it may lead anywhere in the context), or a name that means something in a pattern. They go before the user's own
 * lines, whose `!` can only bring back more.
 */
export async function selectPaths(directory: string, paths: readonly ContextPath[]): Promise<string[] | undefined> {
  const chosen = new Set<string>();
  for (const { path, wildcard } of paths) {
    const prefix = await readablePrefix(directory, path, wildcard);
    if (prefix === undefined) return undefined;
    chosen.add(prefix);
  }
  if (chosen.size === 0 || chosen.size > pathLimit) return undefined;
  return ['*', ...[...chosen].sort().map((path) => `!${path}`)];
}

async function readablePrefix(directory: string, path: string, wildcard: boolean): Promise<string | undefined> {
  const names = path.split('/').filter((name) => name !== '');
  const first = wildcard ? names.findIndex((name) => /[*?[\\]/.test(name)) : -1;
  const literal = first < 0 ? names : names.slice(0, first);
  if (literal.length === 0 || !literal.every((name) => /^[\w@+=,.-]+$/.test(name))) return undefined;
  for (let depth = 1; depth <= literal.length; depth++) {
    if (await isSymlink(posix.join(directory, ...literal.slice(0, depth)))) return undefined;
  }
  if (first >= 0) {
    // Links that the wildcard may match lead out of the part that would be read.
    if (first < names.length - 1 || (await hasSymlinks(posix.join(directory, ...literal)))) return undefined;
  }
  return literal.join('/');
}

async function isSymlink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

async function hasSymlinks(path: string): Promise<boolean> {
  try {
    return (await readdir(path, { withFileTypes: true })).some((entry) => entry.isSymbolicLink());
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}
