import { join } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, type Hex, sha256 } from '../../oci/digest.ts';
import type { HistoryEntry, ImageConfig, Manifest } from '../../oci/image.ts';
import { MediaType } from '../../oci/media-types.ts';
import type { Reference } from '../../oci/reference.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord, Lease, Store } from '../../store/port.ts';
import type { LayerChoice } from '../port.ts';
import { isOneWithIndex, storedForm } from '../push/kept.ts';
import { aroundOrigin, type Making, type MakingParts, make } from '../push/made.ts';
import type { Outgoing } from '../push/outgoing.ts';
import type { TarParams, TarResult } from '../tar/job.ts';

/** A blob of an archive: bytes in memory for documents, a file for layers. */
export type SavedBlob = { digest: Digest; sizeBytes: number; mediaType: string; content: { bytes: Buffer } | { file: string } };
/** `top` is what a name stands for: the manifest, or the index around it. `beside`: what else the index needs. */
export type SavedImage = { references: Reference[]; top: SavedBlob; config: SavedBlob; layers: SavedBlob[]; beside: SavedBlob[] };

/** Layers made in this save, by tree: images of one tree share theirs. */
export type MadeLayers = Map<TreeId, SavedBlob>;

export type Projection = { layers?: LayerChoice | undefined; chunked?: boolean | undefined };

type Context = { parts: MakingParts; folder: string; made: MadeLayers; lease: Lease; signal: AbortSignal | undefined };

/**
 * The image as a manifest and blobs: the ones it came with when they are all there, else one deterministic layer of its whole tree, or the layers that were chosen; with `chunked` in an index with
 * the chunked form.
 */
export async function projectImage(
  context: Context,
  record: ImageRecord,
  references: Reference[],
  projection: Projection,
): Promise<SavedImage> {
  const { store } = context.parts;
  const kept =
    projection.layers === undefined
      ? await storedForm(store, record, { index: projection.chunked === true || isOneWithIndex(record) })
      : undefined;
  const isWhole = kept !== undefined && (projection.chunked !== true || kept.manifests.length > 0);
  if (isWhole) return { references, ...savedOf(store, kept) };
  if (projection.layers === undefined && projection.chunked !== true) return { references, ...(await fromTree(context, record)) };
  return { references, ...savedOf(store, await made(context, record, kept, projection)) };
}

async function made(context: Context, record: ImageRecord, kept: Outgoing | undefined, { layers, chunked }: Projection): Promise<Outgoing> {
  const { parts, lease, signal } = context;
  const making: Making = {
    image: record,
    repository: undefined,
    destination: { tagged: undefined, candidates: [], previous: undefined, there: new Set() },
    form: chunked ? 'both' : 'oci',
    choice: layers ?? { kind: 'single' },
    // Uncompressed, as docker save has it; but the chunked form finds its chunks in frames of the layers.
    compression: chunked ? 'gzip' : 'none',
    lease,
  };
  const around = kept === undefined ? undefined : await aroundOrigin(parts, making, { signal });
  const outgoing = around ?? (await make(parts, making, { signal }));
  if (outgoing.blobs.every(({ source }) => source !== undefined)) return outgoing;
  // Layers of the image that it was built on whose blobs were never here.
  return make(parts, { ...making, choice: { kind: 'single' } }, { signal });
}

function savedOf(store: Store, { top, manifests, manifest, origin, blobs, documents }: Outgoing): Omit<SavedImage, 'references'> {
  const stored = (digest: Digest, sizeBytes: number, mediaType: string): SavedBlob => ({
    digest,
    sizeBytes,
    mediaType,
    content: { file: store.blobs.path(digest) },
  });
  if (origin === undefined) throw new EngineError('Internal', 'SAVE_FORM', `image ${manifest.digest} has no ordinary form`);
  const layers = origin.layers.map(({ digest, sizeBytes, mediaType }) => stored(digest, sizeBytes, mediaType));
  const configSize = blobs.find(({ descriptor }) => descriptor.digest === origin.configDigest)?.descriptor.size ?? 0;
  const config = documents.get(origin.configDigest);
  const own = new Set([origin.configDigest, ...layers.map(({ digest }) => digest)]);
  return {
    top: blobOf(top.bytes, top.mediaType),
    config: config === undefined ? stored(origin.configDigest, configSize, MediaType.ociConfig) : blobOf(config.bytes, config.mediaType),
    layers,
    beside: [
      ...manifests.map(({ bytes, mediaType }) => blobOf(bytes, mediaType)),
      ...blobs
        .filter(({ descriptor }) => !own.has(descriptor.digest))
        .map(({ descriptor }) => stored(descriptor.digest, descriptor.size, '')),
    ],
  };
}

async function fromTree(context: Context, record: ImageRecord): Promise<Omit<SavedImage, 'references'>> {
  const layer = context.made.get(record.tree) ?? (await makeLayer(context, record.tree));
  context.made.set(record.tree, layer);
  const config: ImageConfig = {
    ...record.config,
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
    history: historyOfOneLayer(record),
  };
  const configBlob = blobOf(Buffer.from(JSON.stringify(config)), MediaType.ociConfig);
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    config: { mediaType: MediaType.ociConfig, digest: configBlob.digest, size: configBlob.sizeBytes },
    layers: [{ mediaType: layer.mediaType, digest: layer.digest, size: layer.sizeBytes }],
  };
  return { top: blobOf(Buffer.from(JSON.stringify(manifest)), MediaType.ociManifest), config: configBlob, layers: [layer], beside: [] };
}

async function makeLayer({ parts: { store }, folder, signal }: Context, tree: TreeId): Promise<SavedBlob> {
  const file = join(folder, `${tree}.tar`);
  // Uncompressed, as docker save has it: whoever loads it unpacks at once, and whoever stores it compresses the whole.
  const params: TarParams = { tree, output: file, compression: 'none', kind: 'layer' };
  const { digest, sizeBytes } = await store.jobs.run<TarResult>('transport.tar', params, { signal });
  return { digest, sizeBytes, mediaType: MediaType.ociLayer, content: { file } };
}

/** What was done stays told, but exactly one entry may claim the one layer: readers pair entries and layers by counting. */
function historyOfOneLayer(record: Pick<ImageRecord, 'history' | 'config'>): HistoryEntry[] {
  const { history, config } = record;
  if (history.length === 0) {
    return [
      {
        ...(config.created === undefined ? {} : { created: config.created }),
        created_by: 'slipway',
        comment: 'the whole tree as one layer',
      },
    ];
  }
  const lastFilled = history.findLastIndex((entry) => entry.empty_layer !== true);
  const owner = lastFilled < 0 ? history.length - 1 : lastFilled;
  return history.map(({ empty_layer: _empty, ...entry }, index) => (index === owner ? entry : { ...entry, empty_layer: true }));
}

export function blobOf(bytes: Buffer, mediaType: string): SavedBlob {
  return { digest: digestOf(sha256(bytes) as Hex), sizeBytes: bytes.length, mediaType, content: { bytes } };
}
