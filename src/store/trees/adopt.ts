import type { ByteString } from '../../base/bytes.ts';
import { type Entry, EntryType, type Meta, type NodeDigests, type Root, type TreeId, type TreeRef } from '../model.ts';
import type { TreeContext } from '../port.ts';
import { ByteWriter } from '../tree/byte-writer.ts';
import { encodeRoot } from '../tree/codec.ts';
import { findEntry, isDirectory, sameContent, sameMeta, sameTime } from '../tree/entries.ts';
import { MutableDirectory } from '../tree/mutable-tree.ts';

/** `store.adopt`: see Trees.adopt. */
export function adoptTree(context: TreeContext, { tree, earlier }: { tree: TreeId; earlier: TreeId }): TreeRef {
  return adoptRoot(context, context.root(tree), earlier);
}

type Nodes = Pick<TreeContext, 'root' | 'node' | 'putNode' | 'putRoot'>;

/** As `adoptTree`, for a root that need not have been put. */
export function adoptRoot(context: Nodes, fresh: Root, earlier: TreeId): TreeRef {
  const old = context.root(earlier);
  const content = encodeRoot(new ByteWriter(), fresh).content;
  const oldRef = encodeRoot(new ByteWriter(), old);
  if (content === oldRef.content) return { id: oldRef.id, content };
  if (fresh.content === old.content) {
    return putAligned(context, { ...fresh, ...timeOf(sameMeta(fresh, old) ? old : fresh), full: old.full });
  }
  const { digests, sameNames } = adoptDirectory(context, fresh, old);
  return putAligned(context, { ...fresh, ...digests, ...timeOf(sameNames && sameMeta(fresh, old) ? old : fresh) });
}

/** The names of one inode have one time: where only some of them were there before, or as several files, all take that of the first. */
function putAligned(context: Nodes, root: Root): TreeRef {
  if (root.hardlinks.length === 0) return context.putRoot(root);
  const tree = new MutableDirectory(context, root);
  for (const [first, ...others] of root.hardlinks) {
    const time = first === undefined ? undefined : find(tree, first)?.entry;
    if (time === undefined) continue;
    for (const path of others) {
      const found = find(tree, path);
      if (found !== undefined && !sameTime(found.entry, time)) found.directory.set({ ...found.entry, ...timeOf(time) });
    }
  }
  return context.putRoot({ ...root, ...tree.seal() });
}

function find(root: MutableDirectory, path: ByteString): { directory: MutableDirectory; entry: Entry } | undefined {
  const names = path.split('/') as ByteString[];
  const name = names.pop() as ByteString; // a path has at least one
  let directory = root;
  for (const part of names) {
    if (!isDirectory(directory.get(part))) return undefined;
    directory = directory.child(part);
  }
  const entry = directory.get(name);
  return entry === undefined ? undefined : { directory, entry };
}

/**
 * Walks only where the contents differ. What is equal is taken over whole, its subtree's times with it. A directory that differs below
 * but has the same metadata and the same names keeps its earlier time: nothing was added to it or removed from it.
 */
function adoptDirectory(context: Nodes, fresh: NodeDigests, old: NodeDigests): { digests: NodeDigests; sameNames: boolean } {
  const [entries, oldEntries] = [context.node(fresh.full), context.node(old.full)];
  const adopted = entries.map((entry) => adoptEntry(context, entry, findEntry(oldEntries, entry.name)));
  const sameNames = entries.length === oldEntries.length && entries.every((entry, i) => entry.name === oldEntries[i]?.name);
  return { digests: context.putNode(adopted), sameNames };
}

function adoptEntry(context: Nodes, entry: Entry, old: Entry | undefined): Entry {
  if (old === undefined) return entry;
  if (sameContent(entry, old)) return old;
  if (!isDirectory(entry) || !isDirectory(old)) return entry;
  if (entry.content === old.content) return { ...entry, full: old.full };
  const { digests, sameNames } = adoptDirectory(context, entry, old);
  return { ...entry, ...digests, ...timeOf(sameNames && sameMeta(entry, old) ? old : entry), type: EntryType.directory };
}

function timeOf({ mtimeSec, mtimeNsec }: Meta) {
  return { mtimeSec, mtimeNsec };
}
