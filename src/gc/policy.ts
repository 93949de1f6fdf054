/**
 * What may go, and when: `[gc]` of slipway.toml, read by the daemon. Times in milliseconds, shares from 0 to 1. A thing is *held* when something needs it
 * (a container, a lease), *kept* when a rule of the policy says so, else it can go when space is short.
 */
export type GcPolicy = {
  /** Space is short when the file system of the root is fuller than `high`, until it is no fuller than `low`. */
  readonly high: Mark;
  readonly low: Mark;
  /** At most this share of the time is spent removing while other work goes on. */
  readonly share: number;
  /** Nothing younger goes. */
  readonly minAgeMs: number;
  readonly images: {
    /** As many of a repository stay, the latest used first. */
    readonly keepLast: number;
    readonly keepUsedWithinMs: number;
    /** Patterns of references (`team/web:*`) that never go. */
    readonly keep: readonly string[];
    /** `name` or `name=value` of labels. */
    readonly keepLabels: readonly string[];
  };
  /** Results of builds, and layers. */
  readonly buildCache: { readonly keepUsedWithinMs: number };
  /** Containers that ended go after this time; never when undefined. */
  readonly containers: { readonly endedForMs: number | undefined };
  /** Volumes that no container uses go after this time; never when undefined. */
  readonly volumes: { readonly unusedForMs: number | undefined };
};

/** How full a file system may be: a share of it, bytes that must stay free, or both (whichever is reached first). */
export type Mark = { readonly share: number; readonly freeBytes: number };

export const defaultPolicy: GcPolicy = {
  high: { share: 0.85, freeBytes: 0 },
  low: { share: 0.8, freeBytes: 0 },
  share: 0.3,
  minAgeMs: 60 * 60_000,
  images: { keepLast: 3, keepUsedWithinMs: 7 * 24 * 60 * 60_000, keep: [], keepLabels: [] },
  buildCache: { keepUsedWithinMs: 24 * 60 * 60_000 },
  containers: { endedForMs: undefined },
  volumes: { unusedForMs: undefined },
};

export type Disk = { readonly totalBytes: number; readonly freeBytes: number };

/** How many bytes must become free so that the mark is held. */
export function bytesOver({ totalBytes, freeBytes }: Disk, { share, freeBytes: wanted }: Mark): number {
  return Math.max(0, Math.max(Math.round(totalBytes * (1 - share)), wanted) - freeBytes);
}
