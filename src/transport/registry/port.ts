import type { AuthConfig } from '../../api-types/registry.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Descriptor } from '../../oci/image.ts';
import type { Reference } from '../../oci/reference.ts';

/** Image registries (OCI distribution-spec; Docker Registry HTTP API v2). */
export interface Registries {
  /**
   * Checks credentials against the registry that they name (Docker Hub when none) by asking for `/v2/` with them, through its token server where
   * it sends one there. `identityToken` is a refresh token to be kept in place of the password, '' where the registry gives none.
   *
   * Denied `UNAUTHORIZED`: the registry said no. Unavailable `REGISTRY_UNREACHABLE`; InvalidArgument `REGISTRY_ADDRESS_INVALID`.
   */
  login(auth: AuthConfig, options?: { signal?: AbortSignal }): Promise<{ identityToken: string }>;
  /** A repository of the registry that the reference names, or of its mirrors for `pull`. Nothing is asked yet. */
  repository(reference: Pick<Reference, 'domain' | 'path'>, options?: RepositoryOptions): Repository;
}

export type RepositoryOptions = {
  auth?: AuthConfig | undefined;
  /** What tokens are asked for. `pull` when not given. */
  actions?: 'pull' | 'pull,push' | undefined;
};

export type RequestOptions = { signal?: AbortSignal | undefined };
export type TransferOptions = RequestOptions & {
  /** Bytes that came or went since the last call; negative when a transfer had to begin again. */
  onBytes?: ((count: number) => void) | undefined;
};

/** A manifest or index as it lies in the registry. `descriptor.digest` and `size` are those of `bytes`; `mediaType` what the registry called it. */
export type FoundManifest = { descriptor: Descriptor & { digest: Digest }; bytes: Buffer };

export type ByteRange = { offset: number; length: number };

/** Bytes that can be read again from any place, for uploads that are resumed. Each piece is lent until the next one is asked for. */
export type BlobSource = { read(offset: number): AsyncIterable<Uint8Array> };

/** A blob that is still being made: what is there of it stays as it is. */
export type GrowingBlob = BlobSource & {
  /** Waits until at least so many bytes are there, or it is whole; tells how many there are. Throws when it will never be whole. */
  available(least: number, signal?: AbortSignal): Promise<number>;
};

/** An upload of a blob that is still being made. It goes on by itself, and never fails: it is only a head start. */
export interface BegunUpload {
  /** It is not wanted after all: whoever began it and does not give it to `upload` calls this. Never throws. */
  abandon(): Promise<void>;
}

/**
 * One repository. Every call retries what may pass (429, 5xx, broken connections) with backoff, heeding Retry-After, and limits how many requests run at once a host.
 *
 * Errors: NotFound `MANIFEST_UNKNOWN`, `BLOB_UNKNOWN`, `REPOSITORY_UNKNOWN`; Denied `UNAUTHORIZED`, `DENIED`; Unavailable `REGISTRY_UNREACHABLE`,
 * `REGISTRY_FAILED`, `REGISTRY_ANSWER_INVALID`, `RATE_LIMITED`; InvalidArgument `REGISTRY_REFUSED`; Unsupported `REGISTRY_UNSUPPORTED`; DataLoss `BLOB_DIGEST_MISMATCH`, `MANIFEST_DIGEST_MISMATCH`. Messages name the repository and the blob or tag.
 */
export interface Repository {
  /** `registry.example:5000/team/web`, as `repositoryOf` spells it. */
  readonly name: string;
  /** Undefined when there is none. */
  head(tagOrDigest: string, options?: RequestOptions): Promise<(Descriptor & { digest: Digest }) | undefined>;
  /** At most `maxManifestBytes`; by digest, checked against it. */
  manifest(tagOrDigest: string, options?: RequestOptions): Promise<FoundManifest>;
  putManifest(tagOrDigest: string, bytes: Uint8Array, mediaType: string, options?: RequestOptions): Promise<void>;
  deleteManifest(digest: Digest, options?: RequestOptions): Promise<void>;
  hasBlob(digest: Digest, options?: RequestOptions): Promise<boolean>;
  /**
   * A blob from `offset` (0 when not given) to its end, in one stream that goes on by range requests when the connection breaks. Never more than the descriptor's
   * size. `urls` are asked after the registry, for nondistributable layers only. From 0 the digest is checked and the last bytes are followed by DataLoss when it is wrong; from elsewhere the caller checks.
   */
  blob(
    descriptor: Pick<Descriptor, 'digest' | 'size' | 'urls'> & { mediaType?: string | undefined },
    options?: TransferOptions & { offset?: number },
  ): AsyncIterable<Uint8Array>;
  /**
   * Parts of a blob, in the order of `ranges`, which are sorted and do not overlap: small gaps are read over, requests run side by side, and a registry that cannot
   * answer ranges is read whole. Each part is whole, unchecked, and the caller's to keep.
   */
  parts(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    ranges: readonly ByteRange[],
    options?: TransferOptions,
  ): AsyncIterable<{ offset: number; bytes: Buffer }>;
  /** Begins to upload a blob of which nobody knows the digest yet; to be gone on with by `upload`. */
  beginUpload(source: GrowingBlob, options?: RequestOptions): BegunUpload;
  /** Puts a blob there unless it is: mounted from another repository of the same registry where that can be, else uploaded, in resumable pieces. `begun`: an upload of the same bytes, of this repository. */
  upload(
    descriptor: Pick<Descriptor, 'digest' | 'size'>,
    source: BlobSource,
    options?: TransferOptions & { mountFrom?: readonly string[] | undefined; begun?: BegunUpload | undefined },
  ): Promise<'present' | 'mounted' | 'uploaded'>;
  tags(options?: RequestOptions): Promise<string[]>;
  /**
   * What refers to a manifest (signatures, attestations), of one type where that is given: the referrers API, or the tag `sha256-<hex>` where there is none. `putManifest`
   * keeps that tag for manifests with a subject, as the specification asks.
   */
  referrers(digest: Digest, options?: RequestOptions & { artifactType?: string | undefined }): Promise<Descriptor[]>;
}
