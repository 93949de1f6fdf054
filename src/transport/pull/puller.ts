import { EngineError } from '../../base/errors.ts';
import { withoutLayers } from '../../oci/config.ts';
import { type Digest, digestOf, parseDigest, sha256 } from '../../oci/digest.ts';
import type { ImageConfig, Manifest } from '../../oci/image.ts';
import { hostPlatform } from '../../oci/platform.ts';
import { canonical, familiar, type Reference, repositoryOf, withDefaultTag } from '../../oci/reference.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { ImageOrigin, ImageRecord, Lease, Store } from '../../store/port.ts';
import { type StackedLayer, stackLayers } from '../apply/stack.ts';
import { isFallback } from '../chunked/errors.ts';
import type { ChunkedForm, ChunkedPulled } from '../chunked/port.ts';
import { limited } from '../limited.ts';
import type { Admission, PulledImage, PullRequest, TransferCallOptions, TransferProgress } from '../port.ts';
import type { Repository } from '../registry/port.ts';
import { type ResolvedImage, resolveImage } from './documents.ts';
import { fetchConfig, type ImagePlan, planImage } from './image-plan.ts';
import { type FetchedLayer, LayerFetcher, type WantedLayer } from './layer-fetcher.ts';
import { PartialFiles, type PartialLimits } from './partial-files.ts';
import type { ImagePulls } from './port.ts';

/** Layers looked after at once; how many of them are fetched is the fetcher's to say. */
const maxLayers = 16;
/** Trees that a chunked pull is told to look into. */
const maxNear = 8;
const sweepEveryMs = 60 * 60 * 1000;

export type ImagePullerOptions = {
  store: Store;
  admission?: Admission | undefined;
  chunked?: ChunkedForm | undefined;
  /** What a layer may measure uncompressed; see `transport.unlayer`. */
  maxPlainBytes?: number | undefined;
  partials?: PartialLimits | undefined;
  /** Makes a tree ready to run, for images of this host's platform. Begun as soon as the tree is there; the pull does not wait for it, nor fail with it. */
  project?: ((tree: TreeId) => Promise<void>) | undefined;
  onError?: ((error: unknown, what: string) => void) | undefined;
};

/** What one pull carries along. */
type Pull = {
  repository: Repository;
  reference: Reference;
  /** For errors. */
  what: string;
  request: PullRequest;
  lease: Lease;
  signal: AbortSignal | undefined;
  report(progress: TransferProgress): void;
  onBytes(count: number): void;
};

type Unpacked = { tree: TreeRef; plan: Pick<ImagePlan, 'config' | 'configDigest'>; layers: ImageOrigin['layers'] };

export class ImagePuller implements ImagePulls {
  readonly #store: Store;
  readonly #options: ImagePullerOptions;
  readonly #files: PartialFiles;
  readonly #layers: LayerFetcher;
  #sweptAt = 0;

  constructor(options: ImagePullerOptions) {
    this.#store = options.store;
    this.#options = options;
    this.#files = new PartialFiles(options.store, options.partials);
    this.#layers = new LayerFetcher(options.store, this.#files, options.maxPlainBytes);
  }

  sweep(): Promise<{ files: number; bytes: number }> {
    this.#sweptAt = Date.now();
    return this.#files.sweep();
  }

