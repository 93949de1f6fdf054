import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { TreeId } from '../../store/model.ts';
import type { KnownLayer, Lease, Store } from '../../store/port.ts';
import type { TransferProgress } from '../port.ts';
import { Limiter } from '../registry/limiter.ts';
import type { Repository } from '../registry/port.ts';
import { damaged } from '../untar/job.ts';
import type { UnlayerParams, UnlayerResult } from '../untar/layer-job.ts';
import { downloadLayer } from './download.ts';
import type { PartialFiles } from './partial-files.ts';
import { LayerProgress } from './progress.ts';
import { type Held, SharedTasks, type TaskOptions } from './shared-tasks.ts';

/** Docker's number: of layers that are fetched and unpacked at once, over all pulls. */
const maxDownloads = 3;

export type WantedLayer = {
  descriptor: Descriptor & { digest: Digest };
  diffId: Digest;
  /** For errors: "layer 2 of web:1". */
  what: string;
};

/** A layer that is here: its own tree, or, when only the layers below it tell what it means, its blob alone. */
export type FetchedLayer = { kind: 'tree'; tree: TreeId; implied: readonly ByteString[] } | { kind: 'blob' };

export type FetchOptions = {
  /** Gets the layer's tree and blob. */
  lease: Lease;
  signal: AbortSignal | undefined;
  onProgress(progress: TransferProgress): void;
  /** From the network. Of a layer that several pulls wait for, only the first is told. */
  onBytes(count: number): void;
};

type BringOptions = TaskOptions & { lease: Lease; progress: LayerProgress; onBytes(count: number): void };

/** Brings layers here, each once however many pulls ask for it at the same time. */
export class LayerFetcher {
  readonly #store: Store;
  readonly #files: PartialFiles;
  readonly #maxPlainBytes: number | undefined;
  readonly #places = new Limiter(maxDownloads);
  readonly #tasks = new SharedTasks<FetchedLayer>();

  constructor(store: Store, files: PartialFiles, maxPlainBytes: number | undefined) {
    this.#store = store;
    this.#files = files;
    this.#maxPlainBytes = maxPlainBytes;
  }

  async fetch(repository: Repository, layer: WantedLayer, options: FetchOptions): Promise<FetchedLayer> {
    const { digest } = layer.descriptor;
    const progress = new LayerProgress(layer.descriptor, options.onProgress);
    const known = await this.#known(layer, options.lease);
    if (known !== undefined) {
      progress.exists();
      return known;
    }
    progress.announce();
    const start = (task: TaskOptions) => this.#bringUnderLease(repository, layer, { ...task, onBytes: options.onBytes });
    // Two manifests that disagree about what is in a blob are judged one after the other.
    return this.#tasks.join(digest, `${digest} ${layer.diffId}`, start, {
      signal: options.signal,
      onProgress: options.onProgress,
      take: async (fetched) => {
        await options.lease.add('blob', digest);
        if (fetched.kind === 'tree') await options.lease.add('tree', fetched.tree);
      },
    });
  }

  /** Of its own, because whoever asked first may be gone when the others still wait. */
  async #bringUnderLease(
    repository: Repository,
    layer: WantedLayer,
    options: Omit<BringOptions, 'lease' | 'progress'>,
  ): Promise<Held<FetchedLayer>> {
    const lease = await this.#store.leases.acquire({ purpose: 'pull of a layer' });
    try {
      const progress = new LayerProgress(layer.descriptor, options.report);
      const value = await this.#bring(repository, layer, { ...options, lease, progress });
      return { value, release: () => lease.release() };
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  async #bring(repository: Repository, layer: WantedLayer, options: BringOptions): Promise<FetchedLayer> {
    const { lease, signal, progress } = options;
    const here = (await this.#known(layer, lease)) ?? (await this.#fromBlob(layer, lease, signal));
    if (here !== undefined) {
      progress.exists();
      return here;
    }
    const giveBack = await this.#place(signal, progress);
    try {
      const result = await downloadLayer(
        this.#store,
        this.#files,
        { ...layer, repository, maxPlainBytes: this.#maxPlainBytes },
        {
          lease,
          signal,
          onDownloaded: (bytes) => progress.downloading(bytes),
          onExtracted: (bytes) => progress.extracting(bytes),
          onBytes: options.onBytes,
        },
      );
      const fetched = await this.#remember(layer, result);
      progress.complete();
      return fetched;
    } finally {
      giveBack();
    }
  }

  /** Says that it waits only where it does. */
  async #place(signal: AbortSignal, progress: LayerProgress): Promise<() => void> {
    const waiting = setTimeout(() => progress.wait(), 20);
    try {
      return await this.#places.acquire(signal);
    } finally {
      clearTimeout(waiting);
    }
  }

  /** A layer whose entries are here, by its blob or by its content. */
  async #known({ descriptor, diffId, what }: WantedLayer, lease: Lease): Promise<FetchedLayer | undefined> {
    const byBlob = await this.#store.layers.get(descriptor.digest);
    // A blob has one content. That the config says another is the image's fault, and known without fetching anything.
    if (byBlob !== undefined && byBlob.diffId !== diffId) throw damaged('LAYER_DAMAGED', what, diffId, byBlob.diffId);
    const candidates: KnownLayer[] = byBlob === undefined ? await this.#store.layers.byDiffId(diffId) : [byBlob];
    for (const { tree, implied } of candidates) {
      if (await lease.tryAdd(tree)) return { kind: 'tree', tree, implied };
    }
    return undefined;
  }

  /** A layer whose blob is here. One that is damaged is fetched as if it were not. */
  async #fromBlob(layer: WantedLayer, lease: Lease, signal: AbortSignal): Promise<FetchedLayer | undefined> {
    const { descriptor, diffId, what } = layer;
    await lease.add('blob', descriptor.digest);
    if (!(await this.#store.blobs.has(descriptor.digest))) return undefined;
    const file = this.#store.blobs.path(descriptor.digest);
    const params: UnlayerParams = { file, what, digest: descriptor.digest, diffId, maxPlainBytes: this.#maxPlainBytes };
    try {
      return await this.#remember(layer, await this.#store.jobs.run<UnlayerResult>('transport.unlayer', params, { signal, lease }));
    } catch (error) {
      if (error instanceof EngineError && error.code === 'BLOB_DAMAGED') return undefined;
      throw error;
    }
  }

  async #remember({ descriptor }: WantedLayer, result: UnlayerResult): Promise<FetchedLayer> {
    if (result.kind === 'needsLower') return { kind: 'blob' };
    const { id: tree, implied, digest, diffId, sizeBytes } = result;
    await this.#store.layers.put({ digest, diffId, mediaType: descriptor.mediaType, sizeBytes, tree, implied });
    return { kind: 'tree', tree, implied };
  }
}
