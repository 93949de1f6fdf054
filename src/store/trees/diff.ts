import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Entry, Root, TreeId } from '../model.ts';
import type { Change, TreeContext } from '../port.ts';
import { isDirectory, joinPath, sameBody, sameMeta, sameTime } from '../tree/entries.ts';

type Compare = 'full' | 'content';

/** `store.diff`: see Trees.diff. */
export function diffTrees(context: TreeContext, params: { before: TreeId; after: TreeId; compare?: Compare | undefined }): Change[] {
  const [before, after] = [context.root(params.before), context.root(params.after)];
  const changes: Change[] = [];
  new Diff(context, params.compare ?? 'full', (change) => changes.push(change)).directories(before.full, after.full, '' as ByteString, [
    before,
    after,
  ]);
  return addRelinked(changes, before, after, (path) => entryAt(context, after, path));
}

class Diff {
  readonly #context: TreeContext;
  readonly #compare: Compare;
  readonly #emit: (change: Change) => void;

  constructor(context: TreeContext, compare: Compare, emit: (change: Change) => void) {
    this.#context = context;
    this.#compare = compare;
    this.#emit = emit;
  }

  /** Merge-joins two directories by name. Subtrees of one digest are not looked into. */
  directories(before: Hex, after: Hex, path: ByteString, nodes: readonly [{ content: Hex }, { content: Hex }]): void {
    if (before === after || (this.#compare === 'content' && nodes[0].content === nodes[1].content)) return;
    const [old, fresh] = [this.#context.node(before), this.#context.node(after)];
    for (let i = 0, j = 0; i < old.length || j < fresh.length; ) {
      const [a, b] = [old[i], fresh[j]];
      if (b === undefined || (a !== undefined && a.name < b.name)) {
        if (a !== undefined) this.#whole('deleted', a, path);
        i++;
      } else if (a === undefined || b.name < a.name) {
        this.#whole('added', b, path);
        j++;
      } else {
        this.#entries(a, b, path);
        i++;
        j++;
      }
    }
  }

  #entries(before: Entry, after: Entry, directory: ByteString): void {
    const path = joinPath(directory, after.name);
    const bothDirectories = isDirectory(before) && isDirectory(after);
    const sameOwn = sameMeta(before, after) && (this.#compare === 'content' || sameTime(before, after));
    if (!sameOwn || !(bothDirectories || sameBody(before, after, this.#compare))) this.#emit({ kind: 'modified', path, before, after });
    if (bothDirectories) {
      this.directories(before.full, after.full, path, [before, after]);
    } else {
      if (isDirectory(before)) this.#below('deleted', before, path);
      if (isDirectory(after)) this.#below('added', after, path);
    }
  }

  #whole(kind: 'added' | 'deleted', entry: Entry, directory: ByteString): void {
    const path = joinPath(directory, entry.name);
    this.#emit(kind === 'added' ? { kind, path, after: entry } : { kind, path, before: entry });
    if (isDirectory(entry)) this.#below(kind, entry, path);
  }

  #below(kind: 'added' | 'deleted', { full }: { full: Hex }, path: ByteString): void {
    for (const entry of this.#context.node(full)) this.#whole(kind, entry, path);
  }
}

/** Names that are in both trees unchanged but share an inode with other names than before: a change that no single entry shows. */
function addRelinked(changes: Change[], before: Root, after: Root, entryOf: (path: ByteString) => Entry | undefined): Change[] {
  if (before.hardlinks.length === 0 && after.hardlinks.length === 0) return changes;
  const [old, fresh] = [partners(before), partners(after)];
  const changed = new Set(changes.map((change) => change.path));
  const relinked: Change[] = [];
  for (const path of new Set([...old.keys(), ...fresh.keys()])) {
    if (changed.has(path)) continue;
    // A partner that came or went is a change of its own; what counts is a bond between names that are in both.
    const lasting = (group: readonly ByteString[] | undefined) =>
      (group ?? []).filter((other) => other !== path && !changed.has(other)).join('\0');
    if (lasting(old.get(path)) === lasting(fresh.get(path))) continue;
    const entry = entryOf(path);
    if (entry !== undefined) relinked.push({ kind: 'modified', path, before: entry, after: entry });
  }
  return relinked.length === 0 ? changes : [...changes, ...relinked].sort((a, b) => (walkKey(a.path) < walkKey(b.path) ? -1 : 1));
}

/** Orders paths as a walk meets them: a directory, then all below it, then its next sibling. */
function walkKey(path: string): string {
  return path.replaceAll('/', '\0');
}

function partners(root: Root): Map<ByteString, readonly ByteString[]> {
  return new Map(root.hardlinks.flatMap((group) => group.map((path) => [path, group] as const)));
}

function entryAt(context: TreeContext, root: Root, path: ByteString): Entry | undefined {
  let full: Hex | undefined = root.full;
  let entry: Entry | undefined;
  for (const name of path.split('/')) {
    if (full === undefined) return undefined;
    entry = context.node(full).find((candidate) => candidate.name === name);
    full = isDirectory(entry) ? entry.full : undefined;
  }
  return entry;
}
