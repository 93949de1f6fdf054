import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Entry, Root } from '../../store/model.ts';
import { findEntry, isDirectory, sameBody, sameMeta, sameTime } from '../../store/tree/entries.ts';

type Node = (full: Hex) => readonly Entry[];
type Group = readonly ByteString[];

/**
 * What a layer has to say of hardlinks. `groups`: those of `after` that go into it, whole. `paths`: all their names, and names that were linked before and no longer are: each has
 * to be written though its entry may be as before. `touched`: paths that are written anyway.
 *
 * A group may stay below when all its names are there unchanged and were one file already. When one file became several, the one with the first name stays.
 */
export function relinkedPaths(
  node: Node,
  before: Root,
  after: Root,
  touched: (path: ByteString) => boolean,
): { paths: Set<ByteString>; groups: Group[] } {
  const paths = new Set<ByteString>();
  const groups: Group[] = [];
  if (before.hardlinks.length === 0 && after.hardlinks.length === 0) return { paths, groups };
  const oldGroup = new Map(before.hardlinks.flatMap((group) => group.map((path) => [path, group] as const)));
  const unchanged = (path: ByteString) => !touched(path) && sameEntry(entryAt(node, before, path), entryAt(node, after, path));
  const grouped = new Set(after.hardlinks.flat());
  const staying: Group[] = [];
  for (const group of after.hardlinks) {
    const old = oldGroup.get(group[0] as ByteString);
    const stays = old !== undefined && group.every((path) => oldGroup.get(path) === old && unchanged(path));
    (stays ? staying : groups).push(group);
  }
  for (const path of oldGroup.keys()) if (!grouped.has(path) && unchanged(path)) staying.push([path]);
  const taken = new Set<Group>();
  for (const group of staying.sort((a, b) => ((a[0] as ByteString) < (b[0] as ByteString) ? -1 : 1))) {
    const old = oldGroup.get(group[0] as ByteString) as Group; // only such groups stay
    if (!taken.has(old)) taken.add(old);
    else if (group.length > 1) groups.push(group);
    else for (const path of group) paths.add(path);
  }
  for (const group of groups) for (const path of group) paths.add(path);
  return { paths, groups };
}

function sameEntry(before: Entry | undefined, after: Entry | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  return sameMeta(before, after) && sameTime(before, after) && sameBody(before, after, 'full');
}

function entryAt(node: Node, root: Root, path: ByteString): Entry | undefined {
  let full: Hex | undefined = root.full;
  let entry: Entry | undefined;
  for (const name of path.split('/')) {
    if (full === undefined) return undefined;
    entry = findEntry(node(full), name);
    full = isDirectory(entry) ? entry.full : undefined;
  }
  return entry;
}
