import type { ByteString } from '../../base/bytes.ts';
import { isAtOrBelow, joinPath } from './entries.ts';

/** The hardlink groups of a tree while it changes: which paths share one inode. */
export class HardlinkTable {
  readonly #groupOf = new Map<ByteString, Set<ByteString>>();

  constructor(groups: readonly (readonly ByteString[])[] = []) {
    for (const group of groups) this.add(group);
  }

  get isEmpty(): boolean {
    return this.#groupOf.size === 0;
  }

  /** Makes these paths one group. A path that was in another one leaves it. */
  add(paths: readonly ByteString[]): void {
    if (paths.length < 2) return;
    for (const path of paths) this.remove(path);
    const group = new Set(paths);
    for (const path of paths) this.#groupOf.set(path, group);
  }

  /** The other paths of a path's inode, itself included. */
  groupOf(path: ByteString): ReadonlySet<ByteString> | undefined {
    return this.#groupOf.get(path);
  }

  /** Forgets one path: it is gone, or no longer the same file. */
  remove(path: ByteString): void {
    const group = this.#groupOf.get(path);
    if (group === undefined) return;
    this.#groupOf.delete(path);
    group.delete(path);
    if (group.size === 1) for (const last of group) this.#groupOf.delete(last);
  }

  /** Forgets a path and all below it. */
  removeBelow(path: ByteString): void {
    if (this.isEmpty) return;
    for (const linked of [...this.#groupOf.keys()]) if (isAtOrBelow(linked, path)) this.remove(linked);
  }

  /** Takes over the groups of another tree as far as they lie below `source` and `keep` says so, moved to `destination`. */
  graft(
    groups: readonly (readonly ByteString[])[],
    source: ByteString,
    destination: ByteString,
    keep: (path: ByteString) => boolean = () => true,
  ): void {
    for (const group of groups) {
      this.add(group.filter((path) => isAtOrBelow(path, source) && keep(path)).map((path) => movePath(path, source, destination)));
    }
  }

  groups(): ByteString[][] {
    return [...new Set(this.#groupOf.values())].map((group) => [...group]);
  }
}

function movePath(path: ByteString, source: ByteString, destination: ByteString): ByteString {
  if (path === source) return destination;
  const below = (source === '' ? path : path.slice(source.length + 1)) as ByteString;
  return joinPath(destination, below);
}
