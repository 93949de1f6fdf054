import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { withoutLayers } from '../../oci/config.ts';
import { digestOf, sha256 } from '../../oci/digest.ts';
import type { Manifest } from '../../oci/image.ts';
import { MediaType } from '../../oci/media-types.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import type { ImageOrigin, Lease, Store } from '../../store/port.ts';
import { compressionOf } from '../compression.ts';
import type { LoadedImage } from '../port.ts';
import type { UntarParams, UntarResult } from '../untar/job.ts';
import { ArchiveContents } from './contents.ts';
import { planDockerArchive } from './docker-archive.ts';
import { planOciLayout } from './oci-layout.ts';
import type { PlannedImage } from './plan.ts';
import type { ScanResult } from './scan.ts';
import { makeWorkspace } from './workspace.ts';

export type LoadOptions = { signal?: AbortSignal | undefined; onProgress?: ((message: string) => void) | undefined };

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
  const plans = await planImages(new ArchiveContents(scanned, what));
  await using lease = await store.leases.acquire({ purpose: 'load' });
  const unpacked: { plan: PlannedImage; tree: UntarResult }[] = [];
  for (const plan of plans) {
    onProgress?.(`Reading ${plan.name}: ${plan.layers.length} ${plan.layers.length === 1 ? 'layer' : 'layers'}`);
    unpacked.push({ plan, tree: await unpackLayers(store, plan, lease, signal) });
  }
  const origins = [];
  for (const { plan, tree } of unpacked) origins.push(await keepBlobs(store, plan, tree, lease, signal));
  signal?.throwIfAborted();
  const loaded: LoadedImage[] = [];
  for (const [index, { plan, tree }] of unpacked.entries()) loaded.push(await nameImage(store, plan, tree, origins[index]));
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

function unpackLayers(store: Store, plan: PlannedImage, lease: Lease, signal: AbortSignal | undefined): Promise<UntarResult> {
  const params: UntarParams = { kind: 'layer', sources: plan.layers };
  return store.jobs.run<UntarResult>('transport.untar', params, { signal, lease });
}

async function keepBlobs(
  store: Store,
  plan: PlannedImage,
  tree: UntarResult,
  lease: Lease,
  signal: AbortSignal | undefined,
): Promise<ImageOrigin> {
  const layers: ImageOrigin['layers'] = [];
  for (const [index, source] of tree.sources.entries()) {
    const planned = plan.layers[index];
    if (planned === undefined) continue;
    const { file, offset, length } = planned;
    await lease.add('blob', source.digest);
    if (!(await store.blobs.has(source.digest))) {
      const bytes =
        length === 0 ? emptyStream() : createReadStream(file, { start: offset, end: offset + length - 1, highWaterMark: 1 << 20 });
      await store.blobs.put(bytes, { digest: source.digest, sizeBytes: length }, { ...(signal === undefined ? {} : { signal }) });
    }
    layers.push({ ...source, mediaType: planned.mediaType ?? layerType(planned) });
  }
  const configDigest = await putBytes(store, lease, plan.configBytes);
  const manifest = plan.manifest ?? { bytes: makeManifest(plan, layers), mediaType: MediaType.ociManifest };
  const manifestDigest = await putBytes(store, lease, manifest.bytes);
  return { manifestDigest, manifestMediaType: manifest.mediaType, configDigest, layers };
}

async function nameImage(store: Store, plan: PlannedImage, tree: UntarResult, origin: ImageOrigin | undefined): Promise<LoadedImage> {
  const image = await store.images.create({
    config: withoutLayers(plan.config),
    tree: { id: tree.id, content: tree.content },
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

async function* emptyStream(): AsyncGenerator<Buffer> {}
