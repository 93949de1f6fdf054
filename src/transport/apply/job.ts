import type { ByteString } from '../../base/bytes.ts';
import type { Root, TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { LayerMerge } from './merge.ts';

/** A layer's own tree (docs/formats/layers.md): deletions are files named `.wh.NAME`; `implied` are the directories that the tar never names. */
export type LayerTree = { readonly tree: TreeId; readonly implied: readonly ByteString[] };

export type ApplyParams = {
  /** Lowest first. */
  readonly layers: readonly LayerTree[];
  /** What they are applied to; an empty tree when not given. */
  readonly base?: TreeId | undefined;
};

/**
 * Job `transport.apply`: the trees of layers, one over the other, are the tree that `transport.untar` makes of their tars. Only directories that a layer and what is below it
 * both have are encoded again, and no content is touched.
 */
export function applyLayers(context: TreeContext, { layers, base }: ApplyParams): TreeRef {
  let root = base === undefined ? emptyRoot(context) : context.root(base);
  for (const { tree, implied } of layers) root = new LayerMerge(context, context.root(tree), implied).over(root);
  return context.putRoot(root);
}

function emptyRoot(context: TreeContext): Root {
  return { mode: 0o755, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0, ...context.putNode([]), hardlinks: [] };
}
