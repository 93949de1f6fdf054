import type { ByteString } from '../../base/bytes.ts';
import { type Entry, EntryType, type Root } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';

/** The tree under an upper layer, by path. Symlinks are not followed: overlayfs does not either when it looks into a lower layer. */
export class BaseTree {
  readonly root: Root;
  readonly #context: Pick<TreeContext, 'node'>;

  constructor(context: Pick<TreeContext, 'node'>, root: Root) {
    this.#context = context;
    this.root = root;
  }

  /** The entries of the directory at `path` ('' is the root); undefined when there is no directory. */
  directory(path: ByteString): readonly Entry[] | undefined {
    if (path === '') return this.#context.node(this.root.full);
    const entry = this.lookup(path);
    return entry?.type === EntryType.directory ? this.#context.node(entry.full) : undefined;
  }

  lookup(path: ByteString): Entry | undefined {
    let entries: readonly Entry[] | undefined = this.#context.node(this.root.full);
    let found: Entry | undefined;
    for (const name of path.split('/')) {
      found = entries === undefined ? undefined : findEntry(entries, name);
      if (found === undefined) return undefined;
      entries = found.type === EntryType.directory ? this.#context.node(found.full) : undefined;
    }
    return found;
  }
}

/** Of a sorted list. */
export function findEntry(entries: readonly Entry[], name: string): Entry | undefined {
  let [low, high] = [0, entries.length - 1];
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const entry = entries[middle];
    if (entry === undefined || entry.name === name) return entry;
    if (entry.name < name) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

export function joinPath(folder: ByteString, name: string): ByteString {
  return (folder === '' ? name : `${folder}/${name}`) as ByteString;
}
