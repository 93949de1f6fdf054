import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../base/errors.ts';
import { type Digest, hexOf, isDigest } from '../../oci/digest.ts';
import { blobsOf, type ImageOrigin } from '../port.ts';

/** A manifest may be this large (distribution-spec, "Pushing Manifests"); what is larger is none. */
const maxManifestBytes = 4 * 1024 * 1024;

/** What blobs name: the manifests of an index, the config and the layers of a manifest, of every platform and of statements. For worker threads. */
export class BlobReferences {
  readonly #folder: string;
  readonly #known = new Map<Digest, readonly Digest[]>();

  /** `blobs` is the store's folder of blobs. */
  constructor(blobs: string) {
    this.#folder = join(blobs, 'sha256');
  }

  /** Every blob that an image needs: those that its origin names, and what those name. */
  ofImage(origin: ImageOrigin): Set<Digest> {
    const found = new Set<Digest>(blobsOf(origin));
    const documents = [origin.manifestDigest, ...(origin.index === undefined ? [] : [origin.index.digest])];
    for (let next = documents.pop(); next !== undefined; next = documents.pop()) {
      for (const digest of this.#namedBy(next)) {
        if (found.has(digest)) continue;
        found.add(digest);
        documents.push(digest);
      }
    }
    return found;
  }

  #namedBy(digest: Digest): readonly Digest[] {
    const known = this.#known.get(digest) ?? this.#read(digest);
    this.#known.set(digest, known);
    return known;
  }

  #read(digest: Digest): readonly Digest[] {
    const path = join(this.#folder, hexOf(digest));
    try {
      if (statSync(path).size > maxManifestBytes) return [];
      return digestsIn(readFileSync(path, 'utf8'));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return [];
      throw error;
    }
  }
}

type Descriptors = { config?: unknown; layers?: unknown; manifests?: unknown };

/** Of a manifest or an index; anything else names nothing. */
function digestsIn(text: string): Digest[] {
  if (!text.startsWith('{')) return [];
  let document: Descriptors;
  try {
    document = JSON.parse(text) as Descriptors;
  } catch {
    return [];
  }
  const { config, layers, manifests } = document;
  const descriptors = [config, ...(Array.isArray(layers) ? layers : []), ...(Array.isArray(manifests) ? manifests : [])];
  return descriptors.flatMap((descriptor: { digest?: unknown } | null | undefined) => {
    const digest = descriptor?.digest;
    return typeof digest === 'string' && isDigest(digest) ? [digest] : [];
  });
}
