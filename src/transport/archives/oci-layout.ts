import { EngineError } from '../../base/errors.ts';
import { diffIdsOf, maxConfigBytes, parseImageConfig } from '../../oci/config.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import type { Descriptor, ImageIndex, Manifest } from '../../oci/image.ts';
import { maxManifestBytes, parseIndex, parseManifest, parseManifestDocument } from '../../oci/manifest.ts';
import { isForeignLayer, isTarLayer, MediaType } from '../../oci/media-types.ts';
import { formatPlatform, hostPlatform, selectByPlatform } from '../../oci/platform.ts';
import { canonical, familiar, parseReference, withDefaultTag } from '../../oci/reference.ts';
import { isChunked } from '../chunked/port.ts';
import { type ArchiveContents, blobPath } from './contents.ts';
import type { PlannedBlob, PlannedImage, PlannedLayer } from './plan.ts';

/** containerd, nerdctl and Docker 25 put the whole reference here. */
export const imageNameAnnotation = 'io.containerd.image.name';
/** image-spec annotations.md. Some tools write a whole reference, some a name, some only a tag. */
export const refNameAnnotation = 'org.opencontainers.image.ref.name';

/** An index may point to an index; more levels than this nobody writes. */
const maxDepth = 4;

/** Reads an OCI image layout (image-spec image-layout.md). Of an image for several platforms, the one that fits this host is taken. */
export async function planOciLayout(contents: ArchiveContents): Promise<PlannedImage[]> {
  const layout = await contents.read('oci-layout', 64 * 1024);
  if (!/"imageLayoutVersion"\s*:\s*"1\./.test(layout.toString())) throw contents.invalid('its OCI layout is not of version 1');
  const index = parseIndex(await contents.read('index.json', maxManifestBytes), { what: `index.json of ${contents.what}` });
  const byDigest = new Map<Digest, PlannedImage>();
  for (const descriptor of topLevel(index)) {
    const references = referencesOf(descriptor);
    const found = await findManifest(contents, descriptor, 0);
    const known = byDigest.get(found.digest);
    if (known !== undefined) known.references.push(...references.filter((reference) => !known.references.includes(reference)));
    else byDigest.set(found.digest, await planImage(contents, found, references));
  }
  return [...byDigest.values()];
}

/** Entries that are for people; attestations and signatures lie beside them in some layouts. */
function topLevel(index: ImageIndex): Descriptor[] {
  const images = index.manifests.filter(
    (descriptor) => descriptor.annotations?.['vnd.docker.reference.type'] === undefined && descriptor.platform?.os !== 'unknown',
  );
  // Entries without a name that differ in platform are one image for several platforms.
  const unnamed = images.filter((descriptor) => referencesOf(descriptor).length === 0 && descriptor.platform !== undefined);
  if (unnamed.length < 2) return images;
  const chosen = selectByPlatform(unnamed, hostPlatform());
  return images.filter((descriptor) => !unnamed.includes(descriptor) || descriptor === chosen);
}

function referencesOf({ annotations = {} }: Descriptor): string[] {
  const full = annotations[imageNameAnnotation];
  if (full !== undefined) return [canonical(withDefaultTag(parseReference(full)))];
  const name = annotations[refNameAnnotation];
  // Alone, "latest" is the default tag of an image whose name the layout does not say.
  if (name === undefined || name === 'latest') return [];
  try {
    return [canonical(withDefaultTag(parseReference(name)))];
  } catch (error) {
    // The annotation may be any text; only what is a name can become one.
    if (error instanceof EngineError && error.code === 'REFERENCE_INVALID') return [];
    throw error;
  }
}

type FoundManifest = {
  digest: Digest;
  manifest: Manifest;
  bytes: Buffer;
  mediaType: string;
  /** The outermost that it was found in. */
  index?: { document: ImageIndex; bytes: Buffer; mediaType: string } | undefined;
};

async function findManifest(contents: ArchiveContents, descriptor: Descriptor, depth: number): Promise<FoundManifest> {
  const digest = parseDigest(descriptor.digest);
  const bytes = await contents.readBlob(digest, maxManifestBytes);
  if (bytes.length !== descriptor.size) {
    throw contents.invalid(`manifest ${digest.slice(0, 19)} has ${bytes.length} bytes, its descriptor says ${descriptor.size}`);
  }
  const parsed = parseManifestDocument(bytes, {
    mediaType: descriptor.mediaType,
    what: `manifest ${digest.slice(0, 19)} of ${contents.what}`,
  });
  if (parsed.kind === 'manifest') {
    return { digest, manifest: parsed.manifest, bytes, mediaType: parsed.manifest.mediaType ?? descriptor.mediaType };
  }
  if (depth >= maxDepth) throw contents.invalid('its indexes are nested too deeply');
  const wanted = hostPlatform();
  const chosen = selectByPlatform(parsed.index.manifests, wanted);
  if (chosen === undefined) {
    const offered = parsed.index.manifests.flatMap(({ platform }) => (platform === undefined ? [] : [formatPlatform(platform)]));
    throw new EngineError('Unsupported', 'PLATFORM_MISSING', `${contents.what} has no image for ${formatPlatform(wanted)}`, {
      hint: offered.length === 0 ? undefined : `It has: ${[...new Set(offered)].join(', ')}.`,
    });
  }
  const found = await findManifest(contents, chosen, depth + 1);
  return { ...found, index: { document: parsed.index, bytes, mediaType: descriptor.mediaType } };
}

async function planImage(contents: ArchiveContents, found: FoundManifest, references: string[]): Promise<PlannedImage> {
  const { digest, manifest, bytes, mediaType } = found;
  const name = references[0] === undefined ? digest.slice(0, 19) : familiar(parseReference(references[0]));
  if (manifest.config.mediaType !== MediaType.ociConfig && manifest.config.mediaType !== MediaType.dockerConfig) {
    throw new EngineError(
      'Unsupported',
      'NOT_AN_IMAGE',
      `${name} in ${contents.what} is not an image but of type ${manifest.config.mediaType}`,
    );
  }
  const configBytes = await contents.readBlob(parseDigest(manifest.config.digest), maxConfigBytes);
  const config = parseImageConfig(configBytes, `the config of ${name}`);
  const diffIds = diffIdsOf(config);
  if (diffIds.length !== manifest.layers.length) {
    throw contents.invalid(`the manifest of ${name} lists ${manifest.layers.length} layers, but its config ${diffIds.length}`);
  }
  const layers = diffIds.map((diffId, index): PlannedLayer => {
    const descriptor = manifest.layers[index];
    if (descriptor === undefined) throw contents.invalid(`layer ${index + 1} of ${name} is not listed`);
    return planLayer(contents, descriptor, diffId, `layer ${index + 1} of ${name}`);
  });
  return { name, references, configBytes, config, manifest: { bytes, mediaType }, layers, around: await planAround(contents, found) };
}

/** An index with the chunked form in it is kept with that; any other lists what is of no use without the rest of it. */
async function planAround(contents: ArchiveContents, { index }: FoundManifest): Promise<PlannedImage['around']> {
  const chunked = index?.document.manifests.find((each) => isChunked(each));
  if (index === undefined || chunked === undefined) return undefined;
  const digest = parseDigest(chunked.digest);
  const bytes = await contents.readBlob(digest, maxManifestBytes);
  const { config, layers } = parseManifest(bytes, { mediaType: chunked.mediaType, what: `the chunked manifest of ${contents.what}` });
  const beside = new Map<Digest, PlannedBlob>([[digest, { digest, ...contents.range(blobPath(digest)) }]]);
  for (const blob of [config, ...layers]) {
    const listed = parseDigest(blob.digest);
    const range = contents.range(blobPath(listed));
    if (range.length !== blob.size) throw contents.invalid(`blob ${listed} has ${range.length} bytes, its manifest says ${blob.size}`);
    beside.set(listed, { digest: listed, ...range });
  }
  return { index: { bytes: index.bytes, mediaType: index.mediaType }, beside: [...beside.values()] };
}

function planLayer(contents: ArchiveContents, descriptor: Descriptor, diffId: Digest, what: string): PlannedLayer {
  if (isForeignLayer(descriptor.mediaType) || !isTarLayer(descriptor.mediaType)) {
    throw new EngineError('Unsupported', 'LAYER_TYPE', `${what} is of type ${descriptor.mediaType}, which is not a tar in the archive`);
  }
  const digest = parseDigest(descriptor.digest);
  const range = contents.range(blobPath(digest));
  if (range.length !== descriptor.size) throw contents.invalid(`${what} has ${range.length} bytes, its manifest says ${descriptor.size}`);
  return { ...range, what, digest, diffId, mediaType: descriptor.mediaType };
}
