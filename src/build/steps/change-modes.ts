import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Hex } from '../../oci/digest.ts';
import { type Entry, EntryType, type TreeId, type TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { isAtOrBelow, isDirectory, joinPath } from '../../store/tree/entries.ts';
import { parseModeChange } from './mode-change.ts';

export type ChangeModesParams = { tree: TreeId; paths: ByteString[]; change: string };

/** `build.changeModes`: the tree with other permission bits at `paths` and below them; '' is all of it. Symlinks have none. */
export function changeModes(context: TreeContext, { tree, paths, change }: ChangeModesParams): TreeRef {
  const apply = parseModeChange(change);
  if (apply === undefined) throw new EngineError('InvalidArgument', 'MODE_INVALID', `${change} is not a change of a mode`);
  const changed = (entry: Entry): Entry =>
    entry.type === EntryType.symlink ? entry : { ...entry, mode: apply(entry.mode, isDirectory(entry)) };
  const node = (full: Hex, at: ByteString, whole: boolean): { full: Hex; content: Hex } =>
    context.putNode(
      context.node(full).map((entry): Entry => {
        const path = joinPath(at, entry.name);
        const inside = whole || paths.includes(path);
        const own = inside ? changed(entry) : entry;
        if (!isDirectory(own) || !(inside || paths.some((wanted) => isAtOrBelow(wanted, path)))) return own;
        return { ...own, ...node(own.full, path, inside) };
      }),
    );
  const root = context.root(tree);
  return context.putRoot({ ...root, ...node(root.full, '' as ByteString, paths.includes('' as ByteString)) });
}
