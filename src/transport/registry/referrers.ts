import { EngineError } from '../../base/errors.ts';
import { type Digest, digestOf, hexOf, isDigest, sha256 } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import { maxManifestBytes } from '../../oci/manifest.ts';
import { MediaType } from '../../oci/media-types.ts';
import type { HttpAnswer } from './answer.ts';
import { type Asked, failureOf } from './failures.ts';
import type { Repository, RequestOptions } from './port.ts';

const maxReferrers = 10_000;

type Pages = (
  path: string,
  signal: AbortSignal | undefined,
  check: (answer: HttpAnswer) => Promise<void>,
) => AsyncIterable<Record<string, unknown>>;
type Index = { schemaVersion: 2; mediaType: string; manifests: Record<string, unknown>[] };

/** There is no referrers API; its tag is used instead. */
class NoApi extends Error {}

/** What refers to a manifest (distribution-spec, "Listing Referrers" and "Referrers Tag Schema"). */
export class Referrers {
  readonly #repository: Pick<Repository, 'manifest' | 'putManifest'>;
  readonly #pages: Pages;
  readonly #asked: Asked;

  constructor(repository: Pick<Repository, 'manifest' | 'putManifest'>, options: { pages: Pages; asked: Asked }) {
    this.#repository = repository;
    this.#pages = options.pages;
    this.#asked = options.asked;
  }

  async of(digest: Digest, { artifactType, signal }: RequestOptions & { artifactType?: string | undefined }): Promise<Descriptor[]> {
    const all = (await this.#byApi(digest, artifactType, signal)) ?? (await this.#readTag(digest, { signal })).manifests;
    const found = all.slice(0, maxReferrers).flatMap((each) => readDescriptor(each) ?? []);
    // A registry may leave the filter aside, and the tag has everything.
    return artifactType === undefined ? found : found.filter((each) => each.artifactType === artifactType);
  }

  /** Keeps the tag, for a manifest with a subject that a registry took without noting that. */
  async note(bytes: Uint8Array, mediaType: string, options: RequestOptions): Promise<void> {
    const manifest = parse(bytes);
    const subject = manifest?.subject;
    if (manifest === undefined || typeof subject !== 'object' || subject === null || !('digest' in subject)) return;
    if (typeof subject.digest !== 'string' || !isDigest(subject.digest)) return;
    const index = await this.#readTag(subject.digest, options);
    const digest = digestOf(sha256(bytes));
    if (index.manifests.some((each) => each.digest === digest)) return;
    const { annotations, artifactType } = manifest;
    const config = typeof manifest.config === 'object' && manifest.config !== null ? (manifest.config as Record<string, unknown>) : {};
    const type = typeof artifactType === 'string' && artifactType !== '' ? artifactType : config.mediaType;
    const entry = {
      mediaType,
      digest,
      size: bytes.length,
      ...(type === undefined ? {} : { artifactType: type }),
      ...(annotations === undefined ? {} : { annotations }),
    };
    const next = Buffer.from(JSON.stringify({ ...index, manifests: [...index.manifests, entry] }));
    await this.#repository.putManifest(tagFor(subject.digest), next, MediaType.ociIndex, options);
  }

  async #byApi(
    digest: Digest,
    artifactType: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Record<string, unknown>[] | undefined> {
    const query = artifactType === undefined ? '' : `?${new URLSearchParams({ artifactType })}`;
    const found: Record<string, unknown>[] = [];
    const check = async (answer: HttpAnswer) => {
      // Some registries answer any address with a page of theirs.
      if ([404, 400, 405, 501].includes(answer.status) || (answer.status === 200 && !/json/.test(answer.headers['content-type'] ?? '')))
        throw new NoApi();
      if (answer.status !== 200) throw await failureOf(answer, this.#asked);
    };
    try {
      for await (const page of this.#pages(`referrers/${digest}${query}`, signal, check)) {
        found.push(...objectsIn(page.manifests));
        if (found.length >= maxReferrers) break;
      }
      return found;
    } catch (error) {
      if (error instanceof NoApi) return undefined;
      throw error;
    }
  }

  async #readTag(digest: Digest, options: RequestOptions): Promise<Index> {
    const empty: Index = { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [] };
    try {
      const { bytes } = await this.#repository.manifest(tagFor(digest), options);
      return { ...empty, manifests: objectsIn(parse(bytes)?.manifests) };
    } catch (error) {
      if (error instanceof EngineError && error.kind === 'NotFound') return empty;
      throw error;
    }
  }
}

function tagFor(digest: Digest): string {
  return `sha256-${hexOf(digest)}`;
}

function parse(bytes: Uint8Array): Record<string, unknown> | undefined {
  if (bytes.length > maxManifestBytes) return undefined;
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function objectsIn(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'object' && each !== null) : [];
}

/** Undefined for what is none: one bad entry is no reason to hide the others. */
function readDescriptor(value: Record<string, unknown>): Descriptor | undefined {
  const { mediaType, digest, size, artifactType, annotations } = value;
  if (typeof mediaType !== 'string' || mediaType.length > 255 || typeof digest !== 'string' || !isDigest(digest)) return undefined;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
  const texts = Object.entries(typeof annotations === 'object' && annotations !== null ? annotations : {}).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return {
    mediaType,
    digest,
    size,
    ...(typeof artifactType === 'string' ? { artifactType } : {}),
    ...(texts.length === 0 ? {} : { annotations: Object.fromEntries(texts) }),
  };
}
