import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import { type DirectoryEntry, type Entry, EntryType, type NodeDigests, type Root } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { isAtOrBelow, isDirectory, joinPath, sameBody, sameMeta, sameTime } from '../../store/tree/entries.ts';
import { maxNameBytes } from '../../store/tree/names.ts';
import { unsayable, whiteoutPrefix } from '../tar/tree-tar.ts';
import { relinkedPaths } from './relinked.ts';

const opaqueName = '.wh..wh..opq' as ByteString;

export type LayerRoot = { readonly root: Root; readonly entries: number; readonly bytes: number; readonly empty: boolean };

type Nodes = Pick<TreeContext, 'node' | 'putNode'>;
type Weight = { readonly entries: number; readonly bytes: number };

/**
 * What has to be unpacked over `before` to give `after`: a layer's own tree, with deletions as files. Directories on the way to a change are in it with their metadata, and
 * hardlink groups are in it whole. `whiteout` gives the content of a deletion.
 */
export function diffLayer(nodes: Nodes, before: Root, after: Root, whiteout: Hex): LayerRoot {
  // A directory whose deletions cannot be said (a name too long for its prefix) is written anew, and all hardlinks that reach into it: rare, and found on the way.
  const rewritten = new Set<ByteString>();
  for (;;) {
    const known = rewritten.size;
    const diff = new LayerDiff(nodes, { before, after, whiteout, rewritten });
    const result = diff.run();
    if (rewritten.size === known) return result;
  }
}

class LayerDiff {
  readonly #nodes: Nodes;
  readonly #before: Root;
  readonly #after: Root;
  readonly #whiteout: Hex;
  readonly #rewritten: Set<ByteString>;
  readonly #relinked: ReadonlySet<ByteString>;
  readonly #groups: readonly (readonly ByteString[])[];
  /** Directories with a relinked name below: equal digests do not mean that there is nothing to say. */
  readonly #onTheWay = new Set<string>();
  readonly #sizes = new Map<ByteString, number>();
  readonly #weights = new Map<Hex, Weight>();
  #entries = 0;
  #bytes = 0;

