import type { ByteString } from '../../base/bytes.ts';
import { createIgnore, type Ignore } from '../../oci/ignore.ts';
import { type DirectoryEntry, type Entry, EntryType, type NodeDigests, type Root, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { isDirectory, joinPath } from '../../store/tree/entries.ts';
import { unsayable, whiteoutPrefix } from '../tar/tree-tar.ts';

export type LayerGroupsParams = {
  readonly tree: TreeId /** Patterns of each group, in order. */;
  readonly groups: readonly (readonly string[])[];
};
/** `group` counts from 0; that of the rest is the number of groups. Those with nothing in them are left out, unless nothing is in any. */
export type LayerGroup = { readonly group: number; readonly tree: TreeRef; readonly entries: number; readonly bytes: number };

/**
 * Job `transport.layer-groups`: a tree in several, which together are the tree again. Each has the files and empty directories that its patterns match first, and the directories
 * that these lie in. A hardlink group goes whole to the first that matches one of its names. Unsupported `LAYER_NAME`; InvalidArgument `IGNORE_PATTERN_INVALID`.
 */
export function layerGroups(context: TreeContext, { tree, groups }: LayerGroupsParams): LayerGroup[] {
  const root = context.root(tree);
  const split = new Split(
    context,
    root,
    groups.map((patterns, index) => createIgnore(patterns, `the patterns of layer ${index + 1}`)),
  );
  const parts = split.directory(root, '' as ByteString);
  const made = parts.flatMap((node, group): LayerGroup[] =>
    node === undefined
      ? []
      : [{ group, tree: context.putRoot({ ...root, ...node, hardlinks: split.hardlinks(group) }), ...split.weight(group) }],
  );
  // A tree without an entry still has a root, which has to be said once.
  return made.length > 0 ? made : [{ group: groups.length, tree: context.putRoot(root), entries: 0, bytes: 0 }];
}

class Split {
  readonly #context: TreeContext;
  readonly #root: Root;
  readonly #matchers: readonly Ignore[];
  readonly #linked = new Map<ByteString, { group: number; first: boolean }>();
  readonly #weights: { entries: number; bytes: number }[];

  constructor(context: TreeContext, root: Root, matchers: readonly Ignore[]) {
    this.#context = context;
    this.#root = root;
    this.#matchers = matchers;
    this.#weights = Array.from({ length: matchers.length + 1 }, () => ({ entries: 0, bytes: 0 }));
    for (const paths of root.hardlinks) {
      const group = Math.min(...paths.map((path) => this.#match(path, false)));
      for (const [index, path] of paths.entries()) this.#linked.set(path, { group, first: index === 0 });
    }
  }

  hardlinks(group: number): Root['hardlinks'] {
    return this.#root.hardlinks.filter(([path]) => path !== undefined && this.#linked.get(path)?.group === group);
  }

  weight(group: number): { entries: number; bytes: number } {
    return this.#weights[group] ?? { entries: 0, bytes: 0 };
  }

  /** The directory as each group has it; undefined where it has nothing in it. */
  directory({ full }: Pick<DirectoryEntry, 'full'>, path: ByteString): (NodeDigests | undefined)[] {
    const parts: Entry[][] = this.#weights.map(() => []);
    for (const entry of this.#context.node(full)) this.#entry(entry, joinPath(path, entry.name), parts);
    return parts.map((entries) => (entries.length === 0 ? undefined : this.#context.putNode(entries)));
  }

  #entry(entry: Entry, path: ByteString, parts: readonly Entry[][]): void {
    if (entry.name.startsWith(whiteoutPrefix)) throw unsayable(path);
    if (!isDirectory(entry)) {
      const link = this.#linked.get(path);
      this.#put(
        parts,
        link?.group ?? this.#match(path, false),
        entry,
        entry.type === EntryType.file && link?.first !== false ? entry.size : 0,
      );
      return;
    }
    const nodes = this.directory(entry, path);
    if (nodes.every((node) => node === undefined)) this.#put(parts, this.#match(path, true), entry, 0);
    for (const [group, node] of nodes.entries()) if (node !== undefined) this.#put(parts, group, { ...entry, ...node }, 0);
  }

  #put(parts: readonly Entry[][], group: number, entry: Entry, bytes: number): void {
    parts[group]?.push(entry);
    const weight = this.#weights[group];
    if (weight === undefined) return;
    weight.entries++;
    weight.bytes += bytes;
  }

  #match(path: ByteString, directory: boolean): number {
    const group = this.#matchers.findIndex((matcher) => matcher.ignores(path, directory));
    return group < 0 ? this.#matchers.length : group;
  }
}
