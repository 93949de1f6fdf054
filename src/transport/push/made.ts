import { type Digest, parseDigest } from '../../oci/digest.ts';
import type { HistoryEntry, ImageConfig, ImageIndex, Manifest } from '../../oci/image.ts';
import { parseManifest } from '../../oci/manifest.ts';
import { MediaType } from '../../oci/media-types.ts';
import { parseReference } from '../../oci/reference.ts';
import type { TreeRef } from '../../store/model.ts';
import type { ImageOrigin, ImageRecord, KnownLayer, Lease, Store } from '../../store/port.ts';
import type { ChunkedBuild, ChunkedForm } from '../chunked/port.ts';
import { showBytes } from '../layers/explain.ts';
import type { LayerMaker, LayerPlan, MakeOptions } from '../layers/port.ts';
import type { ImageForm, LayerChoice, LayerCompression, TransferCallOptions } from '../port.ts';
import type { Registries, Repository } from '../registry/port.ts';
import { type Destination, knownLayers } from './destination.ts';
import {
  descriptorOf,
  document,
  memorySource,
  type Outgoing,
  type OutgoingBlob,
  type OutgoingDocument,
  readDocument,
  storedBlob,
} from './outgoing.ts';

export type MakingParts = { store: Store; registries: Registries; layers: LayerMaker; chunked: ChunkedForm };

export type Making = {
  image: ImageRecord;
  /** Undefined when it goes into an archive. */
  repository: Repository | undefined;
  destination: Destination;
  form: ImageForm;
  choice: LayerChoice;
  compression: LayerCompression;
  lease: Lease;
  /** Given the blobs of large layers while they are made. */
  onGrowing?: MakeOptions['onGrowing'];
  /** Told of the layers as soon as they are there: the chunked form takes a while more. */
  onLayers?: ((layers: readonly OutgoingBlob[]) => void) | undefined;
};

/** Which layers the image is to have; nothing is compressed yet. */
export function plan(parts: MakingParts, making: Making, { signal }: TransferCallOptions): Promise<LayerPlan> {
  const { image, choice, compression, destination, lease } = making;
  return parts.layers.plan({ image, choice, compression, candidates: destination.candidates }, { signal, lease });
}

/** Makes of the image what is to be sent: layers, config and manifest, the chunked form, and the index around both. */
export async function make(parts: MakingParts, making: Making, options: TransferCallOptions): Promise<Outgoing> {
  const { form, lease } = making;
  if (form === 'chunked') return makeChunkedOnly(parts, making, options);
  const layerPlan = await plan(parts, making, options);
  const layers = await parts.layers.make(layerPlan, {
    signal: options.signal,
    lease,
    onGrowing: making.onGrowing,
    // Its blob has no name yet; the layer's tree has.
    onCompressed: ({ tree, bytes: total }, bytes) =>
      options.onProgress?.({ id: tree.slice(0, 12), status: 'Compressing', current: Math.min(bytes, total), total }),
  });
  const config = configOf(making.image, layers, layerPlan.history);
  return enclose(parts, making, { config, layers, tree: layerPlan.tree, explanation: layerPlan.explanation }, options);
}

type Ordinary = {
  config: OutgoingDocument;
  layers: readonly KnownLayer[];
  tree: TreeRef;
  /** When it is not to be made anew of config and layers. */
  manifest?: OutgoingDocument | undefined;
  explanation: readonly string[];
};

