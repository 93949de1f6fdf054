import type { TreeId, TreeRef } from '../../store/model.ts';
import type { JobOptions, Store } from '../../store/port.ts';
import type { UntarParams, UntarResult, UntarSource } from '../untar/job.ts';
import type { ApplyParams, LayerTree } from './job.ts';

/** A layer as a tree of its own; or as its tar, when only the layers below it tell what it means. */
export type StackedLayer = ({ kind: 'tree' } & LayerTree) | { kind: 'tar'; source: UntarSource };

/** Lays layers over each other, lowest first: the root tree of an image. `maxPlainBytes` is of each tar. */
export async function stackLayers(
  store: Store,
  layers: readonly StackedLayer[],
  { maxPlainBytes, ...options }: JobOptions & { maxPlainBytes?: number | undefined },
): Promise<TreeRef> {
  const apply = (params: ApplyParams) => store.jobs.run<TreeRef>('transport.apply', params, options);
  let base: TreeId | undefined;
  let trees: LayerTree[] = [];
  for (const layer of layers) {
    if (layer.kind === 'tree') {
      trees.push({ tree: layer.tree, implied: layer.implied });
      continue;
    }
    const lower = await apply({ layers: trees, base });
    const params: UntarParams = { kind: 'layer', base: lower.id, sources: [layer.source], maxPlainBytes };
    base = (await store.jobs.run<UntarResult>('transport.untar', params, options)).id;
    trees = [];
  }
  return apply({ layers: trees, base });
}
