import { type Entry, EntryType, type Meta, type NodeDigests, type Root, type TreeId, type TreeRef } from '../model.ts';
import type { TreeContext } from '../port.ts';
import { ByteWriter } from '../tree/byte-writer.ts';
import { encodeRoot } from '../tree/codec.ts';
import { findEntry, isDirectory, sameContent, sameMeta } from '../tree/entries.ts';

/** `store.adopt`: see Trees.adopt. */
export function adoptTree(context: TreeContext, { tree, earlier }: { tree: TreeId; earlier: TreeId }): TreeRef {
  return adoptRoot(context, context.root(tree), earlier);
}

/** As `adoptTree`, for a root that need not have been put. */
export function adoptRoot(context: TreeContext, fresh: Root, earlier: TreeId): TreeRef {
  const old = context.root(earlier);
  const content = encodeRoot(new ByteWriter(), fresh).content;
  const oldRef = encodeRoot(new ByteWriter(), old);
  if (content === oldRef.content) return { id: oldRef.id, content };
  if (fresh.content === old.content) return context.putRoot({ ...fresh, ...timeOf(sameMeta(fresh, old) ? old : fresh), full: old.full });
  const { digests, sameNames } = adoptDirectory(context, fresh, old);
  return context.putRoot({ ...fresh, ...digests, ...timeOf(sameNames && sameMeta(fresh, old) ? old : fresh) });
}

/**
 * Walks only where the contents differ. What is equal is taken over whole, its subtree's times with it. A directory that differs below
 * but has the same metadata and the same names keeps its earlier time: nothing was added to it or removed from it.
 */
function adoptDirectory(context: TreeContext, fresh: NodeDigests, old: NodeDigests): { digests: NodeDigests; sameNames: boolean } {
  const [entries, oldEntries] = [context.node(fresh.full), context.node(old.full)];
  const adopted = entries.map((entry) => adoptEntry(context, entry, findEntry(oldEntries, entry.name)));
  const sameNames = entries.length === oldEntries.length && entries.every((entry, i) => entry.name === oldEntries[i]?.name);
  return { digests: context.putNode(adopted), sameNames };
}

function adoptEntry(context: TreeContext, entry: Entry, old: Entry | undefined): Entry {
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