/** The ordinary manifest, alone or with the chunked form in an index. */
export async function enclose(parts: MakingParts, making: Making, ordinary: Ordinary, options: TransferCallOptions): Promise<Outgoing> {
  const { config, layers, tree } = ordinary;
  const manifest = ordinary.manifest ?? manifestOf(config, layers);
  const listed = new Map<Digest, OutgoingBlob>();
  for (const layer of layers) listed.set(layer.digest, await layerBlob(parts, layer));
  making.onLayers?.([...listed.values()]);
  const build = making.form === 'both' ? await buildChunked(parts, making, { config, layers, tree }, options) : undefined;
  const ordinaryBytes = newBytes([...listed.values()], making.destination.there);
  if (build !== undefined) await addChunked(parts.store, listed, build);
  const chunked = build === undefined ? undefined : chunkedDocument(build);
  const index = build === undefined || chunked === undefined ? undefined : indexOf(making.image, manifest, build);
  await keep(parts.store, making.lease, [
    config,
    manifest,
    ...(chunked === undefined ? [] : [chunked]),
    ...(index === undefined ? [] : [index]),
  ]);
  return {
    blobs: [configBlob(config), ...listed.values()],
    manifests: index === undefined || chunked === undefined ? [] : [manifest, chunked],
    top: index ?? manifest,
    manifest: descriptorOf(manifest),
    origin: originOf({ config, manifest, index, layers }),
    there: making.destination.there,
    documents: new Map([[config.digest, config]]),
    sizeBytes: layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, manifest.bytes.length + config.bytes.length),
    explanation: [
      ...ordinary.explanation,
      ...(build?.explanation ?? []),
      costs(ordinaryBytes + manifest.bytes.length + config.bytes.length, build, making.form),
    ],
  };
}

/**
 * `--format both` of an image that came as an ordinary one: its manifest stays, and the chunked form is put beside it. Undefined when its manifest is not here, or its layers are not
 * known.
 */
export async function aroundOrigin(parts: MakingParts, making: Making, options: TransferCallOptions): Promise<Outgoing | undefined> {
  const { image } = making;
  const { origin } = image;
  if (origin === undefined) return undefined;
  const layers = await knownLayers(parts.store, origin.layers);
  const manifest = await readDocument(parts.store, origin.manifestDigest, origin.manifestMediaType);
  if (layers === undefined || manifest === undefined) return undefined;
  const { mediaType } = parseManifest(manifest.bytes, { what: `the stored manifest ${manifest.digest}` }).config;
  const config = await readDocument(parts.store, origin.configDigest, mediaType);
  if (config === undefined) return undefined;
  const tree = { id: image.tree, content: image.treeContent };
  const explanation = [`as it came: manifest ${origin.manifestDigest}`];
  return enclose(parts, making, { config, manifest, layers, tree, explanation }, options);
}

async function makeChunkedOnly(parts: MakingParts, making: Making, options: TransferCallOptions): Promise<Outgoing> {
  const { image, destination, lease } = making;
  const config = configOf(image, [], image.history);
  const tree = { id: image.tree, content: image.treeContent };
  const build = await buildChunked(parts, making, { config, layers: [], tree }, options);
  const manifest = chunkedDocument(build);
  const listed = new Map<Digest, OutgoingBlob>();
  await addChunked(parts.store, listed, build);
  await keep(parts.store, lease, [config, manifest]);
  return {
    blobs: [configBlob(config), ...listed.values()],
    manifests: [],
    top: manifest,
    manifest: build.manifest.descriptor,
    origin: undefined,
    there: destination.there,
    documents: new Map([[config.digest, config]]),
    sizeBytes: build.listed.reduce((sum, { size }) => sum + size, manifest.bytes.length),
    explanation: [...build.explanation, costs(0, build, 'chunked')],
  };
}

function buildChunked(
  parts: MakingParts,
  { form, destination, repository, lease }: Making,
  { config, layers, tree }: Pick<Ordinary, 'config' | 'layers' | 'tree'>,
  { signal, onProgress }: TransferCallOptions,
): Promise<ChunkedBuild> {
  const previous =
    destination.previous === undefined || repository === undefined ? undefined : { repository, manifest: destination.previous };
  return parts.chunked.build(
    { tree, config: descriptorOf(config), layers, previous, form: form === 'chunked' ? 'chunked' : 'both' },
    { signal, onProgress, lease },
  );
}

function configOf(image: ImageRecord, layers: readonly KnownLayer[], history: readonly HistoryEntry[]): OutgoingDocument {
  const config: ImageConfig = {
    ...image.config,
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    history: [...history],
  };
  return document(config, MediaType.ociConfig);
}

function manifestOf(config: OutgoingDocument, layers: readonly KnownLayer[]): OutgoingDocument {
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    config: descriptorOf(config),
    layers: layers.map(({ mediaType, digest, sizeBytes }) => ({ mediaType: ociLayerType(mediaType), digest, size: sizeBytes })),
  };
  return document(manifest, MediaType.ociManifest);
}

