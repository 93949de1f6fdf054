import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';

/** NAME_MAX of every Linux file system that a tree can be mounted from. */
export const maxNameBytes = 255;
/** A path's limit inside a tree. Longer than PATH_MAX, which bounds one system call and not the depth of a directory. */
export const maxPathBytes = 65_536;

/** What is wrong with a name of a directory entry; undefined when it may be used. */
export function nameProblem(name: string): string | undefined {
  if (name.length === 0) return 'it is empty';
  if (name.length > maxNameBytes) return `it has ${name.length} bytes, more than ${maxNameBytes}`;
  if (name === '.' || name === '..') return 'it has a meaning of its own';
  if (name.includes('/')) return 'it holds a slash';
  if (name.includes('\0')) return 'it holds a NUL byte';
  return undefined;
}

export function checkName(name: ByteString): void {
  const problem = nameProblem(name);
  if (problem === undefined) return;
  throw new EngineError(
    'InvalidArgument',
    'NAME_INVALID',
    `"${toText(name.slice(0, 300) as ByteString)}" cannot be a file name: ${problem}`,
  );
}

/** Checks a hardlink path: relative, names joined by single slashes. */
export function pathProblem(path: string): string | undefined {
  if (path.length > maxPathBytes) return `it has ${path.length} bytes, more than ${maxPathBytes}`;
  for (const name of path.split('/')) {
    const problem = nameProblem(name);
    if (problem !== undefined) return `its part "${name.slice(0, 100)}": ${problem}`;
  }
  return undefined;
}
