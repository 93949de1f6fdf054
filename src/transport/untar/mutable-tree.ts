import type { ByteString } from '../../base/bytes.ts';
import { type Entry, EntryType, type Meta, type NodeDigests, type Root, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';

/** A tree's entry without what its place gives it: distributes over the kinds of entries. */
type Nameless<T> = T extends Entry ? Omit<T, 'name'> : never;
export type LeafFields = Nameless<Exclude<Entry, { type: typeof EntryType.directory }>>;

/** Anything but a directory. Names that share one Leaf are hardlinks of each other. */
export type Leaf = { readonly kind: 'leaf'; readonly fields: LeafFields; readonly generation: number; shared: boolean };

/**
 * A directory that can still change. `generation` tells which layer named it last (0: the base), so that a layer's whiteouts hide only
 * what lies below that layer. Children are read from the base when first asked for.
 */
export type Directory = {
  readonly kind: 'directory';
  meta: Meta;
  generation: number;
  /** Which layer gave it its metadata; one that only has something in it does not. */
  named: number;
  readonly parent: Directory | undefined;
  readonly name: ByteString;
  readonly depth: number;
  base: NodeDigests | undefined;
  loaded: Map<ByteString, TreeNode> | undefined;
};
export type TreeNode = Leaf | Directory;

export const plainDirectory: Meta = { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };

/** A tree in memory, changed in place and written at the end: only directories that were looked into are encoded again. */
export class MutableTree {
  readonly root: Directory;
  readonly #context: TreeContext;

  constructor(context: TreeContext, base: TreeId | undefined) {
    this.#context = context;
    const root = base === undefined ? undefined : context.root(base);
    this.root = {
      kind: 'directory',
      meta: root ?? plainDirectory,
      generation: 0,
      named: 0,
      parent: undefined,
      name: '' as ByteString,
      depth: 0,
      base: root,
      loaded: root === undefined ? new Map() : undefined,
    };
    if (root !== undefined) this.#joinHardlinks(root);
  }

  children(directory: Directory): Map<ByteString, TreeNode> {
    directory.loaded ??= this.#load(directory);
    return directory.loaded;
  }

  /** `named`: false for one that is only there for what lies in it. */
  makeDirectory(parent: Directory, name: ByteString, meta: Meta, generation: number, named: boolean): Directory {
    const made: Directory = {
      kind: 'directory',
      meta,
      generation,
      named: named ? generation : 0,
      parent,
      name,
      depth: parent.depth + 1,
      base: undefined,
      loaded: new Map(),
    };
    this.children(parent).set(name, made);
    return made;
  }

  /** Removes what is not of this generation, at any depth: the metadata too of directories that this one never named. */
  purgeOlder(directory: Directory, generation: number): void {
    if (directory.loaded === undefined) {
      directory.loaded = new Map();
      return;
    }
    for (const [name, child] of directory.loaded) {
      if (child.generation !== generation) directory.loaded.delete(name);
      else if (child.kind === 'directory') this.purgeWhole(child, generation);
    }
  }

  /** As `purgeOlder`, and of the directory itself. */
  purgeWhole(directory: Directory, generation: number): void {
    if (directory.named !== generation) directory.meta = plainDirectory;
    this.purgeOlder(directory, generation);
  }

  /** Paths of the directories that nothing has named, sorted. Of a tree made from nothing. */
  unnamed(): ByteString[] {
    const paths: ByteString[] = [];
    const visit = (directory: Directory, path: string) => {
      if (directory.named === 0) paths.push(path as ByteString);
      for (const [name, child] of this.children(directory)) {
        if (child.kind === 'directory') visit(child, path === '' ? name : `${path}/${name}`);
      }
    };
    visit(this.root, '');
    return paths.sort();
  }

  /** Writes what changed and the root record. */
  finish(): TreeRef {
    const groups = new Map<Leaf, ByteString[]>();
    const digests = this.#encode(this.root, '' as ByteString, groups);
    const hardlinks = [...groups.values()].filter((paths) => paths.length > 1).map((paths) => paths.sort());
    hardlinks.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
    return this.#context.putRoot({ ...metaOf(this.root.meta), ...digests, hardlinks });
  }

  #load(directory: Directory): Map<ByteString, TreeNode> {
    const children = new Map<ByteString, TreeNode>();
    if (directory.base === undefined) return children;
    for (const entry of this.#context.node(directory.base.full)) children.set(entry.name, fromEntry(entry, directory));
    return children;
  }

  #encode(directory: Directory, path: ByteString, groups: Map<Leaf, ByteString[]>): NodeDigests {
    if (directory.loaded === undefined && directory.base !== undefined)
      return { full: directory.base.full, content: directory.base.content };
    const entries: Entry[] = [];
    for (const [name, child] of this.children(directory)) {
      if (child.kind === 'leaf') {
        if (child.shared) addTo(groups, child, `${path}${name}` as ByteString);
        entries.push({ ...child.fields, name });
      } else {
        const digests = this.#encode(child, `${path}${name}/` as ByteString, groups);
        entries.push({ ...metaOf(child.meta), type: EntryType.directory, name, ...digests });
      }
    }
    return this.#context.putNode(entries);
  }

  /** Gives the base's hardlinked names one leaf each group, so that they stay together or part as the changes have it. */
  #joinHardlinks(root: Root): void {
    for (const group of root.hardlinks) {
      let leaf: Leaf | undefined;
      for (const path of group) {
        const names = path.split('/') as ByteString[];
        const name = names.pop();
        const directory = this.#directoryAt(names);
        const found = name === undefined || directory === undefined ? undefined : this.children(directory).get(name);
        if (found?.kind !== 'leaf' || name === undefined || directory === undefined) continue;
        leaf ??= found;
        leaf.shared = true;
        this.children(directory).set(name, leaf);
      }
    }
  }

  #directoryAt(names: readonly ByteString[]): Directory | undefined {
    let directory = this.root;
    for (const name of names) {
      const child = this.children(directory).get(name);
      if (child?.kind !== 'directory') return undefined;
      directory = child;
    }
    return directory;
  }
}

function addTo(groups: Map<Leaf, ByteString[]>, leaf: Leaf, path: ByteString): void {
  const paths = groups.get(leaf);
  if (paths === undefined) groups.set(leaf, [path]);
  else paths.push(path);
}

function fromEntry(entry: Entry, parent: Directory): TreeNode {
  if (entry.type !== EntryType.directory) {
    const { name: _name, ...fields } = entry;
    return { kind: 'leaf', fields, generation: 0, shared: false };
  }
  return {
    kind: 'directory',
    meta: entry,
    generation: 0,
    named: 0,
    parent,
    name: entry.name,
    depth: parent.depth + 1,
    base: entry,
    loaded: undefined,
  };
}

/** The metadata alone, out of a wider object. */
export function metaOf({ mode, uid, gid, mtimeSec, mtimeNsec, xattrs }: Meta): Meta {
  return { mode, uid, gid, mtimeSec, mtimeNsec, ...(xattrs === undefined || xattrs.length === 0 ? {} : { xattrs }) };
}
