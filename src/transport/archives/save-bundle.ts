import { canonical, isTag, type Reference } from '../../oci/reference.ts';
import type { ImageRecord, Lease, Store } from '../../store/port.ts';
import type { LayerTreeParams, LayerTreeResult, LayerWeight, LayerWeightsParams } from '../layers/layer-tree-job.ts';
import type { LayerMaker } from '../layers/port.ts';
import type { BundledImage } from './bundle.ts';
import { blobOf, type SavedBlob } from './saved-image.ts';

type Parts = { store: Store; layers: LayerMaker };
type Options = { lease: Lease; signal: AbortSignal | undefined };

/** What of an image another one lacks, as one layer. Of several the one is taken that lacks least. */
export async function bundleImage(
  parts: Parts,
  image: { record: ImageRecord; references: readonly Reference[] },
  olds: readonly ImageRecord[],
  options: Options,
): Promise<{ entry: BundledImage; blobs: SavedBlob[] }> {
  const { store, layers } = parts;
  const { record, references } = image;
  const base = await nearest(store, record, olds, options);
  const params: LayerTreeParams = { before: base.tree, after: record.tree };
  const { tree, entries, bytes } = await store.jobs.run<LayerTreeResult>('transport.layer-tree', params, options);
  const [layer] = await layers.make(
    {
      compression: 'zstd',
      layers: [{ kind: 'new', tree: tree.id, content: tree.content, name: 'changes', entries, bytes }],
      tree: { id: record.tree, content: record.treeContent },
      history: record.history,
      explanation: [],
    },
    options,
  );
  if (layer === undefined) throw new Error('a plan of one layer made none');
  const config = blobOf(Buffer.from(JSON.stringify({ ...record.config, history: record.history })), 'application/json');
  const { digest, sizeBytes, diffId, mediaType } = layer;
  return {
    entry: {
      references: references.map(canonical),
      config: { digest: config.digest, sizeBytes: config.sizeBytes },
      tree: record.tree,
      layer: { digest, sizeBytes, diffId },
      base: { id: base.id, tree: base.tree, names: (await store.images.references(base.id)).filter(isTag) },
    },
    blobs: [config, { digest, sizeBytes, mediaType, content: { file: store.blobs.path(digest) } }],
  };
}

async function nearest(store: Store, { tree }: ImageRecord, olds: readonly ImageRecord[], options: Options): Promise<ImageRecord> {
  const params: LayerWeightsParams = { befores: olds.map((old) => old.tree), after: tree };
  const weights = await store.jobs.run<LayerWeight[]>('transport.layer-weights', params, options);
  const cost = (at: number) => (weights[at]?.bytes ?? 0) + 100 * (weights[at]?.entries ?? 0);
  const [first] = olds.map((old, at) => ({ old, at })).toSorted((a, b) => cost(a.at) - cost(b.at));
  if (first === undefined) throw new Error('nothing to compare with');
  return first.old;
}
