import type { ByteString } from '../../base/bytes.ts';
import { type Hex, sha256 } from '../../oci/digest.ts';
import { EntryType, type TreeId } from '../model.ts';
import type { TreeContext } from '../port.ts';
import { ByteWriter } from '../tree/byte-writer.ts';
import { contentDigest } from '../tree/codec.ts';
import { findEntry, isAtOrBelow } from '../tree/entries.ts';
import { resolveNow, resolvePath } from '../tree/resolve.ts';
import { describe } from './graft.ts';

/**
 * `store.selection`: a digest of what a reader of just these paths can see: each path as asked for, what it leads to (or that nothing is
 * there), and which of the selected names share an inode. Order and repetition of the paths do not count.
 */
export function selectionDigest(context: TreeContext, { tree, paths }: { tree: TreeId; paths: readonly ByteString[] }): Hex {
  const root = context.root(tree);
  const scratch = new ByteWriter();
  const writer = new ByteWriter();
  const sorted = [...new Set(paths)].sort();
  writer.raw(Buffer.from('slipway selection 1\n'));
  writer.varint(sorted.length);
  const real: ByteString[] = [];
  for (const path of sorted) {
    writer.bytes(path);
    const resolved = resolveNow(resolvePath(root.full, path, { follow: false }), ({ directory, name }) =>
      describe(findEntry(context.node(directory), name)),
    );
    if (resolved === undefined || !resolved.exists) {
      writer.u8(0);
      continue;
    }
    real.push(resolved.path);
    writer.u8(1);
    const entry =
      resolved.parent === undefined || resolved.name === undefined ? undefined : findEntry(context.node(resolved.parent), resolved.name);
    // The root has no name; as an entry it needs one.
    writer.digest(contentDigest(scratch, [entry ?? { ...root, type: EntryType.directory, name: 'root' as ByteString }]));
  }
  const links = root.hardlinks
    .map((group) => group.filter((path) => real.some((selected) => isAtOrBelow(path, selected))))
    .filter((group) => group.length > 1);
  writer.varint(links.length);
  for (const group of links) {
    writer.varint(group.length);
    for (const path of group) writer.bytes(path);
  }
  return sha256(writer.view());
}
