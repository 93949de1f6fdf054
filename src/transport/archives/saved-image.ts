import { join } from 'node:path';
import { type Digest, digestOf, type Hex, sha256 } from '../../oci/digest.ts';
import type { HistoryEntry, ImageConfig, Manifest } from '../../oci/image.ts';
import { parseManifest } from '../../oci/manifest.ts';
import { MediaType } from '../../oci/media-types.ts';
import type { Reference } from '../../oci/reference.ts';
import type { TreeId } from '../../store/model.ts';
import type { ImageRecord, Store } from '../../store/port.ts';
import type { TarParams, TarResult } from '../tar/job.ts';

/** A blob of an archive: bytes in memory for documents, a file for layers. */
export type SavedBlob = { digest: Digest; sizeBytes: number; mediaType: string; content: { bytes: Buffer } | { file: string } };
export type SavedImage = { references: Reference[]; manifest: SavedBlob; config: SavedBlob; layers: SavedBlob[] };

/** Layers made in this save, by tree: images of one tree share theirs. */
export type MadeLayers = Map<TreeId, SavedBlob>;

type Context = { store: Store; folder: string; made: MadeLayers; signal: AbortSignal | undefined };

/** The image as a manifest and blobs: the ones it came with when they are all there, else one deterministic layer of its whole tree. */
export async function projectImage(context: Context, record: ImageRecord, references: Reference[]): Promise<SavedImage> {
  const kept = await fromOrigin(context.store, record);
  return { references, ...(kept ?? (await fromTree(context, record))) };
}

async function fromOrigin(store: Store, { origin }: ImageRecord): Promise<Omit<SavedImage, 'references'> | undefined> {
  if (origin === undefined) return undefined;
  const needed = [origin.manifestDigest, origin.configDigest, ...origin.layers.map(({ digest }) => digest)];
  for (const digest of needed) if (!(await store.blobs.has(digest))) return undefined;
  const manifestBytes = await readWhole(store, origin.manifestDigest);
  const configBytes = await readWhole(store, origin.configDigest);
  const { config } = parseManifest(manifestBytes, { what: `the stored manifest ${origin.manifestDigest}` });
  return {
    manifest: blobOf(manifestBytes, origin.manifestMediaType),
    config: blobOf(configBytes, config.mediaType),
    layers: origin.layers.map(({ digest, sizeBytes, mediaType }) => ({
      digest,
      sizeBytes,
      mediaType,
      content: { file: store.blobs.path(digest) },
    })),
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
  return { manifest: blobOf(Buffer.from(JSON.stringify(manifest)), MediaType.ociManifest), config: configBlob, layers: [layer] };
}

async function makeLayer({ store, folder, signal }: Context, tree: TreeId): Promise<SavedBlob> {
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

function blobOf(bytes: Buffer, mediaType: string): SavedBlob {
  return { digest: digestOf(sha256(bytes) as Hex), sizeBytes: bytes.length, mediaType, content: { bytes } };
}

async function readWhole(store: Store, digest: Digest): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.blobs.read(digest)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
