import type { BuildCacheAnswer } from '../../api-types/build.ts';

export { parseCacheExport, parseCacheImport } from './parse.ts';

/** A cache mount as listings show it. */
export type BuildCacheMount = Readonly<BuildCacheAnswer>;

/** The caches of `RUN --mount=type=cache` (docs/formats/build-cache.md, "Cache mounts"). They are named by their key, the beginning of it, or their id where only one has it. */
export interface BuildCacheMounts {
  list(): Promise<BuildCacheMount[]>;
  /** Gives the bytes that were freed. NotFound `CACHE_MOUNT_NOT_FOUND`; Conflict `CACHE_MOUNT_IN_USE` while a step uses it. */
  remove(name: string): Promise<{ mount: BuildCacheMount; sizeBytes: number }>;
  /** As a tar; its tree is in the store from then on. */
  export(name: string, options: { signal?: AbortSignal | undefined }): Promise<AsyncIterable<Uint8Array>>;
  /** A tar, plain or compressed, in a file: it takes the place of what the cache had. */
  import(id: string, file: string, options: { signal?: AbortSignal | undefined }): Promise<BuildCacheMount>;
}
