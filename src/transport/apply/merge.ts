import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import { type DirectoryEntry, type Entry, EntryType, type Meta, type NodeDigests, type Root } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { findEntry, isDirectory, joinPath } from '../../store/tree/entries.ts';
import { metaOf, plainDirectory } from '../untar/mutable-tree.ts';
import { aufsPrefix, isWhiteoutName, opaqueWhiteout, whiteoutOf, whiteoutPrefix } from '../untar/whiteouts.ts';

/** One layer's tree, to be laid over others. Remembers what it found out about the layer's directories. */
export class LayerMerge {
  readonly #context: TreeContext;
  readonly #layer: Root;
  readonly #implied: ReadonlySet<ByteString>;
  /** Paths of the directories that have an implied one somewhere below. */
  readonly #aboveImplied = new Set<ByteString>();
  readonly #withoutWhiteouts = new Map<Hex, boolean>();

  constructor(context: TreeContext, layer: Root, implied: readonly ByteString[]) {
    this.#context = context;
    this.#layer = layer;
    this.#implied = new Set(implied);
    for (const path of implied) {
      for (let end = path.lastIndexOf('/'); ; end = path.lastIndexOf('/', end - 1)) {
        const above = path.slice(0, Math.max(end, 0)) as ByteString;
        if (path === '' || this.#aboveImplied.has(above)) break;
        this.#aboveImplied.add(above);
        if (above === '') break;
      }
    }
  }

  over(lower: Root): Root {
    const path = '' as ByteString;
    const digests = this.#merge(lower, this.#layer, path);
    return { ...metaOf(this.#implied.has(path) ? lower : this.#layer), ...digests, hardlinks: this.#hardlinks(lower) };
  }

  /** The directory at `path`: what is below, if it is a directory there too, under what the layer has. */
  #merge(lower: NodeDigests | undefined, layer: NodeDigests, path: ByteString): NodeDigests {
    if ((lower === undefined || lower.full === layer.full) && this.#isFinal(layer.full, path))
      return { full: layer.full, content: layer.content };
    const own = this.#context.node(layer.full);
    const below = lower === undefined || findEntry(own, opaqueWhiteout) !== undefined ? [] : this.#context.node(lower.full);
    if (own.length === 0 && lower !== undefined) return { full: lower.full, content: lower.content };
    const hidden = hiddenNames(own);
    const merged: Entry[] = [];
    let next = 0;
    for (const entry of own) {
      if (isWhiteoutName(entry.name)) continue;
      for (let kept = below[next]; kept !== undefined && kept.name < entry.name; kept = below[++next]) {
        if (!hidden.has(kept.name)) merged.push(kept);
      }
      const same = below[next]?.name === entry.name ? below[next++] : undefined;
      const result = this.#place(same !== undefined && hidden.has(same.name) ? undefined : same, entry, joinPath(path, entry.name));
      if (result !== undefined) merged.push(result);
    }
    for (const kept of below.slice(next)) if (!hidden.has(kept.name)) merged.push(kept);
    return this.#context.putNode(merged);
  }

  /** What one name is when the layer has it. */
  #place(below: Entry | undefined, entry: Entry, path: ByteString): Entry | undefined {
    if (entry.type !== EntryType.directory) return entry;
    const lower = isDirectory(below) ? below : undefined;
    if (lower === undefined && this.#onlyDeletes(entry, path)) return below;
    const meta: Meta = this.#implied.has(path) ? (lower ?? plainDirectory) : entry;
    return { ...metaOf(meta), type: EntryType.directory, name: entry.name, ...this.#merge(lower, entry, path) };
  }

  /** It is in the layer's tree for its whiteouts alone: where there is nothing to delete, it makes nothing. */
  #onlyDeletes(entry: DirectoryEntry, path: ByteString): boolean {
    if (!this.#implied.has(path)) return false;
    const own = this.#context.node(entry.full);
    return (
      own.length > 0 &&
      own.every((child) => isWhiteoutName(child.name) || (isDirectory(child) && this.#onlyDeletes(child, joinPath(path, child.name))))
    );
  }

  /** The layer's directory can be taken as it is where there is nothing below it, or the same: no whiteouts in it to leave out, no metadata to find. */
  #isFinal(full: Hex, path: ByteString): boolean {
    return !this.#aboveImplied.has(path) && this.#hasNoWhiteouts(full);
  }

  #hasNoWhiteouts(full: Hex): boolean {
    const known = this.#withoutWhiteouts.get(full);
    if (known !== undefined) return known;
    const answer = this.#context
      .node(full)
      .every((entry) => !isWhiteoutName(entry.name) && (!isDirectory(entry) || this.#hasNoWhiteouts(entry.full)));
    this.#withoutWhiteouts.set(full, answer);
    return answer;
  }

  /** The layer's own groups, and of those below the names that are still there. No group has both: a link to what is below is never in a layer's tree. */
  #hardlinks(lower: Root): (readonly ByteString[])[] {
    const groups: (readonly ByteString[])[] = [...this.#layer.hardlinks];
    for (const group of lower.hardlinks) {
      const left = group.filter((path) => this.#shows(path));
      if (left.length > 1) groups.push(left);
    }
    return groups.sort(([a = ''], [b = '']) => (a < b ? -1 : 1));
  }

  /** Whether a file below is seen through the layer. */
  #shows(path: ByteString): boolean {
    const names = path.split('/') as ByteString[];
    let { full } = this.#layer;
    let at = '' as ByteString;
    for (const [index, name] of names.entries()) {
      const own = this.#context.node(full);
      if (findEntry(own, opaqueWhiteout) !== undefined || findEntry(own, whiteoutOf(name)) !== undefined) return false;
      const entry = findEntry(own, name);
      if (entry === undefined) return true;
      if (!isDirectory(entry)) return false;
      at = joinPath(at, name);
      if (index === names.length - 1) return this.#onlyDeletes(entry, at);
      full = entry.full;
    }
    return true;
  }
}

function hiddenNames(entries: readonly Entry[]): ReadonlySet<string> {
  const hidden = new Set<string>();
  for (const { name } of entries) {
    if (isWhiteoutName(name) && !name.startsWith(aufsPrefix)) hidden.add(name.slice(whiteoutPrefix.length));
  }
  return hidden;
}
