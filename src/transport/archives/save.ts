import { createReadStream } from 'node:fs';
import type { ByteString } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Descriptor, ImageIndex } from '../../oci/image.ts';
import { MediaType } from '../../oci/media-types.ts';
import { canonical, familiar, familiarName, parseReference, type Reference, withDefaultTag } from '../../oci/reference.ts';
import type { TarMember } from '../../oci/tar/member.ts';
import { encodeTarHeader, endOfArchive, tarPadding } from '../../oci/tar/writer.ts';
import type { ImageRecord, Lease, Store } from '../../store/port.ts';
import type { LayerChoice } from '../port.ts';
import type { MakingParts } from '../push/made.ts';
import { type BundledImage, bundleName, encodeBundle } from './bundle.ts';
import { blobPath } from './contents.ts';
import { imageNameAnnotation, refNameAnnotation } from './oci-layout.ts';
import { bundleImage } from './save-bundle.ts';
import { type MadeLayers, projectImage, type SavedBlob, type SavedImage } from './saved-image.ts';
import { makeWorkspace } from './workspace.ts';

export type SaveOptions = {
  format: 'docker' | 'oci';
  layers?: LayerChoice | undefined;
  chunked?: boolean | undefined;
  since?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
};

/**
 * Images as one tar, an OCI layout in which, for `docker`, `manifest.json` and `repositories` describe the same blobs to Docker's loader
 * (docs/formats/archives.md). Each blob is there once. The same images give the same bytes. All layers are ready before the first byte is given,
 * so that an error comes instead of a stream and not in the middle of one.
 */
export async function* saveArchive(parts: MakingParts, names: readonly string[], options: SaveOptions): AsyncGenerator<Uint8Array> {
  const { store } = parts;
  const { format, layers, chunked, since = [], signal } = options;
  if (names.length === 0) throw new EngineError('InvalidArgument', 'NO_IMAGE', 'no image to save was named');
  await using lease = await store.leases.acquire({ purpose: 'save' });
  await using workspace = await makeWorkspace(store.paths.tmp, 'save');
  const named = await resolveNames(store, names);
  for (const { record } of named) await lease.add('image', record.id);
  if (since.length > 0) {
    if (layers !== undefined || chunked) throw sinceAlone();
    yield* bundle(parts, named, since, { lease, signal });
    return;
  }
  const made: MadeLayers = new Map();
  const images: SavedImage[] = [];
  for (const { record, references } of named) {
    const context = { parts, folder: workspace.path, made, lease, signal };
    images.push(await projectImage(context, record, references, { layers, chunked }));
  }
  yield* archive(documentsOf(images, format), distinctBlobs(images), signal);
}

/** Only what the images lack that the other side has. */
async function* bundle(
  parts: MakingParts,
  named: readonly { record: ImageRecord; references: Reference[] }[],
  since: readonly string[],
  options: { lease: Lease; signal: AbortSignal | undefined },
): AsyncGenerator<Uint8Array> {
  const olds = await Promise.all(since.map((name) => parts.store.images.resolve(name)));
  for (const { id } of olds) await options.lease.add('image', id);
  const entries: BundledImage[] = [];
  const blobs = new Map<Digest, SavedBlob>();
  for (const image of named) {
    const bundled = await bundleImage(parts, image, olds, options);
    entries.push(bundled.entry);
    for (const blob of bundled.blobs) blobs.set(blob.digest, blob);
  }
  yield* archive([{ name: bundleName, bytes: encodeBundle(entries) }], [...blobs.values()], options.signal);
}

