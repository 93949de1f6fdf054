import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import { createIgnore } from '../../oci/ignore.ts';
import type { Entry, TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { isDirectory, joinPath } from '../../store/tree/entries.ts';

export type FilterContextParams = { tree: TreeId; ignore: string[] };

/** `build.filterContext`: what a .dockerignore leaves of a tree that came as an archive. */
export function filterContext(context: TreeContext, params: FilterContextParams): TreeRef {
  const ignore = createIgnore(params.ignore);
  const removed = new Set<string>();
  const filter = (full: Hex, path: ByteString): Entry[] => {
    const kept: Entry[] = [];
    for (const entry of context.node(full)) {
      const below = joinPath(path, entry.name);
      const ignored = ignore.ignores(below, isDirectory(entry));
      if (isDirectory(entry) && (!ignored || ignore.mayContainIncluded(below))) {
        const children = filter(entry.full, below);
        if (!ignored || children.length > 0) kept.push({ ...entry, ...context.putNode(children) });
        else removed.add(below);
      } else if (!ignored) kept.push(entry);
      else removed.add(below);
    }
    return kept;
  };
  const root = context.root(params.tree);
  const digests = context.putNode(filter(root.full, '' as ByteString));
  const remains = (path: string): boolean => {
    for (let at = path.length; at > 0; at = path.lastIndexOf('/', at - 1)) if (removed.has(path.slice(0, at))) return false;
    return true;
  };
  const hardlinks = root.hardlinks.map((group) => group.filter(remains)).filter((group) => group.length > 1);
  return context.putRoot({ ...root, ...digests, hardlinks });
}
