import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { withoutLayers } from '../../oci/config.ts';
import { type Digest, digestOf, type Hex, newHash, sha256 } from '../../oci/digest.ts';
import type { Manifest } from '../../oci/image.ts';
import { MediaType } from '../../oci/media-types.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import type { TreeRef } from '../../store/model.ts';
import type { ImageOrigin, KnownLayer, Lease, Store } from '../../store/port.ts';
import { type StackedLayer, stackLayers } from '../apply/stack.ts';
import { compressionOf } from '../compression.ts';
import { limited } from '../limited.ts';
import type { LoadedImage } from '../port.ts';
import type { UnlayerParams, UnlayerResult } from '../untar/layer-job.ts';
import { bundleName } from './bundle.ts';
import { ArchiveContents, type BoundedRange } from './contents.ts';
import { planDockerArchive } from './docker-archive.ts';
import { loadBundle } from './load-bundle.ts';
import { planOciLayout } from './oci-layout.ts';
import type { PlannedBlob, PlannedImage, PlannedLayer } from './plan.ts';
import type { ScanResult } from './scan.ts';
import { makeWorkspace } from './workspace.ts';

export type LoadOptions = { signal?: AbortSignal | undefined; onProgress?: ((message: string) => void) | undefined };

/** As many as the store has threads for work. */
const layersAtOnce = 2;

/** `known` is missing of a layer that only those below it tell the meaning of. */
type UnpackedLayer = Pick<KnownLayer, 'digest' | 'diffId' | 'sizeBytes'> & {
  planned: PlannedLayer;
  known?: Pick<KnownLayer, 'tree' | 'implied'> | undefined;
};
type UnpackedImage = { plan: PlannedImage; layers: UnpackedLayer[]; tree: TreeRef };

/**
 * Reads every image of an archive. All documents and layers are read and checked before anything is named: a damaged archive, and a
 * cancelled load, add no image and no tag. Manifest, config and layers are kept as blobs, so that a save gives the same digests again.
 */
export async function loadArchive(store: Store, file: string, { signal, onProgress }: LoadOptions): Promise<LoadedImage[]> {
  await using workspace = await makeWorkspace(store.paths.tmp, 'load');
  const what = 'the archive';
  const scanned = await store.jobs.run<ScanResult>(
    'transport.scan',
    { file, plainFile: join(workspace.path, 'plain.tar'), what },
    { signal },
  );
  const contents = new ArchiveContents(scanned, what);
  await using lease = await store.leases.acquire({ purpose: 'load' });
  if (contents.has(bundleName)) return await loadBundle(store, contents, { lease, signal, onProgress });
  const plans = await planImages(contents);
  const unpacked: UnpackedImage[] = [];
  for (const plan of plans) {
    onProgress?.(`Reading ${plan.name}: ${plan.layers.length} ${plan.layers.length === 1 ? 'layer' : 'layers'}`);
    unpacked.push(await unpackImage(store, plan, lease, signal));
  }
  const origins = [];
  for (const image of unpacked) origins.push(await keepBlobs(store, image, lease, signal));
  signal?.throwIfAborted();
  const loaded: LoadedImage[] = [];
  for (const [index, image] of unpacked.entries()) loaded.push(await nameImage(store, image, origins[index]));
  return loaded;
}

async function planImages(contents: ArchiveContents): Promise<PlannedImage[]> {
  const plans = contents.has('oci-layout') && contents.has('index.json') ? await planOciLayout(contents) : await planDocker(contents);
  if (plans.length === 0) throw contents.invalid('there is no image in it');
  return plans;
}

async function planDocker(contents: ArchiveContents): Promise<PlannedImage[]> {
  if (contents.has('manifest.json')) return planDockerArchive(contents);
  throw contents.invalid('it has neither manifest.json (docker save) nor index.json and oci-layout (OCI)');
}

/** Reads all layers, those too that are known: whether the archive is damaged is told before anything of it has a name. */
async function unpackImage(store: Store, plan: PlannedImage, lease: Lease, signal: AbortSignal | undefined): Promise<UnpackedImage> {
  const read = new Map<number, UnlayerResult>();
  await limited([...plan.layers.entries()], layersAtOnce, undefined, async ([index, layer], failed) => {
    const { file, offset, length, what, digest, diffId } = layer;
    const params: UnlayerParams = { file, offset, length, what, digest, diffId, maxPlainBytes: Number.POSITIVE_INFINITY };
    const stop = signal === undefined ? failed : AbortSignal.any([signal, failed]);
    read.set(index, await store.jobs.run<UnlayerResult>('transport.unlayer', params, { signal: stop, lease }));
  });
  const layers: UnpackedLayer[] = [];
  const stack: StackedLayer[] = [];
  for (const [index, planned] of plan.layers.entries()) {
    const result = read.get(index);
    if (result?.kind === 'layer') {
      const { id: tree, implied, digest, diffId, sizeBytes } = result;
      layers.push({ planned, digest, diffId, sizeBytes, known: { tree, implied } });
      stack.push({ kind: 'tree', tree, implied });
    } else {
      layers.push({ planned, digest: planned.digest ?? (await digestOfRange(planned)), diffId: planned.diffId, sizeBytes: planned.length });
      stack.push({ kind: 'tar', source: planned });
    }
  }
  return { plan, layers, tree: await stackLayers(store, stack, { signal, lease, maxPlainBytes: Number.POSITIVE_INFINITY }) };
}

