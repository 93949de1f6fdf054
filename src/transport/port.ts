import type { AuthConfig } from '../api-types/registry.ts';
import type { ByteString } from '../base/bytes.ts';
import type { Digest } from '../oci/digest.ts';
import type { Descriptor, Platform } from '../oci/image.ts';
import type { Reference } from '../oci/reference.ts';
import type { TreeId, TreeRef } from '../store/model.ts';
import type { ImageRecord, JobOptions } from '../store/port.ts';

export type LoadedImage = { image: ImageRecord; references: string[] };

export type UntarOptions = JobOptions & {
  /** Names the archive in errors, for people ("app.tar"). */
  what: string;
  /** `plain` (the default): what a person made. `layer`: with whiteouts (image-spec layer.md). */
  kind?: 'plain' | 'layer' | undefined;
  /** The tree to put it into; an empty one without. */
  base?: TreeId | undefined;
  /** Directory inside `base`, made when missing; symlinks in it are followed inside the tree. */
  at?: ByteString | undefined;
  /** Overrides every owner. */
  chown?: { uid: number; gid: number } | undefined;
  /** The end marker may be missing, where whoever received the archive knows that it is whole. Docker's own command line sends such contexts. */
  endOptional?: boolean | undefined;
};

/** Images in and out as files: Docker archives (docker save), OCI layouts in a tar, and plain root tars. All stream; none is whole in memory. */
export interface Archives {
  /** Docker or OCI archive, plain or compressed, already a file on disk. */
  load(file: string, options?: { signal?: AbortSignal; onProgress?: (message: string) => void }): Promise<LoadedImage[]>;
  /**
   * Writes an archive that docker, podman and skopeo read. `format` docker carries both manifest.json and an OCI index; `chunked` says that the chunked form is to
   * travel too. `since`: names of images that the other side has; what they hold is left out, and only an engine that has them can load it.
   */
  save(
    names: readonly string[],
    options: {
      format: 'docker' | 'oci';
      layers?: LayerChoice | undefined;
      chunked?: boolean | undefined;
      since?: readonly string[] | undefined;
      signal?: AbortSignal;
    },
  ): AsyncIterable<Uint8Array>;
  /** A root tar becomes an image of one tree. */
  importRoot(
    file: string,
    options: {
      reference?: string;
      changes?: string[];
      message?: string;
      signal?: AbortSignal;
      config?: Record<string, unknown>;
      /** What the files in it are for; the host's own without. */
      platform?: { architecture: string; variant?: string };
    },
  ): Promise<ImageRecord>;
  /** A tree as a tar stream (docker export, build --output type=tar). */
  exportTree(tree: string, options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  /**
   * A tar (plain, gzip, zstd, bzip2 or xz) as a tree, without touching a file system. Names are resolved inside the root at `at`: a leading
   * slash is dropped, symlinked parents are followed as in a chroot. InvalidArgument names the entry and its byte: `TAR_INVALID`, `TAR_TRUNCATED`,
   * `TAR_UNSAFE` (`..`, links that leave the root or lead nowhere, 0:0 devices), `ARCHIVE_DAMAGED`, `ARCHIVE_TRUNCATED`.
   */
  untar(file: string, options: UntarOptions): Promise<TreeRef>;
}

/**
 * How a tree becomes layers. `adaptive`: the layers that are there already, and one more with what differs, while that pays. `single`: one. `per-step`: one for each step
 * of the build. Groups: one for each, with the paths that its patterns match first (those of .dockerignore, against the path without leading slash), and a last one with the rest.
 */
export type LayerChoice =
  | { kind: 'adaptive' }
  | { kind: 'single' }
  | { kind: 'per-step' }
  | { kind: 'groups'; groups: readonly { name: string; patterns: readonly string[] }[] };
export type LayerCompression = 'gzip' | 'zstd' | 'none';

/** `oci`: an ordinary manifest. `chunked`: only the chunked form, for Slipway. `both`: an index with the ordinary one first. */
export type ImageForm = 'both' | 'oci' | 'chunked';

/**
 * What a transfer is doing, for whoever watches. `id` names a layer or blob by the first 12 hex digits of its digest. `status` is in Docker's words where Docker has them ("Pulling fs
 * layer", "Downloading", "Extracting", "Pull complete", "Already exists", "Pushing", "Pushed", "Layer already exists", "Mounted from team/web").
 */
export type TransferProgress = { id?: string | undefined; status: string; current?: number | undefined; total?: number | undefined };
export type TransferCallOptions = { signal?: AbortSignal | undefined; onProgress?: ((progress: TransferProgress) => void) | undefined };

export type PullRequest = {
  reference: Reference;
  auth?: AuthConfig | undefined;
  /** This host's when not given. */
  platform?: Platform | undefined;
  /** `auto` (when not given): chunked where it is offered. `oci` leaves it aside. */
  form?: 'auto' | 'oci' | undefined;
  /** The image gets the name only where there is no image of that name here: it is another platform's. */
  beside?: boolean | undefined;
};
/** `digest` is what the tag names: of the index where there is one. `changed` is false when the image was here under that name already. */
export type PulledImage = { image: ImageRecord; reference: Reference; digest: Digest; changed: boolean; bytesReceived: number };

export type PushRequest = {
  /** An image here. */
  image: ImageRecord;
  /** Where to; with a tag. */
  reference: Reference;
  auth?: AuthConfig | undefined;
  form?: ImageForm | undefined;
  /** When not given: what it was pulled or pushed as before, else `adaptive`. */
  layers?: LayerChoice | undefined;
  compression?: LayerCompression | undefined;
  /** Tell what would be done and why, and do nothing. */
  explainOnly?: boolean | undefined;
};
/** `digest` is what the tag now names; `explanation` is in lines for people. */
export type PushedImage = { digest: Digest; manifest: Descriptor; sizeBytes: number; bytesSent: number; explanation: string[] };

export type CopyRequest = {
  from: Reference;
  to: Reference;
  fromAuth?: AuthConfig | undefined;
  toAuth?: AuthConfig | undefined;
  /** All when not given. */
  platform?: Platform | undefined;
  /** Signatures and whatever else refers to it go along, unless this is false. */
  referrers?: boolean | undefined;
};

/** Images to and from registries. */
export interface Transfers {
  /**
   * Denied `IMAGE_REFUSED` by whoever admits images, before anything is unpacked. A pull that is cut off leaves what it has for the next one. Errors of `Repository`, and
   * InvalidArgument for documents and layers that are not sound; NotFound `PLATFORM_UNKNOWN`.
   */
  pull(request: PullRequest, options?: TransferCallOptions): Promise<PulledImage>;
  push(request: PushRequest, options?: TransferCallOptions): Promise<PushedImage>;
  /** From registry to registry, byte for byte, through this host's memory and not its disk. */
  copy(request: CopyRequest, options?: TransferCallOptions): Promise<{ digest: Digest; bytesSent: number }>;
  /** What a tag names, and for which platforms. */
  inspect(
    reference: Reference,
    options?: { auth?: AuthConfig | undefined; signal?: AbortSignal | undefined },
  ): Promise<{ descriptor: Descriptor; platforms: Platform[] }>;
  tags(reference: Reference, options?: { auth?: AuthConfig | undefined; signal?: AbortSignal | undefined }): Promise<string[]>;
}

/** Decides by its manifest whether an image may come in. Throws Denied `IMAGE_REFUSED`. Asked before a layer is read, again for the platform's manifest of an index. */
export type Admission = (image: { reference: Reference; digest: Digest; mediaType: string; bytes: Uint8Array }) => Promise<void>;

/** A repository as Docker Hub's search shows it. */
export type FoundRepository = { name: string; description: string; stars: number; official: boolean; automated: boolean };

/**
 * Searches Docker Hub, or the registry whose host comes before a slash in the term, by the search of Docker's first registry API, the only one that ever was (`/v1/search`).
 * Unavailable `REGISTRY_UNREACHABLE`, `SEARCH_UNSUPPORTED`; InvalidArgument `SEARCH_INVALID`.
 */
export type SearchImages = (
  term: string,
  options: { limit: number; auth?: AuthConfig | undefined; signal?: AbortSignal | undefined },
) => Promise<FoundRepository[]>;
