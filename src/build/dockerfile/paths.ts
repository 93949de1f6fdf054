import { posix } from 'node:path';

/** `path` seen from `directory`, absolute and clean; a final `/` or `/.` is kept, since it says that a directory is meant. */
export function absolutePath(directory: string, path: string): string {
  const joined = posix.resolve('/', directory, path);
  if (path === '' || path === '.' || path.endsWith('/')) return joined === '/' ? '/' : `${joined}/`;
  if (path.endsWith('/.')) return joined === '/' ? '/' : `${joined}/.`;
  return joined;
}

/** A source of COPY: absolute inside its tree; `..` never leaves it. */
export function sourcePath(path: string): string {
  return posix.resolve('/', `./${path}`);
}

export function hasWildcard(path: string): boolean {
  return /[*?[]/.test(path.replace(/\\[\s\S]/g, ''));
}
