import type { ByteString } from '../../base/bytes.ts';
import { EntryType } from '../../store/model.ts';
import { nameProblem } from '../../store/tree/names.ts';
import { type Directory, type MutableTree, plainDirectory } from './mutable-tree.ts';
import { isWhiteoutName } from './whiteouts.ts';

/** As the kernel's limit (path_resolution(7)). */
const maxSymlinks = 40;
/** Deeper than any path of PATH_MAX bytes can be; the tree is written by recursion. */
const maxDepth = 2048;

/** Thrown with what is wrong; the extractor adds which entry and where. */
export class PathProblem extends Error {}

/** Thrown while a layer is read for itself, where only the layers below can tell what an entry means. */
export class NeedsLower extends Error {}

/**
 * Splits a member's or a hardlink's name into names below the extraction root: a leading `/` and `.` are dropped, as tar does. `..` is refused
 * even where it would stay inside: no sound archive has it, and readers disagree on what it means behind a symlink.
 */
export function splitMemberName(name: ByteString): ByteString[] {
  const names: ByteString[] = [];
  for (const part of name.split('/') as ByteString[]) {
    if (part === '' || part === '.') continue;
    if (part === '..') throw new PathProblem('its name has a ".." in it, which could lead out of the root');
    const problem = nameProblem(part);
    if (problem !== undefined) throw new PathProblem(`a part of its name cannot be a file name: ${problem}`);
    names.push(part);
  }
  if (names.length > maxDepth) throw new PathProblem(`its name has ${names.length} parts, at most ${maxDepth} are allowed`);
  return names;
}

export type ResolveOptions = {
  /** Makes directories that are missing, with this generation; otherwise a missing one gives undefined. `absent`: makes them, but something else in the way gives undefined. */
  create: boolean | 'absent';
  generation: number;
  /** Layers: what lies below is not looked through. A symlink or file of an earlier generation gives way to a directory, as in an overlay. */
  overlay: boolean;
  /** The layer is read for itself: a way that depends on what the layers below have is NeedsLower. */
  alone?: boolean | undefined;
  owner?: { uid: number; gid: number } | undefined;
};

/**
 * Walks to a directory below `root`. Symlinks are followed as if `root` were `/`: absolute targets begin there and `..` ends there, so nothing
 * outside can be reached. Throws PathProblem on a file in the way and on a loop.
 */
export function resolveDirectory(
  tree: MutableTree,
  root: Directory,
  names: readonly ByteString[],
  options: ResolveOptions,
): Directory | undefined {
  const rest = [...names].reverse();
  let current = root;
  let symlinks = 0;
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (options.alone && current !== root && current.named === 0) throw new NeedsLower('a symbolic link with ".." leads through it');
      if (current !== root) current = current.parent ?? root;
      continue;
    }
    const child = tree.children(current).get(name);
    if (child?.kind === 'directory') {
      if (options.create && options.overlay) child.generation = options.generation;
      current = child;
    } else if (
      child?.kind === 'leaf' &&
      child.fields.type === EntryType.symlink &&
      !(options.overlay && child.generation !== options.generation)
    ) {
      if (++symlinks > maxSymlinks) throw new PathProblem('its path goes through too many symbolic links');
      const { target } = child.fields;
      if (target.startsWith('/')) current = root;
      rest.push(...(target.split('/').reverse() as ByteString[]));
    } else if (!options.create) {
      return undefined;
    } else if (child !== undefined && !(options.overlay && child.generation !== options.generation)) {
      if (options.create === 'absent') return undefined;
      throw new PathProblem('its path goes through an entry that is not a directory');
    } else {
      if (current.depth >= maxDepth) throw new PathProblem(`it would lie more than ${maxDepth} directories deep`);
      const problem = nameProblem(name);
      if (problem !== undefined) throw new PathProblem(`its path goes through a symbolic link with a bad name: ${problem}`);
      if (options.alone && isWhiteoutName(name)) throw new NeedsLower('a directory is named like a whiteout');
      current = tree.makeDirectory(current, name, { ...plainDirectory, ...options.owner }, options.generation, false);
    }
  }
  return current;
}

/** Whether a symlink in this directory climbs above `root` by its text alone. */
export function leavesRoot(root: Directory, parent: Directory, target: ByteString): boolean {
  if (target.startsWith('/')) return false;
  let depth = parent.depth - root.depth;
  for (const part of target.split('/')) {
    if (part === '..') depth--;
    else if (part !== '' && part !== '.') depth++;
    if (depth < 0) return true;
  }
  return false;
}
