import type { TreeId, TreeRef } from '../store/model.ts';
import type { Change, JobOptions } from '../store/port.ts';

/** User and group ids of a user namespace: `count` ids from `inside` in the container are those from `outside` on the host. */
export type IdRange = { inside: number; outside: number; count: number };
export type IdMap = { uids: IdRange[]; gids: IdRange[] };

/** A tree mounted for one container or build step: a read-only lower, one writable upper. */
export type Snapshot = {
  readonly id: string;
  readonly tree: TreeId;
  /** Where it is mounted (host path) while mounted. */
  readonly rootfs: string;
};

/**
 * How a tree becomes a root file system. Drivers: `erofs-overlay`, `hardlink-overlay`; test/contracts/snapshotter.ts is run by each.
 * Ids are container ids or build step ids: `[a-z0-9-]{1,64}`.
 */
export interface Snapshotter {
  readonly name: string;
  /** Makes the derived form of a tree (EROFS image, hardlink checkout) ahead of a start. Idempotent, single-flight. */
  project(tree: TreeId, options?: JobOptions): Promise<void>;
  /**
   * Makes an empty upper for `id` and mounts it. Conflict when the id exists. `disposable`: the upper need not survive a crash of the host
   * (build steps, `run --rm`): fsync in it is a no-op and taking it down syncs nothing. `idMap`: the root as a user namespace sees it, files of the tree
   * owned by the namespace's ids; the upper holds the tree's own ids, so that `capture` and `changes` need no map. Unsupported `IDMAP_UNSUPPORTED`
   * names the kernel or file system that cannot.
   */
  create(
    id: string,
    tree: TreeId,
    options?: JobOptions & { disposable?: boolean | undefined; idMap?: IdMap | undefined },
  ): Promise<Snapshot>;
  /** Mounts an existing one again (after a stop or a reboot); a no-op when it is mounted. Reads a canary file back. */
  mount(id: string): Promise<Snapshot>;
  /** Gone from the host's name space at once; resolves when the upper is at rest. A no-op when it is not mounted. The upper stays. */
  unmount(id: string): Promise<void>;
  /** Unmounts and forgets the upper: the id is free again, the files go in the background. A no-op when it does not exist. */
  remove(id: string): Promise<void>;
  /** The base tree with the upper's changes: exact, whiteouts and opaque directories resolved. `stubs` are paths (relative) that the engine mounted over. */
  capture(id: string, options?: JobOptions & { stubs?: readonly string[] }): Promise<TreeRef>;
  /** What the upper changes, as `docker diff` shows it. */
  changes(id: string, options?: JobOptions & { stubs?: readonly string[] }): Promise<Change[]>;
  /**
   * A tree mounted read-only for `user` (an id as above), its path on the host. Idempotent for a user and a tree. `idMap` as for `create`.
   */
  view(user: string, tree: TreeId, options?: { idMap?: IdMap | undefined }): Promise<string>;
  /** Takes a user's views away. Idempotent. */
  endViews(user: string): Promise<void>;
  /** Who has views that an earlier engine made. */
  viewUsers(): Promise<string[]>;
  /** Trees that a snapshot or a view needs, and whose it is. */
  usedTrees(): Promise<{ tree: TreeId; by: string }[]>;
  /** Derived forms: the tree, bytes of blocks, and when it was last used. */
  projections(): Promise<{ tree: TreeId; bytes: number; lastUsedAtMs: number }[]>;
  /** Ids, also of those whose making a crash cut short: `remove` takes them away. */
  list(): Promise<string[]>;
  /**
   * Removes a tree's derived form, for the collector. Snapshots of it live on; what needs it next makes it anew. False, and nothing done,
   * when a snapshot of this driver cannot do without. Idempotent.
   */
  discardProjection(tree: TreeId): Promise<boolean>;
  /** Waits for what is under way. Snapshots stay mounted. */
  close(): Promise<void>;
}