/** A layer that is kept may have come under Docker's names; in an OCI manifest the same bytes have OCI's. */
function ociLayerType(mediaType: string): string {
  const types: Record<string, string> = {
    [MediaType.dockerLayer]: MediaType.ociLayer,
    [MediaType.dockerLayerGzip]: MediaType.ociLayerGzip,
  };
  return types[mediaType] ?? mediaType;
}

function indexOf({ config }: ImageRecord, manifest: OutgoingDocument, build: ChunkedBuild): OutgoingDocument {
  const { architecture, os, variant } = config;
  const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
  const index: ImageIndex = {
    schemaVersion: 2,
    mediaType: MediaType.ociIndex,
    manifests: [{ ...descriptorOf(manifest), platform }, build.manifest.descriptor],
  };
  return document(index, MediaType.ociIndex);
}

function chunkedDocument({ manifest: { bytes, descriptor } }: ChunkedBuild): OutgoingDocument {
  return { digest: parseDigest(descriptor.digest), mediaType: descriptor.mediaType, bytes };
}

/** Blobs that are listed and not made now are layers, their tables, or in the repository already, as the manifest that went before lists them. */
async function addChunked(store: Store, listed: Map<Digest, OutgoingBlob>, build: ChunkedBuild): Promise<void> {
  for (const descriptor of [...build.blobs, ...build.listed]) {
    const digest = parseDigest(descriptor.digest);
    if (listed.has(digest) || descriptor.mediaType === MediaType.ociConfig) continue;
    listed.set(digest, await storedBlob(store, descriptor, { shown: false }));
  }
}

async function layerBlob({ store, registries }: MakingParts, layer: KnownLayer): Promise<OutgoingBlob> {
  const seen = await store.layers.sources(layer.digest);
  const elsewhere = seen.slice(0, 3).map((name) => registries.repository(parseReference(name)));
  return storedBlob(store, { digest: layer.digest, size: layer.sizeBytes }, { shown: true, elsewhere });
}

function configBlob(config: OutgoingDocument): OutgoingBlob {
  return { descriptor: descriptorOf(config), shown: false, source: memorySource(config.bytes), elsewhere: [] };
}

function originOf(made: {
  config: OutgoingDocument;
  manifest: OutgoingDocument;
  index: OutgoingDocument | undefined;
  layers: readonly KnownLayer[];
}): ImageOrigin {
  const { config, manifest, index, layers } = made;
  return {
    manifestDigest: manifest.digest,
    manifestMediaType: manifest.mediaType,
    configDigest: config.digest,
    ...(index === undefined ? {} : { index: { digest: index.digest, mediaType: index.mediaType } }),
    layers: layers.map(({ digest, diffId, sizeBytes, mediaType }) => ({ digest, diffId, sizeBytes, mediaType: ociLayerType(mediaType) })),
  };
}

/** So that the next push, and a save, give the same bytes again. */
async function keep(store: Store, lease: Lease, documents: readonly OutgoingDocument[]): Promise<void> {
  for (const { digest, bytes } of documents) {
    await lease.add('blob', digest);
    if (!(await store.blobs.has(digest))) await store.blobs.put(memorySource(bytes).read(0), { digest, sizeBytes: bytes.length });
  }
}

function newBytes(blobs: readonly OutgoingBlob[], there: ReadonlySet<Digest>): number {
  return blobs.filter(({ descriptor }) => !there.has(descriptor.digest)).reduce((sum, { descriptor }) => sum + descriptor.size, 0);
}

function costs(ordinaryBytes: number, build: ChunkedBuild | undefined, form: ImageForm): string {
  const parts = [
    ...(form === 'chunked' ? [] : [`ordinary form: ${showBytes(ordinaryBytes)} unless the registry has them already`]),
    ...(build === undefined
      ? []
      : [`chunked form: ${showBytes(build.bytes + build.manifest.bytes.length)}${form === 'both' ? ' more' : ''}`]),
  ];
  return parts.join('; ');
}
