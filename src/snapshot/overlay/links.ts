import type { ByteString } from '../../base/bytes.ts';
import { joinPath } from './base-tree.ts';

/** A directory of the base that shows in the merged tree, and the names in it that the upper layer replaces or removes. */
type ShownDirectory = { readonly path: ByteString; readonly replaced: ReadonlySet<string> };

/**
 * The hardlink groups of the merged tree. A group is either an inode of the upper layer with several names, or what still shows of a
 * group of the base.
 */
export class LinkGroups {
  readonly #upper = new Map<string, ByteString[]>();
  readonly #shown = new Map<string, ShownDirectory>();

  /** `path` is a name of the upper inode `key`. */
  addUpper(key: string, path: ByteString): void {
    const paths = this.#upper.get(key);
    if (paths === undefined) this.#upper.set(key, [path]);
    else paths.push(path);
  }

  /** The base's directory `basePath` shows at `path`. */
  addShown(basePath: ByteString, path: ByteString, replaced: ReadonlySet<string>): void {
    this.#shown.set(basePath, { path, replaced });
  }

  /**
   * Where the base's file `basePath` shows; undefined when it is hidden. Directories that the walk did not enter are as in the base: they
   * are found through the nearest one above that it did.
   */
  shownPath(basePath: ByteString): ByteString | undefined {
    for (let end = basePath.lastIndexOf('/'); ; end = basePath.lastIndexOf('/', end - 1)) {
      const shown = this.#shown.get(end === -1 ? '' : basePath.slice(0, end));
      if (shown !== undefined) {
        const rest = basePath.slice(end + 1);
        const [next = ''] = rest.split('/', 1);
        return shown.replaced.has(next) ? undefined : joinPath(shown.path, rest);
      }
      if (end <= 0) return undefined;
    }
  }

  /** In the form of a root record: sorted paths, groups by their first. `isCopiedUp` names the base's groups that moved to the upper layer. */
  finish(baseGroups: readonly (readonly ByteString[])[], isCopiedUp: (group: number) => boolean): ByteString[][] {
    const groups = [...this.#upper.values()];
    for (const [i, members] of baseGroups.entries()) {
      if (isCopiedUp(i)) continue;
      groups.push(members.map((member) => this.shownPath(member)).filter((path) => path !== undefined));
    }
    const linked = groups.filter((paths) => paths.length > 1).map((paths) => [...new Set(paths)].sort(bytewise));
    return linked.sort(([a], [b]) => bytewise(a ?? '', b ?? ''));
  }
}

function bytewise(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
