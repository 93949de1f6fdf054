import { EngineError } from '../base/errors.ts';
import { parseDigest } from './digest.ts';
import { JsonDocument } from './document.ts';
import type { Descriptor, ImageIndex, Manifest, Platform } from './image.ts';
import { isIndexType, isManifestType } from './media-types.ts';

/** Registries refuse more (distribution's limit), so no sound manifest is larger. */
export const maxManifestBytes = 4 * 1024 * 1024;
const maxDescriptors = 10_000;

export type ManifestDocument =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  | { readonly kind: 'index'; readonly index: ImageIndex };

/**
 * Parses an image manifest or index (image-spec manifest.md, image-index.md; Docker's schema 2 and manifest list). `mediaType` is what the
 * descriptor or the registry called it. A document that could be read as both is refused (CVE-2021-41190), and so is one whose own
 * mediaType disagrees with what it was announced as. Throws InvalidArgument `DOCUMENT_INVALID`, Unsupported `MANIFEST_SCHEMA1`.
 */
export function parseManifestDocument(bytes: Uint8Array | string, options: { mediaType?: string; what?: string } = {}): ManifestDocument {
  const document = new JsonDocument(bytes, options.what ?? 'the manifest', maxManifestBytes);
  const { root } = document;
  refuseSchema1(root, options.what ?? 'the manifest');
  const version = document.integer(root.schemaVersion, 'schemaVersion');
  if (version !== 2) throw document.error('schemaVersion', `is ${version}; only 2 is known`);
  const kind = kindOf(document, options.mediaType);
  return kind === 'index' ? { kind, index: readIndex(document) } : { kind, manifest: readManifest(document) };
}

/** As `parseManifestDocument`, for a place where only a manifest may stand. */
export function parseManifest(bytes: Uint8Array | string, options: { mediaType?: string; what?: string } = {}): Manifest {
  const document = parseManifestDocument(bytes, options);
  if (document.kind === 'manifest') return document.manifest;
  throw new EngineError('InvalidArgument', 'DOCUMENT_INVALID', `${options.what ?? 'the manifest'} is an image index, expected a manifest`);
}

/** As `parseManifestDocument`, for a place where only an index may stand (`index.json` of an OCI layout). */
export function parseIndex(bytes: Uint8Array | string, options: { mediaType?: string; what?: string } = {}): ImageIndex {
  const document = parseManifestDocument(bytes, options);
  if (document.kind === 'index') return document.index;
  throw new EngineError('InvalidArgument', 'DOCUMENT_INVALID', `${options.what ?? 'the index'} is an image manifest, expected an index`);
}

function refuseSchema1(root: Record<string, unknown>, what: string): void {
  if (root.schemaVersion !== 1 && !('fsLayers' in root && 'signatures' in root)) return;
  throw new EngineError('Unsupported', 'MANIFEST_SCHEMA1', `${what} is in Docker's schema 1, which was retired in 2019`, {
    hint: 'Convert it, for example with "skopeo copy --format oci", or pull and push it again with a current engine.',
  });
}

function kindOf(document: JsonDocument, announced: string | undefined): 'manifest' | 'index' {
  const { root } = document;
  const looksLikeIndex = 'manifests' in root;
  const looksLikeManifest = 'config' in root || 'layers' in root;
  if (looksLikeIndex && looksLikeManifest) {
    throw document.error('', 'has both "manifests" and "layers" or "config", so that clients would read different images from it');
  }
  if (!looksLikeIndex && !looksLikeManifest) throw document.error('', 'is neither an image manifest nor an image index');
  const kind = looksLikeIndex ? 'index' : 'manifest';
  const { mediaType: own } = document.optional(root, 'mediaType', '', (value, place) => document.string(value, place, 255));
  for (const mediaType of [own, announced]) {
    if (mediaType === undefined) continue;
    const said = isIndexType(mediaType) ? 'index' : isManifestType(mediaType) ? 'manifest' : undefined;
    if (said !== undefined && said !== kind) throw document.error('', `is an image ${kind} but is announced as ${mediaType}`);
    if (said === undefined && mediaType === own) throw document.error('mediaType', `"${mediaType}" is not an image manifest or index`);
  }
  return kind;
}

function readManifest(document: JsonDocument): Manifest {
  const { root } = document;
  return {
    schemaVersion: 2,
    ...document.optional(root, 'mediaType', '', (value, place) => document.string(value, place, 255)),
    ...document.optional(root, 'artifactType', '', (value, place) => document.string(value, place, 255)),
    config: readDescriptor(document, root.config, 'config'),
    layers: document.array(root.layers ?? [], 'layers', maxDescriptors, (value, place) => readDescriptor(document, value, place)),
    ...readAnnotations(document, root, ''),
    ...document.optional(root, 'subject', '', (value, place) => readDescriptor(document, value, place)),
  };
}

function readIndex(document: JsonDocument): ImageIndex {
  const { root } = document;
  return {
    schemaVersion: 2,
    ...document.optional(root, 'mediaType', '', (value, place) => document.string(value, place, 255)),
    manifests: document.array(root.manifests ?? [], 'manifests', maxDescriptors, (value, place) => readDescriptor(document, value, place)),
    ...readAnnotations(document, root, ''),
  };
}

function readDescriptor(document: JsonDocument, value: unknown, place: string): Descriptor {
  const descriptor = document.object(value, place);
  const digest = document.string(descriptor.digest, `${place}.digest`, 255);
  try {
    parseDigest(digest);
  } catch (cause) {
    throw document.error(`${place}.digest`, `is "${digest.slice(0, 100)}", expected sha256: and 64 lower-case hex digits`, cause);
  }
  const size = document.integer(descriptor.size, `${place}.size`);
  if (size < 0) throw document.error(`${place}.size`, `is negative: ${size}`);
  return {
    mediaType: document.string(descriptor.mediaType, `${place}.mediaType`, 255),
    digest,
    size,
    ...document.optional(descriptor, 'urls', place, (field, at) => document.strings(field, at, 100)),
    ...readAnnotations(document, descriptor, place),
    ...document.optional(descriptor, 'platform', place, (field, at) => readPlatform(document, field, at)),
    ...document.optional(descriptor, 'artifactType', place, (field, at) => document.string(field, at, 255)),
  };
}

function readPlatform(document: JsonDocument, value: unknown, place: string): Platform {
  const platform = document.object(value, place);
  const text = (field: unknown, at: string) => document.string(field, at, 255);
  return {
    architecture: text(platform.architecture ?? '', `${place}.architecture`),
    os: text(platform.os ?? '', `${place}.os`),
    ...document.optional(platform, 'variant', place, text),
    ...document.optional(platform, 'os.version', place, text),
  };
}

function readAnnotations(document: JsonDocument, parent: Record<string, unknown>, place: string): { annotations?: Record<string, string> } {
  return document.optional(parent, 'annotations', place, (value, at) =>
    document.map(value, at, 10_000, (field, key) => document.string(field, key)),
  );
}
