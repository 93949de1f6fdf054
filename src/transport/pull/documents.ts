import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, parseDigest, sha256 } from '../../oci/digest.ts';
import type { Descriptor, ImageIndex, Manifest, Platform } from '../../oci/image.ts';
import { maxManifestBytes, parseManifest, parseManifestDocument } from '../../oci/manifest.ts';
import { formatPlatform, hostPlatform, selectByPlatform } from '../../oci/platform.ts';
import { familiar, type Reference } from '../../oci/reference.ts';
import { isChunked } from '../chunked/port.ts';
import type { Admission } from '../port.ts';
import type { FoundManifest, Repository } from '../registry/port.ts';

/** An index may point to an index; more levels than this nobody writes. */
const maxDepth = 4;

export type ResolvedImage = {
  /** What the tag names: an index, or the manifest itself. */
  top: FoundManifest;
  /** Indexes on the way, outermost first. */
  indexes: FoundManifest[];
  /** The manifest for the platform; undefined where there is only a chunked form. */
  ordinary: { found: FoundManifest; manifest: Manifest } | undefined;
  chunked: { found: FoundManifest; manifest: Manifest } | undefined;
};

export type ResolveOptions = {
  reference: Reference;
  platform: Platform | undefined;
  /** Whether a chunked form beside the ordinary manifest is wanted. */
  chunked: boolean;
  admission: Admission | undefined;
  signal: AbortSignal | undefined;
  /** A document that is here, by its digest. */
  local(digest: Digest): Promise<Buffer | undefined>;
};

/** Reads what the reference names down to one platform's manifest. Nothing is gone on with that the admission refuses. */
export async function resolveImage(repository: Repository, options: ResolveOptions): Promise<ResolvedImage> {
  const { reference, signal } = options;
  const reader = new DocumentReader(repository, options);
  const top = reader.check(await repository.manifest(reference.digest ?? reference.tag ?? 'latest', { signal }), reference.digest);
  await reader.admit(top);
  const indexes: FoundManifest[] = [];
  const seen = new Set<Digest>();
  for (let found = top; ; ) {
    const { digest } = found.descriptor;
    if (seen.has(digest)) throw invalid('INDEX_LOOP', reader.what, `its index ${digest} contains itself`);
    seen.add(digest);
    const document = reader.parse(found);
    if (document.kind === 'manifest') return { top, indexes, ...asForms(found, document.manifest) };
    if (indexes.length >= maxDepth) throw invalid('INDEX_DEPTH', reader.what, `its indexes are nested more than ${maxDepth} deep`);
    indexes.push(found);
    const chosen = reader.choose(document.index);
    const chunked = await reader.chunkedOf(document.index, chosen);
    if (chosen === undefined) return { top, indexes, ordinary: undefined, chunked };
    found = await reader.child(chosen);
    if (chunked === undefined) continue;
    const ordinary = reader.parse(found);
    if (ordinary.kind !== 'manifest') continue;
    const isSame = ordinary.manifest.config.digest === chunked.manifest.config.digest;
    return { top, indexes, ordinary: { found, manifest: ordinary.manifest }, chunked: isSame ? chunked : undefined };
  }
}

function asForms(found: FoundManifest, manifest: Manifest): Pick<ResolvedImage, 'ordinary' | 'chunked'> {
  return isChunked(manifest)
    ? { ordinary: undefined, chunked: { found, manifest } }
    : { ordinary: { found, manifest }, chunked: undefined };
}

class DocumentReader {
  readonly what: string;
  readonly #repository: Repository;
  readonly #options: ResolveOptions;

  constructor(repository: Repository, options: ResolveOptions) {
    this.#repository = repository;
    this.#options = options;
    this.what = familiar(options.reference);
  }

  async admit({ descriptor: { digest, mediaType }, bytes }: FoundManifest): Promise<void> {
    await this.#options.admission?.({ reference: this.#options.reference, digest, mediaType, bytes });
  }

  parse(found: FoundManifest) {
    return parseManifestDocument(found.bytes, { mediaType: found.descriptor.mediaType, what: this.#name(found.descriptor) });
  }

  /** What a descriptor points to, checked against it and admitted. */
  async child(descriptor: Descriptor): Promise<FoundManifest> {
    const digest = parseDigest(descriptor.digest);
    if (descriptor.size > maxManifestBytes) {
      throw invalid(
        'DOCUMENT_INVALID',
        this.what,
        `manifest ${digest} has ${descriptor.size} bytes, at most ${maxManifestBytes} are allowed`,
      );
    }
    const here = await this.#options.local(digest);
    const bytes = here ?? (await this.#repository.manifest(digest, { signal: this.#options.signal })).bytes;
    // What the index calls it decides how it is read, as the index is what was asked for and admitted.
    const found = this.check({ descriptor: { ...descriptor, digest }, bytes }, digest);
    if (bytes.length !== descriptor.size) {
      throw invalid('DOCUMENT_INVALID', this.what, `manifest ${digest} has ${bytes.length} bytes, the index says ${descriptor.size}`);
    }
    await this.admit(found);
    return found;
  }

  check(found: FoundManifest, expected: Digest | undefined): FoundManifest {
    const read = digestOf(sha256(found.bytes));
    if (read === (expected ?? found.descriptor.digest)) return found;
    const message = `${this.#name(found.descriptor)} from ${this.#repository.name} is damaged: expected ${expected ?? found.descriptor.digest}, read ${read}`;
    throw new EngineError('DataLoss', 'MANIFEST_DIGEST_MISMATCH', message, {
      hint: 'Pull again; when it stays so, the registry holds a damaged copy.',
    });
  }

  /** The entry for the platform; undefined where there is none but a chunked form. */
  choose({ manifests }: ImageIndex): Descriptor | undefined {
    const wanted = this.#options.platform ?? hostPlatform();
    const images = manifests.filter((each) => !isChunked(each));
    const chosen = selectByPlatform(images, wanted);
    if (chosen !== undefined || (images.length === 0 && manifests.length > 0)) return chosen;
    const offered = images.flatMap(({ platform }) =>
      platform === undefined || platform.os === 'unknown' ? [] : [formatPlatform(platform)],
    );
    throw new EngineError('NotFound', 'PLATFORM_UNKNOWN', `${this.what} has no image for ${formatPlatform(wanted)}`, {
      hint: offered.length === 0 ? undefined : `It has: ${[...new Set(offered)].join(', ')}.`,
    });
  }

  /** The chunked form of an index, if it is of the chosen image: both name one config. */
  async chunkedOf({ manifests }: ImageIndex, chosen: Descriptor | undefined): Promise<ResolvedImage['chunked']> {
    const descriptor = manifests.find(isChunked);
    if (descriptor === undefined || (chosen !== undefined && !this.#options.chunked)) return undefined;
    if (chosen !== undefined && manifests.filter((each) => !isChunked(each) && each.platform?.os !== 'unknown').length > 1)
      return undefined;
    try {
      const found = await this.child(descriptor);
      return { found, manifest: parseManifest(found.bytes, { mediaType: descriptor.mediaType, what: this.#name(found.descriptor) }) };
    } catch (error) {
      // Whoever copied the image left it behind.
      if (chosen !== undefined && error instanceof EngineError && error.kind === 'NotFound') return undefined;
      throw error;
    }
  }

  #name({ digest }: Descriptor): string {
    return `manifest ${digest.slice(0, 19)} of ${this.what}`;
  }
}

function invalid(code: string, what: string, problem: string): EngineError {
  return new EngineError('InvalidArgument', code, `${what} cannot be pulled: ${problem}`);
}