  async pull(repository: Repository, request: PullRequest, options: TransferCallOptions = {}): Promise<PulledImage> {
    const reference = withDefaultTag(request.reference);
    const report = options.onProgress ?? (() => {});
    if (Date.now() - this.#sweptAt > sweepEveryMs) await this.sweep();
    await using lease = await this.#store.leases.acquire({ purpose: `pull of ${familiar(reference)}` });
    let bytesReceived = 0;
    const onBytes = (count: number) => {
      bytesReceived += count;
    };
    const pull: Pull = { repository, reference, what: familiar(reference), request, lease, signal: options.signal, report, onBytes };
    const resolved = await resolveImage(repository, {
      reference,
      platform: request.platform,
      chunked: this.#options.chunked !== undefined && request.form !== 'oci',
      admission: this.#options.admission,
      signal: options.signal,
      local: (digest) => this.#localDocument(digest),
    });
    const image = (await this.#present(pull, resolved)) ?? (await this.#bring(pull, resolved));
    options.signal?.throwIfAborted();
    const changed = await this.#name(pull, resolved, image);
    return { image, reference, digest: resolved.top.descriptor.digest, changed, bytesReceived };
  }

  /** An image that is here and came from the same manifest and index. */
  async #present({ repository, reference, lease }: Pull, { top, ordinary, chunked }: ResolvedImage): Promise<ImageRecord | undefined> {
    const manifest = ordinary ?? chunked;
    for (const name of [canonical(reference), `${repositoryOf(reference)}@${top.descriptor.digest}`]) {
      const image = await this.#find(name);
      const origin = image?.origin;
      if (image === undefined || origin === undefined || origin.manifestDigest !== manifest?.found.descriptor.digest) continue;
      if ((origin.index?.digest ?? origin.manifestDigest) !== top.descriptor.digest) continue;
      await lease.add('tree', image.tree);
      if (!(await this.#hasTree(image.tree))) continue;
      const { config } = manifest.manifest;
      await this.#store.layers.addSources(repository.name, [...origin.layers.map(({ digest }) => digest), parseDigest(config.digest)]);
      return image;
    }
    return undefined;
  }

  async #bring(pull: Pull, resolved: ResolvedImage): Promise<ImageRecord> {
    const unpacked = (await this.#bringChunks(pull, resolved)) ?? (await this.#bringLayers(pull, resolved.ordinary));
    const { plan, tree, layers } = unpacked;
    pull.signal?.throwIfAborted();
    this.#project(plan.config, tree.id, pull.what);
    const { top, indexes, ordinary, chunked } = resolved;
    const manifest = ordinary ?? chunked;
    if (manifest === undefined) throw noForm(pull);
    for (const { bytes } of [...indexes, ordinary?.found, chunked?.found].filter(isPresent)) await this.#keep(pull, bytes);
    const origin: ImageOrigin = {
      manifestDigest: manifest.found.descriptor.digest,
      manifestMediaType: manifest.found.descriptor.mediaType,
      configDigest: plan.configDigest,
      ...(indexes.length === 0 ? {} : { index: { digest: top.descriptor.digest, mediaType: top.descriptor.mediaType } }),
      layers,
    };
    const image = await this.#store.images.create({ config: withoutLayers(plan.config), tree, history: plan.config.history ?? [], origin });
    // The same image may have come under another manifest before. Whoever pulls one and pushes it on promotes the digest that he pulled.
    await this.#store.images.setOrigin(image.id, origin);
    return { ...image, origin };
  }

  /** So that the first `run` need not. */
  #project({ os, architecture }: ImageConfig, tree: TreeId, what: string): void {
    const { project, onError } = this.#options;
    const host = hostPlatform();
    if (os === host.os && architecture === host.architecture) project?.(tree).catch((error: unknown) => onError?.(error, what));
  }

  /** The chunked form, where it is wanted and there. Undefined: the ordinary one is to be taken. */
  async #bringChunks(pull: Pull, { ordinary, chunked }: ResolvedImage): Promise<Unpacked | undefined> {
    const form = this.#options.chunked;
    if (chunked === undefined) return undefined;
    if (form === undefined) throw noForm(pull);
    try {
      const { signal, report: onProgress, lease } = pull;
      const near = await this.#near(pull.reference);
      const pulled = await form.pull(pull.repository, chunked.found, { signal, onProgress, lease, near });
      pull.onBytes(pulled.bytesReceived);
      return await this.#rememberChunked(pull, pulled, ordinary?.manifest);
    } catch (error) {
      if (ordinary === undefined || !(isFallback(error) || isMissing(error))) throw error;
      pull.report({ status: `${error.message}: pulling its layers instead` });
      return undefined;
    }
  }

  async #rememberChunked(pull: Pull, pulled: ChunkedPulled, ordinary: Manifest | undefined): Promise<Unpacked> {
    const manifest = ordinary ?? pulled.manifest;
    const { platform } = pull.request;
    // The chunked manifest lists packs where the ordinary one lists layers; only the latter has to agree with the config.
    const plan = planImage(manifest, pulled.config, { what: pull.what, platform, withLayers: ordinary !== undefined });
    await this.#keep(pull, pulled.config);
    const layers = plan.layers.map(({ descriptor: { digest, size, mediaType }, diffId }) => ({
      digest,
      diffId,
      sizeBytes: size,
      mediaType,
    }));
    // Its head only says what the layers' blobs hold: nobody has read them. So they do not become known layers, which another image's manifest could name and get.
    const listed = [manifest.config, ...manifest.layers, ...pulled.manifest.layers].map(({ digest }) => parseDigest(digest));
    await this.#store.layers.addSources(pull.repository.name, [...new Set(listed)]);
    return { tree: pulled.tree, plan, layers };
  }

