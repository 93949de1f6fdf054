import { closeSync, fsyncSync, openSync, statSync } from 'node:fs';
import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type FileEntry, type NodeDigests, type Root, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { ByteWriter } from '../../store/tree/byte-writer.ts';
import { encodeRoot } from '../../store/tree/codec.ts';
import { findEntry, isDirectory, sameContent } from '../../store/tree/entries.ts';
import type { Chunk } from '../frames/model.ts';
import { invalidForm } from './errors.ts';
import type { HeadTree } from './head.ts';
import { decodeStream } from './stream/decode.ts';
import type { ReceivedStream } from './stream/receive.ts';
import { absentAttribute, chunksOf } from './stream/records.ts';
import type { DirectoryTable } from './stream/tree-stream.ts';

/** An object that is not here. */
export type MissingObject = {
  readonly object: Hex;
  readonly size: number;
  readonly chunks: readonly Chunk[] /** A path of it, for people. */;
  readonly name: ByteString;
};

/** An object younger than this may be another job's, whose name is not durable yet. */
const youngMs = 60_000;

/** Whether objects are here, each looked at once. */
export class Presence {
  readonly #context: TreeContext;
  readonly #seen = new Map<Hex, number>();
  readonly #young = new Set<string>();

  constructor(context: TreeContext) {
    this.#context = context;
  }

  /** The object's size in bytes; undefined when it is not here. */
  sizeOf(object: Hex): number | undefined {
    const seen = this.#seen.get(object);
    if (seen !== undefined) return seen < 0 ? undefined : seen;
    const stat = statSync(this.#context.objectPath(object), { throwIfNoEntry: false });
    this.#seen.set(object, stat?.size ?? -1);
    if (stat !== undefined && stat.ctimeMs > Date.now() - youngMs) this.#young.add(object.slice(0, 2));
    return stat?.size;
  }

  /** What was found here and may be another job's is made as durable as what this job writes. */
  settle(): void {
    for (const folder of this.#young) {
      const fd = openSync(`${this.#context.paths.objects}/${folder}`, 'r');
      try {
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    }
  }
}

export type TreeOnTheWay = { readonly root: Root; readonly missing: MissingObject[]; readonly directories: DirectoryTable };

/** Reads a stream, puts its nodes, and checks the tree's id. The root is not put: what it needs may be missing. */
export function readTree(context: TreeContext, tree: HeadTree, stream: ReceivedStream, presence: Presence, what: string): TreeOnTheWay {
  const missing = new Map<Hex, MissingObject>();
  const decoded = decodeStream(stream.bytes, {
    what,
    putNode: (entries) => context.putNode(entries),
    shared: stream.shared,
    file: (record) => {
      const { entry } = record;
      const size = presence.sizeOf(entry.object);
      if (size === undefined) {
        if (!missing.has(entry.object)) {
          missing.set(entry.object, { object: entry.object, size: entry.size, chunks: chunksOf(record, stream.bytes), name: entry.name });
        } else if (missing.get(entry.object)?.size !== entry.size) throw sizeDiffers(what, entry);
      } else if (size !== entry.size) throw sizeDiffers(what, entry);
      return entry;
    },
  });
  const root = rootOf(tree, decoded);
  checkId(tree, root, what);
  checkHardlinks(context, root, what);
  return { root, missing: [...missing.values()], directories: decoded.directories };
}

function sizeDiffers(what: string, { name, size }: FileEntry): EngineError {
  return invalidForm(what, `"${toText(name)}" is said to have ${size} bytes, which is not what its content has`);
}

/**
 * Puts the tree of a layer, for comparing entries. A file whose content is not here becomes an empty one that carries the digest as an extended attribute: every committed tree is one whose
 * files are here, which others rely on. Then `whole` is false.
 */
export function importLayerTree(
  context: TreeContext,
  tree: HeadTree,
  stream: ReceivedStream,
  presence: Presence,
  what: string,
): TreeRef & { whole: boolean } {
  let absent = 0;
  const file = ({ entry }: { entry: FileEntry }) => {
    if (presence.sizeOf(entry.object) !== entry.size) absent++;
    return entry;
  };
  const decoded = decodeStream(stream.bytes, { what, putNode: (entries) => context.putNode(entries), file, shared: stream.shared });
  const root = rootOf(tree, decoded);
  checkId(tree, root, what);
  if (absent === 0) {
    checkHardlinks(context, root, what);
    return { ...context.putRoot(root), whole: true };
  }
  const empty = context.putBytes(new Uint8Array()).object;
  const marked = decodeStream(stream.bytes, {
    what,
    putNode: (entries) => context.putNode(entries),
    shared: stream.shared,
    file: ({ entry }) =>
      presence.sizeOf(entry.object) === entry.size
        ? entry
        : {
            ...entry,
            size: 0,
            object: empty,
            xattrs: [[absentAttribute, Buffer.from(entry.object, 'hex').toString('latin1') as ByteString]],
          },
  });
  const markedRoot = rootOf(tree, marked);
  checkHardlinks(context, markedRoot, what);
  return { ...context.putRoot(markedRoot), whole: false };
}

/** A tree that is committed: its content is here then. */
export function presentTree(context: TreeContext, { id }: HeadTree): TreeRef | undefined {
  try {
    const { content } = encodeRoot(new ByteWriter(4096), context.root(id));
    return { id, content };
  } catch (error) {
    if (error instanceof EngineError && error.code === 'TREE_NOT_FOUND') return undefined;
    throw error;
  }
}

function rootOf({ meta, hardlinks }: HeadTree, { full, content }: NodeDigests): Root {
  return { ...meta, full, content, hardlinks };
}

function checkId(tree: HeadTree, root: Root, what: string): void {
  const found = treeIdOf(root, what);
  if (found !== tree.id) throw invalidForm(what, `it leads to tree ${found} and not to ${tree.id}`);
}

function treeIdOf(root: Root, what: string): TreeId {
  try {
    return encodeRoot(new ByteWriter(4096), root).id;
  } catch (error) {
    if (error instanceof EngineError && error.kind === 'InvalidArgument') throw invalidForm(what, error.message);
    throw error;
  }
}

/** Names of one inode must be the same file, and none a directory. */
function checkHardlinks(context: TreeContext, root: Root, what: string): void {
  for (const group of root.hardlinks) {
    let first: Entry | undefined;
    for (const path of group) {
      const entry = entryAt(context, root, path);
      if (entry === undefined || entry.type === EntryType.directory || (first !== undefined && !sameContent(first, entry))) {
        throw invalidForm(what, `the hard link "${toText(path)}" is not the file that it is said to be`);
      }
      first ??= entry;
    }
  }
}

function entryAt(context: TreeContext, root: Root, path: ByteString): Entry | undefined {
  let full: Hex | undefined = root.full;
  let entry: Entry | undefined;
  for (const name of path.split('/')) {
    entry = full === undefined ? undefined : findEntry(context.node(full), name);
    full = isDirectory(entry) ? entry.full : undefined;
  }
  return entry;
}
