import { type Digest, type Hex, sha256 } from '../../oci/digest.ts';
import { MediaType } from '../../oci/media-types.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord, JobOptions, KnownLayer, Store } from '../../store/port.ts';
import { compressionRecipe } from '../frames/compress.ts';
import type { FramesParams, FramesProgress } from '../frames/job.ts';
import type { MadeFrames } from '../frames/model.ts';
import type { LayerCompression } from '../port.ts';
import { GrowingBlobFile } from './growing-blob.ts';
import { Planner } from './planner.ts';
import type { LayerMaker, LayerPlan, MakeOptions, PlannedLayer, PlanRequest } from './port.ts';
import { LayerStacks } from './stacks.ts';

const mediaTypes: Readonly<Record<LayerCompression, string>> = {
  gzip: MediaType.ociLayerGzip,
  zstd: MediaType.ociLayerZstd,
  none: MediaType.ociLayer,
};

type NewLayer = Extract<PlannedLayer, { kind: 'new' }>;

/** Layers of images, made by the store's jobs. */
export class StoreLayerMaker implements LayerMaker {
  readonly #store: Store;
  readonly #stacks: LayerStacks;

  constructor(store: Store) {
    this.#store = store;
    this.#stacks = new LayerStacks(store);
  }

  async plan(request: PlanRequest, options: JobOptions = {}): Promise<LayerPlan> {
    const plan = await new Planner(this.#store, this.#stacks, options).plan(request);
    for (const layer of plan.layers) if (layer.kind === 'new') await options.lease?.add('tree', layer.tree);
    await options.lease?.add('tree', plan.tree.id);
    return { ...plan, compression: request.compression };
  }

  make(plan: LayerPlan, options: MakeOptions = {}): Promise<KnownLayer[]> {
    return Promise.all(
      plan.layers.map(async (layer) => {
        if (layer.kind === 'kept') return layer.layer;
        const made = (await this.#madeBefore(layer, plan.compression)) ?? (await this.#make(layer, plan.compression, options));
        await options.lease?.add('blob', made.digest);
        if (made.table !== undefined) await options.lease?.add('blob', made.table.digest);
        return made;
      }),
    );
  }

  stepsOf(image: ImageRecord, options?: JobOptions): Promise<readonly TreeId[] | undefined> {
    return this.#stacks.stepsOf(image, options);
  }

  async #madeBefore({ tree }: NewLayer, compression: LayerCompression): Promise<KnownLayer | undefined> {
    const digest = (await this.#store.actions.get(keyOf(tree, compression)))?.detail?.digest as Digest | undefined;
    const layer = digest === undefined ? undefined : await this.#store.layers.get(digest);
    if (layer?.table === undefined) return undefined;
    const present = (await this.#store.blobs.has(layer.digest)) && (await this.#store.blobs.has(layer.table.digest));
    return present ? layer : undefined;
  }

  async #make(planned: NewLayer, compression: LayerCompression, options: MakeOptions): Promise<KnownLayer> {
    const { tree, content } = planned;
    const { digest, diffId, sizeBytes, table } = await this.#compress(planned, compression, options);
    const layer: KnownLayer = { digest, diffId, mediaType: mediaTypes[compression], sizeBytes, tree, implied: [], table };
    await this.#store.layers.put(layer);
    await this.#store.actions.put(keyOf(tree, compression), { tree: { id: tree, content }, detail: { digest } });
    return layer;
  }

  async #compress(planned: NewLayer, compression: LayerCompression, options: MakeOptions): Promise<MadeFrames> {
    const { signal, lease, onCompressed, onGrowing } = options;
    const watcher = new Watcher(onGrowing);
    const onProgress = (message: unknown) => {
      const progress = message as FramesProgress;
      onCompressed?.(planned, progress.bytes);
      // That a file cannot be opened is no reason to make no layer: it is only read sooner.
      watcher.grown(progress).catch(() => {});
    };
    const params: FramesParams = { items: { kind: 'layer', tree: planned.tree }, compression };
    try {
      const made = await this.#store.jobs.run<MadeFrames>('transport.frames', params, { signal, lease, onProgress });
      await watcher.ended(made).catch(() => {});
      return made;
    } catch (error) {
      await watcher.failed().catch(() => {});
      throw error;
    }
  }
}

/** Opens a blob when there is something of it, and tells how it goes on. Only where somebody wants it. */
class Watcher {
  readonly #onGrowing: MakeOptions['onGrowing'];
  #blob: Promise<GrowingBlobFile | undefined> | undefined;

  constructor(onGrowing: MakeOptions['onGrowing']) {
    this.#onGrowing = onGrowing;
  }

  async grown({ file, written }: FramesProgress): Promise<void> {
    if (this.#onGrowing === undefined) return;
    this.#blob ??= GrowingBlobFile.open(file).then((blob) => {
      if (blob !== undefined) this.#onGrowing?.(blob);
      return blob;
    });
    (await this.#blob)?.grow(written);
  }

  async ended({ digest, sizeBytes }: MadeFrames): Promise<void> {
    (await this.#blob)?.end(digest, sizeBytes);
  }

  async failed(): Promise<void> {
    (await this.#blob)?.fail();
  }
}

/** The same tree, compressed the same way by the same library, is the same blob. */
function keyOf(tree: TreeId, compression: LayerCompression): Hex {
  return sha256(JSON.stringify(['slipway layer 1', tree, compressionRecipe(compression)]));
}
