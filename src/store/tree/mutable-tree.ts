import { type ByteString, toText } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { DirectoryEntry, Entry, Meta, NodeDigests, TreeId, TreeRef } from '../model.ts';
import { EntryType } from '../model.ts';
import type { TreeContext } from '../port.ts';
import { isDirectory, sameMeta, sameTime } from './entries.ts';
import { HardlinkTable } from './hardlinks.ts';
import { type Resolved, resolveNow, resolvePath } from './resolve.ts';

type Nodes = Pick<TreeContext, 'node' | 'putNode'>;

/** What a directory gets that a path asks for and nobody made: 0755 of 0:0, at the epoch, so that equal edits give equal trees. */
export const plainDirectory: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };

/** A directory that is read when it is first looked into and encoded anew only when something in or below it changed. */
export class MutableDirectory {
  readonly #nodes: Nodes;
  readonly #source: NodeDigests | undefined;
  #entries: Map<ByteString, Entry> | undefined;
  readonly #opened = new Map<ByteString, MutableDirectory>();
  #changed = false;

  constructor(nodes: Nodes, source: NodeDigests | undefined) {
    this.#nodes = nodes;
    this.#source = source;
    if (source === undefined) this.#changed = true;
  }

  /** The entry as last set. A directory's digests in it are stale while something below is being changed. */
  get(name: ByteString): Entry | undefined {
    return this.#load().get(name);
  }

  names(): ByteString[] {
    return [...this.#load().keys()];
  }

  /** Puts an entry under its name, in place of what was there. */
  set(entry: Entry): void {
    this.#load().set(entry.name, entry);
    this.#opened.delete(entry.name);
    this.#changed = true;
  }

  /** Changes a directory's own metadata and leaves what is in it. */
  setMeta(name: ByteString, meta: Meta): void {
    const entry = this.get(name);
    if (!isDirectory(entry) || (sameMeta(entry, meta) && sameTime(entry, meta))) return;
    const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = meta;
    this.#load().set(name, { ...entry, mode, uid, gid, mtimeSec, mtimeNsec, xattrs });
    this.#changed = true;
  }

  delete(name: ByteString): boolean {
    const existed = this.#load().delete(name);
    this.#opened.delete(name);
    if (existed) this.#changed = true;
    return existed;
  }

  /** The subdirectory of that name, for looking in or changing. The entry must be a directory. */
  child(name: ByteString): MutableDirectory {
    const opened = this.#opened.get(name);
    if (opened !== undefined) return opened;
    const entry = this.get(name);
    if (!isDirectory(entry)) throw new Error(`${toText(name)} is not a directory`);
    const child = new MutableDirectory(this.#nodes, { full: entry.full, content: entry.content });
    this.#opened.set(name, child);
    return child;
  }

  /** A new, empty subdirectory. */
  makeChild(name: ByteString, meta: Meta): MutableDirectory {
    const { full, content } = this.#nodes.putNode([]);
    this.set({ type: EntryType.directory, name, ...meta, full, content });
    return this.child(name);
  }

  /** Encodes what changed, deepest first, and gives the digests of this directory as it is now. */
  seal(): NodeDigests {
    for (const [name, child] of this.#opened) {
      const digests = child.seal();
      const entry = this.get(name) as DirectoryEntry; // an opened child is a directory
      if (entry.full === digests.full) continue;
      this.#load().set(name, { ...entry, ...digests });
      this.#changed = true;
    }
    if (!this.#changed && this.#source !== undefined) return this.#source;
    return this.#nodes.putNode([...this.#load().values()]);
  }

  #load(): Map<ByteString, Entry> {
    if (this.#entries === undefined) {
      this.#entries = new Map();
      if (this.#source !== undefined) for (const entry of this.#nodes.node(this.#source.full)) this.#entries.set(entry.name, entry);
    }
    return this.#entries;
  }
}

/**
 * A tree under change: copy on write, so that the cost is that of the directories on the changed paths. Paths are real (resolved) ones,
 * relative to the root. Keep the hardlink table in step: `remove` does, `MutableDirectory.set` does not.
 */
export class MutableTree {
  readonly root: MutableDirectory;
  readonly hardlinks: HardlinkTable;
  meta: Meta;
  readonly #context: TreeContext;

  /** A new tree when `base` is undefined. */
  constructor(context: TreeContext, base?: TreeId) {
    this.#context = context;
    const root = base === undefined ? undefined : context.root(base);
    this.root = new MutableDirectory(context, root);
    this.hardlinks = new HardlinkTable(root?.hardlinks);
    this.meta = root ?? plainDirectory;
  }

  /** Follows symlinks on the way, and a last one with `follow`. Undefined when a directory on the way is missing. */
  resolve(path: ByteString, options: { follow: boolean }): Resolved<MutableDirectory> | undefined {
    return resolveNow(resolvePath(this.root, path, options), ({ directory, name }) => found(directory, name));
  }

  /** As `resolve`, but makes the directories that are missing on the way. Conflict when something else is in the way. */
  resolveForWriting(path: ByteString, options: { follow: boolean; parents?: Meta }): Resolved<MutableDirectory> {
    const resolved = resolveNow(resolvePath(this.root, path, options), ({ directory, name, last }) => {
      const there = found(directory, name);
      if (there !== undefined || last) return there;
      return { directory: directory.makeChild(name, options.parents ?? plainDirectory) };
    });
    if (resolved !== undefined) return resolved;
    throw new EngineError('Conflict', 'NOT_A_DIRECTORY', `something in the path /${toText(path)} is not a directory`, {
      hint: 'Remove that file first, or choose another destination.',
    });
  }

  /** Encodes the changed nodes and the root record. */
  finish(): TreeRef {
    const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = this.meta;
    return this.#context.putRoot({ mode, uid, gid, mtimeSec, mtimeNsec, xattrs, ...this.root.seal(), hardlinks: this.hardlinks.groups() });
  }
}

function found(directory: MutableDirectory, name: ByteString) {
  const entry = directory.get(name);
  if (entry === undefined) return undefined;
  if (entry.type === EntryType.symlink) return { link: entry.target };
  return { directory: isDirectory(entry) ? directory.child(name) : undefined };
}
