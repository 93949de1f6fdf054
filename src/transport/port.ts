import type { ImageRecord } from '../store/port.ts';

export type LoadedImage = { image: ImageRecord; references: string[] };

/** Images in and out as files: Docker archives (docker save), OCI layouts in a tar, and plain root tars. All stream; none is whole in memory. */
export interface Archives {
  /** Docker or OCI archive, plain or compressed, already a file on disk. */
  load(file: string, options?: { signal?: AbortSignal; onProgress?: (message: string) => void }): Promise<LoadedImage[]>;
  /** Writes an archive that docker, podman and skopeo read. `format` docker carries both manifest.json and an OCI index. */
  save(names: readonly string[], options: { format: 'docker' | 'oci'; signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  /** A root tar becomes an image of one tree. */
  importRoot(
    file: string,
    options: { reference?: string; changes?: string[]; message?: string; signal?: AbortSignal; config?: Record<string, unknown> },
  ): Promise<ImageRecord>;
  /** A tree as a tar stream (docker export, build --output type=tar). */
  exportTree(tree: string, options?: { signal?: AbortSignal }): AsyncIterable<Uint8Array>;
}