  async #bringLayers(pull: Pull, ordinary: ResolvedImage['ordinary']): Promise<Unpacked> {
    if (ordinary === undefined) throw noForm(pull);
    const { repository, lease, signal, what } = pull;
    const local = (digest: Digest) => this.#localDocument(digest);
    const configBytes = await fetchConfig(repository, ordinary.manifest, { what, signal, onBytes: pull.onBytes, local });
    const plan = planImage(ordinary.manifest, configBytes, { what, platform: pull.request.platform, withLayers: true });
    const fetched = await this.#fetchLayers(pull, plan.layers);
    const stack = plan.layers.map((layer) => this.#stacked(layer, fetched.get(layer.descriptor.digest)));
    const tree = await stackLayers(this.#store, stack, { signal, lease, maxPlainBytes: this.#options.maxPlainBytes });
    await this.#keep(pull, configBytes);
    const layers = plan.layers.map(({ descriptor: { digest, size, mediaType }, diffId }) => ({
      digest,
      diffId,
      sizeBytes: size,
      mediaType,
    }));
    await this.#store.layers.addSources(repository.name, [plan.configDigest, ...new Set(layers.map(({ digest }) => digest))]);
    return { tree, plan, layers };
  }

  #stacked({ descriptor: { digest }, diffId, what }: WantedLayer, fetched: FetchedLayer | undefined): StackedLayer {
    if (fetched?.kind === 'tree') return fetched;
    return { kind: 'tar', source: { file: this.#store.blobs.path(digest), what, digest, diffId } };
  }

  async #fetchLayers(pull: Pull, layers: readonly WantedLayer[]): Promise<Map<Digest, FetchedLayer>> {
    const fetched = new Map<Digest, FetchedLayer>();
    // Old images have the same empty layer many times.
    const different = [...new Map(layers.map((layer) => [`${layer.descriptor.digest} ${layer.diffId}`, layer])).values()];
    await limited(different, maxLayers, pull.signal, async (layer, signal) => {
      const { lease, report: onProgress, onBytes } = pull;
      fetched.set(layer.descriptor.digest, await this.#layers.fetch(pull.repository, layer, { lease, signal, onProgress, onBytes }));
    });
    return fetched;
  }

  /** Gives the image its names. True when the asked-for one was not its own before. */
  async #name({ reference, request }: Pull, { top }: ResolvedImage, image: ImageRecord): Promise<boolean> {
    const name = canonical(reference);
    const before = await this.#find(name);
    if (request.beside === true && before !== undefined) return before.id !== image.id;
    await this.#store.images.tag(name, image.id);
    await this.#store.images.tag(`${repositoryOf(reference)}@${top.descriptor.digest}`, image.id);
    await this.#store.uses.touch('image', image.id);
    return before?.id !== image.id;
  }

  /** What resembles what comes: the newest images of the repository. */
  async #near(reference: Reference): Promise<TreeId[]> {
    const prefix = repositoryOf(reference);
    const isOf = (name: string) => name.startsWith(`${prefix}:`) || name.startsWith(`${prefix}@`);
    const images = (await this.#store.images.list()).filter(({ references }) => references.some(isOf));
    images.sort((a, b) => b.record.createdAtMs - a.record.createdAtMs);
    return [...new Set(images.map(({ record }) => record.tree))].slice(0, maxNear);
  }

  async #keep({ lease }: Pull, bytes: Buffer): Promise<void> {
    const digest = digestOf(sha256(bytes));
    await lease.add('blob', digest);
    if (!(await this.#store.blobs.has(digest))) await this.#store.blobs.put(once(bytes), { digest, sizeBytes: bytes.length });
  }

  /** Undefined when it is not here, or not as it should be. */
  async #localDocument(digest: Digest): Promise<Buffer | undefined> {
    if (!(await this.#store.blobs.has(digest))) return undefined;
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#store.blobs.read(digest)) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    return digestOf(sha256(bytes)) === digest ? bytes : undefined;
  }

  async #find(name: string): Promise<ImageRecord | undefined> {
    try {
      return await this.#store.images.resolve(name);
    } catch (error) {
      if (error instanceof EngineError && error.code === 'IMAGE_NOT_FOUND') return undefined;
      throw error;
    }
  }

  async #hasTree(tree: TreeId): Promise<boolean> {
    try {
      await this.#store.trees.get(tree);
      return true;
    } catch (error) {
      if (error instanceof EngineError && error.code === 'TREE_NOT_FOUND') return false;
      throw error;
    }
  }
}

function noForm({ what }: Pull): EngineError {
  return new EngineError('Unsupported', 'IMAGE_FORM', `${what} is there in the chunked form only, which cannot be pulled like this`, {
    hint: 'Pull it without --format oci, or push it with --format both.',
  });
}

function isMissing(error: unknown): error is EngineError {
  return error instanceof EngineError && error.kind === 'NotFound';
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined;
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
