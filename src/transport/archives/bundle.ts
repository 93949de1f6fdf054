import { EngineError } from '../../base/errors.ts';
import type { Digest } from '../../oci/digest.ts';
import { isHex, parseDigest } from '../../oci/digest.ts';
import { JsonDocument } from '../../oci/document.ts';
import { canonical, parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { TreeId } from '../../store/model.ts';

/** The one document of a bundle; an archive that has it is nothing else (docs/formats/archives.md, "Bundles"). */
export const bundleName = 'slipway-bundle.json';
const bundleVersion = 1;
const maxBundleBytes = 4 * 1024 * 1024;
const maxImages = 10_000;

export type BundledBlob = { digest: Digest; sizeBytes: number };

/** An image as what one that the other side has lacks of it. */
export type BundledImage = {
  /** Canonical. */
  references: string[];
  /** The config, with history and without layers. */
  config: BundledBlob;
  tree: TreeId;
  /** Unpacked over the base's tree this gives the image's. `diffId` is of the tar. */
  layer: BundledBlob & { diffId: Digest };
  /** `names`: what it was called where the bundle was made, for errors. */
  base: { id: Digest; tree: TreeId; names: string[] };
};

export function encodeBundle(images: readonly BundledImage[]): Buffer {
  return Buffer.from(JSON.stringify({ version: bundleVersion, images }));
}

/** InvalidArgument `DOCUMENT_INVALID`; Unsupported `BUNDLE_VERSION`. */
export function decodeBundle(bytes: Buffer, what: string): BundledImage[] {
  const document = new JsonDocument(bytes, `${bundleName} of ${what}`, maxBundleBytes);
  const version = document.integer(document.root.version, 'version');
  if (version !== bundleVersion) {
    throw new EngineError(
      'Unsupported',
      'BUNDLE_VERSION',
      `${what} is a bundle of version ${version}, this engine reads ${bundleVersion}`,
      {
        hint: 'Load it with a newer Slipway.',
      },
    );
  }
  return document.array(document.root.images, 'images', maxImages, (value, place) => readImage(document, value, place));
}

function readImage(document: JsonDocument, value: unknown, place: string): BundledImage {
  const image = document.object(value, place);
  const base = document.object(image.base, `${place}.base`);
  return {
    references: document
      .strings(image.references, `${place}.references`, 1000)
      .map((name) => canonical(withDefaultTag(parseReference(name)))),
    config: readBlob(document, image.config, `${place}.config`),
    tree: readTree(document, image.tree, `${place}.tree`),
    layer: {
      ...readBlob(document, image.layer, `${place}.layer`),
      diffId: readDigest(document, document.object(image.layer, `${place}.layer`).diffId, `${place}.layer.diffId`),
    },
    base: {
      id: readDigest(document, base.id, `${place}.base.id`),
      tree: readTree(document, base.tree, `${place}.base.tree`),
      names: document.strings(base.names, `${place}.base.names`, 1000),
    },
  };
}

function readBlob(document: JsonDocument, value: unknown, place: string): BundledBlob {
  const blob = document.object(value, place);
  const sizeBytes = document.integer(blob.sizeBytes, `${place}.sizeBytes`);
  if (sizeBytes < 0) throw document.error(`${place}.sizeBytes`, 'is negative');
  return { digest: readDigest(document, blob.digest, `${place}.digest`), sizeBytes };
}

function readDigest(document: JsonDocument, value: unknown, place: string): Digest {
  const text = document.string(value, place, 255);
  try {
    return parseDigest(text);
  } catch (cause) {
    throw document.error(place, 'is not a digest', cause);
  }
}

function readTree(document: JsonDocument, value: unknown, place: string): TreeId {
  const text = document.string(value, place, 64);
  if (!isHex(text)) throw document.error(place, 'is not the digest of a tree');
  return text as string as TreeId;
}