async function* archive(
  documents: readonly { name: string; bytes: Buffer }[],
  blobs: readonly SavedBlob[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  yield directory('blobs/');
  yield directory('blobs/sha256/');
  for (const { name, bytes } of documents) yield wholeFile(name, bytes);
  for (const blob of blobs) {
    yield header(blobPath(blob.digest), blob.sizeBytes);
    yield* contentOf(blob, signal);
    yield tarPadding(blob.sizeBytes);
  }
  yield endOfArchive;
}

function sinceAlone(): EngineError {
  return new EngineError('InvalidArgument', 'SAVE_OPTIONS', 'a bundle of what is new has neither layers nor the chunked form', {
    hint: 'Leave --layers and --chunked out, or --since.',
  });
}

/** Names to images; an image that is named twice is there once, with both names. A bare ID brings no name with it, as in Docker. */
async function resolveNames(store: Store, names: readonly string[]): Promise<{ record: ImageRecord; references: Reference[] }[]> {
  const images = new Map<Digest, { record: ImageRecord; references: Reference[] }>();
  for (const name of names) {
    const record = await store.images.resolve(name);
    const image = images.get(record.id) ?? { record, references: [] };
    images.set(record.id, image);
    const reference = await referenceFor(store, record, name);
    if (reference !== undefined && !image.references.some((known) => canonical(known) === canonical(reference)))
      image.references.push(reference);
  }
  return [...images.values()];
}

async function referenceFor(store: Store, record: ImageRecord, name: string): Promise<Reference | undefined> {
  const wanted = toReference(name);
  if (wanted === undefined) return undefined;
  const known = await store.images.references(record.id);
  return known.some((text) => canonical(withDefaultTag(parseReference(text))) === canonical(wanted)) ? wanted : undefined;
}

function toReference(name: string): Reference | undefined {
  try {
    return withDefaultTag(parseReference(name));
  } catch {
    return undefined; // an ID, which resolved already
  }
}

function documentsOf(images: readonly SavedImage[], format: 'docker' | 'oci'): { name: string; bytes: Buffer }[] {
  const json = (name: string, content: unknown) => ({ name, bytes: Buffer.from(JSON.stringify(content)) });
  const oci = [json('index.json', indexOf(images)), json('oci-layout', { imageLayoutVersion: '1.0.0' })];
  if (format === 'oci') return oci;
  return [...oci, json('manifest.json', dockerManifestOf(images)), json('repositories', repositoriesOf(images))];
}

/** One descriptor a name, as containerd has it: a descriptor has room for one name only. */
function indexOf(images: readonly SavedImage[]): ImageIndex {
  const manifests = images.flatMap(({ top, references }): Descriptor[] => {
    const descriptor = { mediaType: top.mediaType, digest: top.digest, size: top.sizeBytes };
    if (references.length === 0) return [descriptor];
    return references.map((reference) => ({
      ...descriptor,
      annotations: { [imageNameAnnotation]: canonical(reference), [refNameAnnotation]: reference.tag ?? 'latest' },
    }));
  });
  return { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests };
}

function dockerManifestOf(images: readonly SavedImage[]): unknown {
  return images.map(({ config, layers, references }) => ({
    Config: blobPath(config.digest),
    RepoTags: references.length === 0 ? null : references.map((reference) => familiar(reference)),
    Layers: layers.map(({ digest }) => blobPath(digest)),
  }));
}

/** Docker before 1.10 read only this; some scripts still do. */
function repositoriesOf(images: readonly SavedImage[]): Record<string, Record<string, string>> {
  const repositories = new Map<string, [tag: string, layer: string][]>();
  for (const { references, layers } of images) {
    const top = layers.at(-1)?.digest.slice('sha256:'.length) ?? '';
    for (const reference of references) {
      if (reference.tag === undefined) continue;
      const tags = repositories.get(familiarName(reference)) ?? [];
      repositories.set(familiarName(reference), [...tags, [reference.tag, top]]);
    }
  }
  return Object.fromEntries([...repositories].map(([name, tags]) => [name, Object.fromEntries(tags)]));
}

function distinctBlobs(images: readonly SavedImage[]): SavedBlob[] {
  const blobs = new Map<Digest, SavedBlob>();
  for (const { top, config, layers, beside } of images)
    for (const blob of [top, config, ...layers, ...beside]) blobs.set(blob.digest, blob);
  return [...blobs.values()];
}

async function* contentOf(blob: SavedBlob, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  if ('bytes' in blob.content) {
    yield blob.content.bytes;
    return;
  }
  let bytes = 0;
  for await (const chunk of createReadStream(blob.content.file, { highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) })) {
    bytes += chunk.length;
    yield chunk;
  }
  if (bytes !== blob.sizeBytes) {
    throw new EngineError(
      'DataLoss',
      'BLOB_DAMAGED',
      `blob ${blob.digest} is damaged: it has ${bytes} bytes instead of ${blob.sizeBytes}`,
      {
        hint: 'Load, pull or build the image again.',
      },
    );
  }
}

function wholeFile(name: string, bytes: Buffer): Buffer {
  return Buffer.concat([header(name, bytes.length), bytes, tarPadding(bytes.length)]);
}

function directory(name: string): Buffer {
  return encodeTarHeader({ ...plainMember, type: 'directory', name: name as ByteString, mode: 0o755 });
}

function header(name: string, size: number): Buffer {
  return encodeTarHeader({ ...plainMember, name: name as ByteString, size });
}

const plainMember: TarMember = {
  type: 'file',
  name: '' as ByteString,
  linkTarget: '' as ByteString,
  size: 0,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSec: 0,
  mtimeNsec: 0,
  major: 0,
  minor: 0,
  xattrs: [],
};