  constructor(nodes: Nodes, options: { before: Root; after: Root; whiteout: Hex; rewritten: Set<ByteString> }) {
    this.#nodes = nodes;
    this.#before = options.before;
    this.#after = options.after;
    this.#whiteout = options.whiteout;
    this.#rewritten = options.rewritten;
    const isRewritten = (path: ByteString) => [...options.rewritten].some((directory) => isAtOrBelow(path, directory));
    const { paths, groups } = relinkedPaths((full) => nodes.node(full), options.before, options.after, isRewritten);
    this.#relinked = paths;
    this.#groups = groups;
    for (const path of paths) {
      for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) this.#onTheWay.add(path.slice(0, slash));
      this.#onTheWay.add('');
    }
    for (const group of groups) for (const path of group.slice(1)) this.#sizes.set(path, 0);
  }

  run(): LayerRoot {
    const { full: _full, content: _content, hardlinks: _hardlinks, ...meta } = this.#after;
    const entries = this.#directory(this.#before.full, this.#after.full, '' as ByteString);
    const root: Root = { ...meta, ...this.#nodes.putNode(entries), hardlinks: this.#groups };
    const sameRoot = sameMeta(this.#before, this.#after) && sameTime(this.#before, this.#after);
    return { root, entries: this.#entries, bytes: this.#bytes, empty: sameRoot && entries.length === 0 };
  }

  /** The layer's entries of a directory that is in both. None when there is nothing to say of what is in it. */
  #directory(before: Hex, after: Hex, path: ByteString): readonly Entry[] {
    if (before === after && !this.#onTheWay.has(path) && !this.#rewritten.has(path)) return [];
    const [old, fresh] = [this.#nodes.node(before), this.#nodes.node(after)];
    if (this.#rewritten.has(path)) return [this.#deletion(opaqueName), ...fresh.map((entry) => this.#whole(entry, path))].sort(byName);
    const said: Entry[] = [];
    const gone: ByteString[] = [];
    let keeps = false;
    for (let i = 0, j = 0; i < old.length || j < fresh.length; ) {
      const [a, b] = [old[i], fresh[j]];
      if (b === undefined || (a !== undefined && a.name < b.name)) {
        if (a !== undefined) gone.push(a.name);
        i++;
      } else if (a === undefined || b.name < a.name) {
        said.push(this.#whole(b, path));
        j++;
      } else {
        const change = this.#change(a, b, path);
        if (change !== undefined) said.push(change);
        if (change === undefined || (isDirectory(a) && isDirectory(b))) keeps = true;
        i++;
        j++;
      }
    }
    if (gone.length === 0) return said;
    return [...said, ...this.#deletions(gone, keeps, path)].sort(byName);
  }

  /** `keeps`: something of the directory below shows through, so that it cannot be hidden as a whole. */
  #deletions(gone: readonly ByteString[], keeps: boolean, path: ByteString): Entry[] {
    if (!keeps && gone.length > 1) return [this.#deletion(opaqueName)];
    if (gone.some((name) => name.length + whiteoutPrefix.length > maxNameBytes)) {
      if (!keeps) return [this.#deletion(opaqueName)];
      this.#rewritten.add(path);
      return [];
    }
    return gone.map((name) => this.#deletion(`${whiteoutPrefix}${name}` as ByteString));
  }

  #deletion(name: ByteString): Entry {
    this.#entries++;
    return { type: EntryType.file, name, mode: 0, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, size: 0, object: this.#whiteout };
  }

  /** A name that is in both. What takes the place of something of another kind needs no deletion: unpacking replaces it. */
  #change(before: Entry, after: Entry, directory: ByteString): Entry | undefined {
    const sameOwn = sameMeta(before, after) && sameTime(before, after);
    if (isDirectory(before) && isDirectory(after)) {
      const entries = this.#directory(before.full, after.full, joinPath(directory, after.name));
      if (entries.length === 0 && sameOwn) return undefined;
      this.#entries++;
      return { ...after, ...this.#nodes.putNode(entries) };
    }
    const same = sameOwn && sameBody(before, after, 'full');
    if (same && !(this.#relinked.size > 0 && this.#relinked.has(joinPath(directory, after.name)))) return undefined;
    return this.#whole(after, directory);
  }

  /** An entry and all below it. */
  #whole(entry: Entry, directory: ByteString): Entry {
    if (entry.name.startsWith(whiteoutPrefix)) throw unsayable(joinPath(directory, entry.name));
    const path = joinPath(directory, entry.name);
    const { entries, bytes } = isDirectory(entry) ? this.#weigh(entry, path) : { entries: 0, bytes: this.#sizeOf(entry, path) };
    this.#entries += entries + 1;
    this.#bytes += bytes;
    return entry;
  }

  #weigh({ full }: DirectoryEntry, path: ByteString): Weight {
    const known = this.#weights.get(full);
    if (known !== undefined) return known;
    let [entries, bytes] = [0, 0];
    for (const entry of this.#nodes.node(full)) {
      if (entry.name.startsWith(whiteoutPrefix)) throw unsayable(joinPath(path, entry.name));
      entries++;
      bytes += this.#sizeOf(entry, joinPath(path, entry.name));
      if (!isDirectory(entry)) continue;
      const below = this.#weigh(entry, joinPath(path, entry.name));
      entries += below.entries;
      bytes += below.bytes;
    }
    const weight = { entries, bytes };
    // Subtrees that are equal can differ in which of their names are links.
    if (this.#sizes.size === 0) this.#weights.set(full, weight);
    return weight;
  }

  #sizeOf(entry: Entry, path: ByteString): number {
    return entry.type === EntryType.file ? (this.#sizes.get(path) ?? entry.size) : 0;
  }
}

function byName(a: Entry, b: Entry): number {
  return a.name < b.name ? -1 : 1;
}

/** As `diffLayer` counts: a whole tree. Unsupported `LAYER_NAME`. */
export function weighTree(nodes: Pick<TreeContext, 'node'>, root: Root): Weight {
  const empty: NodeDigests = { full: '' as Hex, content: '' as Hex };
  const base: Root = { ...root, ...empty, hardlinks: [] };
  const measured: Nodes = { node: (full) => (full === empty.full ? [] : nodes.node(full)), putNode: () => empty };
  const { entries, bytes } = diffLayer(measured, base, root, '' as Hex);
  return { entries, bytes };
}
