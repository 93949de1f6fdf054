import type { ByteString } from '../base/bytes.ts';
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
  /** Writes an archive that docker, podman and skopeo read. `format` docker carries both manifest.json and an OCI index. */
  save(names: readonly string[], options: { format: 'docker' | 'oci'; signal?: AbortSignal }): AsyncIterable<Uint8Array>;
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
