import type { ByteString } from '../../base/bytes.ts';
import type { Hex } from '../../oci/digest.ts';
import type { Entry, Root, TreeId, TreeRef } from '../../store/model.ts';
import type { TreeContext } from '../../store/port.ts';
import { adoptRoot } from '../../store/trees/adopt.ts';
import { applyLayers, type LayerTree } from '../apply/job.ts';
import { diffLayer, weighTree } from './layer-diff.ts';

/** Without `before`, the layer is the whole tree. */
export type LayerTreeParams = { readonly before?: TreeId | undefined; readonly after: TreeId };
/** A layer's own tree (KnownLayer). `entries` counts names, the root not; `bytes` content, each hardlink group once. `empty`: nothing differs, the root's own metadata neither. */
export type LayerTreeResult = {
  readonly tree: TreeRef;
  readonly entries: number;
  readonly bytes: number;
  readonly empty: boolean;
  readonly implied: readonly ByteString[];
};

/** Job `transport.layer-tree`: what has to be unpacked over `before` to give `after`, in everything. Unsupported `LAYER_NAME`. */
export function layerTree(context: TreeContext, { before, after }: LayerTreeParams): LayerTreeResult {
  const root = context.root(after);
  if (before === undefined) return { tree: context.putRoot(root), ...weighTree(context, root), empty: false, implied: [] };
  const whiteout = context.putBytes(Buffer.alloc(0)).object;
  const { root: layer, entries, bytes, empty } = diffLayer(context, context.root(before), root, whiteout);
  return { tree: context.putRoot(layer), entries, bytes, empty, implied: [] };
}

export type LayerWeightsParams = { readonly befores: readonly TreeId[]; readonly after: TreeId };
export type LayerWeight = { readonly entries: number; readonly bytes: number; readonly empty: boolean };

/** Job `transport.layer-weights`: what the layer over each of these trees would have, were its times adopted from that tree first. Nothing is kept. */
export function layerWeights(context: TreeContext, { befores, after }: LayerWeightsParams): LayerWeight[] {
  const nothing = { full: '' as Hex, content: '' as Hex };
  const weighed = { node: (full: Hex) => context.node(full), putNode: () => nothing };
  return befores.map((before) => {
    const { entries, bytes, empty } = diffLayer(weighed, context.root(before), adopted(context, after, before), '' as Hex);
    return { entries, bytes, empty };
  });
}

/** A tree with the times of an earlier one, without putting it. */
function adopted(context: TreeContext, tree: TreeId, earlier: TreeId): Root {
  let result: Root | undefined;
  const nodes = {
    root: (id: TreeId) => context.root(id),
    node: (full: Hex) => context.node(full),
    putNode: (entries: readonly Entry[]) => context.putNode(entries),
    putRoot: (root: Root): TreeRef => {
      result = root;
      return { id: tree, content: root.content };
    },
  };
  const { id } = adoptRoot(nodes, context.root(tree), earlier);
  return result ?? context.root(id);
}

/** Job `transport.layer-stack`: what unpacking the first layer, the first two, and so on over `base` gives. */
export function layerStack(context: TreeContext, params: { base?: TreeId | undefined; layers: readonly LayerTree[] }): TreeRef[] {
  let base = params.base;
  return params.layers.map((layer) => {
    const tree: TreeRef = applyLayers(context, { layers: [layer], base });
    base = tree.id;
    return tree;
  });
}