async function keepBlobs(
  store: Store,
  { plan, layers: unpacked }: UnpackedImage,
  lease: Lease,
  signal: AbortSignal | undefined,
): Promise<ImageOrigin> {
  const layers: ImageOrigin['layers'] = [];
  for (const { planned, digest, diffId, sizeBytes, known } of unpacked) {
    await lease.add('blob', digest);
    if (!(await store.blobs.has(digest))) {
      await store.blobs.put(bytesOf(planned), { digest, sizeBytes }, { ...(signal === undefined ? {} : { signal }) });
    }
    const layer = { digest, diffId, sizeBytes, mediaType: planned.mediaType ?? layerType(planned) };
    if (known !== undefined) await store.layers.put({ ...layer, ...known });
    layers.push(layer);
  }
  const configDigest = await putBytes(store, lease, plan.configBytes);
  const manifest = plan.manifest ?? { bytes: makeManifest(plan, layers), mediaType: MediaType.ociManifest };
  const manifestDigest = await putBytes(store, lease, manifest.bytes);
  const origin: ImageOrigin = { manifestDigest, manifestMediaType: manifest.mediaType, configDigest, layers };
  if (plan.around === undefined) return origin;
  const { index, beside } = plan.around;
  for (const blob of beside) await putRange(store, lease, blob, signal);
  return { ...origin, index: { digest: await putBytes(store, lease, index.bytes), mediaType: index.mediaType } };
}

/** DataLoss `BLOB_DIGEST_MISMATCH`. */
async function putRange(store: Store, lease: Lease, { file, offset, length, digest }: PlannedBlob, signal: AbortSignal | undefined) {
  await lease.add('blob', digest);
  if (await store.blobs.has(digest)) return;
  await store.blobs.put(bytesOf({ file, offset, length }), { digest, sizeBytes: length }, { ...(signal === undefined ? {} : { signal }) });
}

async function nameImage(store: Store, { plan, tree }: UnpackedImage, origin: ImageOrigin | undefined): Promise<LoadedImage> {
  const image = await store.images.create({
    config: withoutLayers(plan.config),
    tree,
    history: plan.config.history ?? [],
    origin,
  });
  for (const reference of plan.references) await store.images.tag(reference, image.id);
  return { image, references: plan.references.map((reference) => familiar(parseReference(reference))) };
}

/** The manifest that Docker 25 and containerd make of the same config and layers, field for field. */
function makeManifest(plan: PlannedImage, layers: ImageOrigin['layers']): Buffer {
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    config: { mediaType: MediaType.ociConfig, digest: digestOf(sha256(plan.configBytes)), size: plan.configBytes.length },
    layers: layers.map(({ mediaType, digest, sizeBytes }) => ({ mediaType, digest, size: sizeBytes })),
  };
  return Buffer.from(JSON.stringify(manifest));
}

function layerType(layer: PlannedImage['layers'][number]): string {
  const compression = compressionOf(layer);
  return compression === 'gzip' ? MediaType.ociLayerGzip : compression === 'zstd' ? MediaType.ociLayerZstd : MediaType.ociLayer;
}

async function putBytes(store: Store, lease: Lease, bytes: Buffer) {
  const digest = digestOf(sha256(bytes));
  await lease.add('blob', digest);
  await store.blobs.put(once(bytes), { digest, sizeBytes: bytes.length });
  return digest;
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function bytesOf({ file, offset, length }: BoundedRange): AsyncIterable<Buffer> {
  return length === 0 ? emptyStream() : createReadStream(file, { start: offset, end: offset + length - 1, highWaterMark: 1 << 20 });
}

async function digestOfRange(layer: PlannedLayer): Promise<Digest> {
  const hash = newHash();
  for await (const chunk of bytesOf(layer)) hash.update(chunk);
  return digestOf(hash.digest('hex') as Hex);
}

async function* emptyStream(): AsyncGenerator<Buffer> {}
