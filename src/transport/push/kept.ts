import { EngineError } from '../../base/errors.ts';
import { type Digest, parseDigest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import { parseManifest, parseManifestDocument } from '../../oci/manifest.ts';
import { isForeignLayer, isTarLayer, MediaType } from '../../oci/media-types.ts';
import { parseReference, type Reference, repositoryOf } from '../../oci/reference.ts';
import type { ImageOrigin, ImageRecord, Store } from '../../store/port.ts';
import { isChunked } from '../chunked/port.ts';
import type { PushRequest, TransferCallOptions } from '../port.ts';
import type { Registries, Repository } from '../registry/port.ts';
import { descriptorOf, type Outgoing, type OutgoingDocument, readDocument, storedBlob } from './outgoing.ts';

type Parts = { store: Store; registries: Registries };

/**
 * The image byte for byte as it came or was pushed before: the same manifest, and the same index around it where all that it lists can be had. Undefined when it never was, or when its manifest is
 * not to be had any more.
 */
export async function asBefore(
  parts: Parts,
  request: PushRequest,
  options: TransferCallOptions & { index: boolean },
): Promise<Outgoing | undefined> {
  const { image } = request;
  const { origin } = image;
  if (origin === undefined || !(await isWorthKeeping(parts.store, image, origin))) return undefined;
  const places = await placesOf(parts, request, origin);
  return assemble(new Finder(parts.store, places, request.reference.domain, options.signal), origin, options);
}

/** Whether the image is not to be had without its index: other platforms of it lie there, or what was stated about it. */
export function isOneWithIndex({ platforms, origin }: ImageRecord): boolean {
  return platforms !== undefined || origin?.index?.attested === true;
}

/** The same of what is in the store, for an archive: undefined when a part is not there. */
export async function storedForm(store: Store, { origin }: ImageRecord, options: { index: boolean }): Promise<Outgoing | undefined> {
  if (origin === undefined) return undefined;
  const kept = await assemble(new Finder(store, [], '', undefined), origin, options);
  return kept?.blobs.every(({ source }) => source !== undefined) ? kept : undefined;
}

async function assemble(finder: Finder, origin: ImageOrigin, options: { index: boolean }): Promise<Outgoing | undefined> {
  const manifest = await finder.document(origin.manifestDigest, origin.manifestMediaType);
  if (manifest === undefined) return undefined;
  const whole = options.index ? await withIndex(finder, origin) : undefined;
  const kept = whole ?? (await alone(finder, manifest));
  const lost = options.index && origin.index !== undefined && whole === undefined;
  const { config, layers } = parseManifest(manifest.bytes);
  return {
    ...kept,
    manifest: descriptorOf(manifest),
    origin: whole === undefined ? withoutIndex(origin) : origin,
    there: new Set(),
    documents: new Map(),
    sizeBytes: [config, ...layers].reduce((sum, { size }) => sum + size, manifest.bytes.length),
    explanation: [
      `as it came: manifest ${origin.manifestDigest}, ${layers.length} ${layers.length === 1 ? 'layer' : 'layers'}`,
      ...(lost
        ? ['without its index, for not all that it lists is here or in this registry; "slipway copy" takes every platform along']
        : []),
    ],
  };
}

/**
 * What a "docker save" archive had are uncompressed layers under a manifest that no registry has seen: there is no digest to keep, and the wire deserves better. What a registry has, or had, stays
 * as it is whatever it is.
 */
async function isWorthKeeping(store: Store, image: ImageRecord, origin: ImageOrigin): Promise<boolean> {
  const plain: string[] = [MediaType.ociLayer, MediaType.dockerLayer];
  if (!origin.layers.every(({ mediaType }) => plain.includes(mediaType))) return true;
  return (await digestReferences(store, image, origin)).length > 0;
}

async function digestReferences(store: Store, { id }: ImageRecord, origin: ImageOrigin): Promise<Reference[]> {
  const parsed = (await store.images.references(id)).map(parseReference);
  return parsed.filter(({ digest }) => digest !== undefined && (digest === origin.manifestDigest || digest === origin.index?.digest));
}

/** Repositories that have, or had, the image; the registry of the target first, since its credentials are at hand. */
async function placesOf({ store, registries }: Parts, { image, reference, auth }: PushRequest, origin: ImageOrigin): Promise<Repository[]> {
  const blobs = [origin.configDigest, ...origin.layers.map(({ digest }) => digest)];
  const seen = (await Promise.all(blobs.slice(0, 4).map((digest) => store.layers.sources(digest)))).flat();
  const named = (await digestReferences(store, image, origin)).map(repositoryOf);
  const places = [...new Set([...named, ...seen])].map(parseReference);
  const near = places.toSorted((a, b) => Number(b.domain === reference.domain) - Number(a.domain === reference.domain));
  return near.slice(0, 4).map((place) => registries.repository(place, place.domain === reference.domain ? { auth } : {}));
}

type Kept = Pick<Outgoing, 'blobs' | 'manifests' | 'top'>;

async function alone(finder: Finder, manifest: OutgoingDocument): Promise<Kept> {
  return { blobs: await finder.blobsOf(manifest), manifests: [], top: manifest };
}

/** Undefined when something that the index lists is gone. */
async function withIndex(finder: Finder, origin: ImageOrigin): Promise<Kept | undefined> {
  if (origin.index === undefined) return undefined;
  const index = await finder.document(origin.index.digest, origin.index.mediaType);
  if (index === undefined) return undefined;
  const collected = { manifests: new Map<Digest, OutgoingDocument>(), blobs: new Map<Digest, Outgoing['blobs'][number]>() };
  if (!(await collect(finder, index, collected, { own: origin.manifestDigest, depth: 0 }))) return undefined;
  const manifests = [...collected.manifests.values()].filter(({ digest }) => digest !== index.digest);
  return { blobs: [...collected.blobs.values()], manifests, top: index };
}

const maxDepth = 4;

/** Children before their index. */
async function collect(
  finder: Finder,
  document: OutgoingDocument,
  collected: { manifests: Map<Digest, OutgoingDocument>; blobs: Map<Digest, Outgoing['blobs'][number]> },
  { own, depth }: { own: Digest; depth: number },
): Promise<boolean> {
  if (depth > maxDepth || collected.manifests.has(document.digest)) return depth <= maxDepth;
  const parsed = parseManifestDocument(document.bytes, { mediaType: document.mediaType, what: `the stored manifest ${document.digest}` });
  if (parsed.kind === 'manifest') {
    // The image's own blobs are fetched from wherever they are; those of other platforms, which were never asked for, only stay within their registry.
    const isOwn = document.digest === own || isChunked(parsed.manifest);
    for (const blob of await finder.blobsOf(document, isOwn)) {
      if (blob.source === undefined && blob.elsewhere.length === 0) return false;
      collected.blobs.set(blob.descriptor.digest, blob);
    }
  } else {
    for (const child of parsed.index.manifests) {
      const found = await finder.document(parseDigest(child.digest), child.mediaType);
      if (found === undefined || !(await collect(finder, found, collected, { own, depth: depth + 1 }))) return false;
    }
  }
  collected.manifests.set(document.digest, document);
  return true;
}

/** Documents and blobs: here, or where the image came from. */
class Finder {
  readonly #store: Store;
  readonly #places: readonly Repository[];
  readonly #near: readonly Repository[];
  readonly #signal: AbortSignal | undefined;

  constructor(store: Store, places: readonly Repository[], domain: string, signal: AbortSignal | undefined) {
    this.#store = store;
    this.#places = places;
    this.#near = places.filter(({ name }) => name.startsWith(`${domain}/`));
    this.#signal = signal;
  }

  async document(digest: Digest, mediaType: string): Promise<OutgoingDocument | undefined> {
    const here = await readDocument(this.#store, digest, mediaType);
    if (here !== undefined) return here;
    for (const place of this.#places) {
      try {
        const { bytes } = await place.manifest(digest, { signal: this.#signal });
        return { digest, mediaType, bytes };
      } catch (error) {
        if (this.#signal?.aborted || !(error instanceof EngineError)) throw error;
      }
    }
    return undefined;
  }

  /** `own`: blobs of the image itself, which may come from any registry. */
  async blobsOf(manifest: OutgoingDocument, own = true): Promise<Outgoing['blobs']> {
    const { config, layers } = parseManifest(manifest.bytes, { what: `the stored manifest ${manifest.digest}` });
    const distinct = new Map<string, { descriptor: Descriptor; shown: boolean }>([[config.digest, { descriptor: config, shown: false }]]);
    for (const layer of layers)
      if (!isForeignLayer(layer.mediaType)) distinct.set(layer.digest, { descriptor: layer, shown: isTarLayer(layer.mediaType) });
    return Promise.all(
      [...distinct.values()].map(({ descriptor, shown }) =>
        storedBlob(this.#store, descriptor, { shown, elsewhere: own ? this.#places : this.#near }),
      ),
    );
  }
}

function withoutIndex({ index: _index, ...origin }: ImageOrigin): ImageOrigin {
  return origin;
}
