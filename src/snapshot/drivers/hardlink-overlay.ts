import { randomBytes } from 'node:crypto';
import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';
import type { TreeId } from '../../store/model.ts';
import type { JobOptions, Store } from '../../store/port.ts';
import type { ProjectionInfo } from '../erofs/format.ts';
import { checkoutFolder, readCheckoutInfo } from './hardlink-checkout.ts';
import { OverlaySnapshotter, type SnapshotterOptions } from './overlay-snapshotter.ts';
import { type Lower, type Projections, SingleFlight } from './projection.ts';
import { listFolders, readRecord, snapshotPaths } from './snapshot-record.ts';

/** A tree as a checkout of hardlinks: for kernels without file-backed EROFS. Costs a directory entry a file and a copy of each inode. */
export class HardlinkOverlaySnapshotter extends OverlaySnapshotter {
  constructor(options: SnapshotterOptions) {
    super('hardlink-overlay', new Checkouts(options), options);
  }
}

class Checkouts implements Projections {
  readonly #store: Pick<Store, 'paths' | 'jobs'>;
  readonly #flight = new SingleFlight<TreeId>();
  readonly #known = new Map<TreeId, ProjectionInfo>();

  constructor(options: SnapshotterOptions) {
    this.#store = options.store;
  }

  async ensure(tree: TreeId, options: JobOptions = {}): Promise<void> {
    await this.#info(tree, options);
  }

  async lower(tree: TreeId, options: JobOptions = {}): Promise<Lower> {
    const info = await this.#info(tree, options);
    return { info, directory: join(checkoutFolder(this.#store.paths, tree), 'root') };
  }

  /** A checkout is the lower itself: without it a snapshot loses its files, so it stays while there is one. */
  async discard(tree: TreeId): Promise<boolean> {
    if (this.#isUsed(tree)) return false;
    this.#known.delete(tree);
    const grave = join(this.#store.paths.tmp, `checkout-${randomBytes(8).toString('hex')}`);
    try {
      await rename(checkoutFolder(this.#store.paths, tree), grave);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return true;
      throw error;
    }
    await rm(grave, { recursive: true, force: true });
    return true;
  }

  /** What a checkout takes beside the inodes that it shares is not known. */
  async list(): Promise<{ tree: TreeId; bytes: number; lastUsedAtMs: number }[]> {
    const folder = join(this.#store.paths.inodes, 'trees');
    const trees = new Set(listFolders(folder).map((name) => name.slice(0, 64) as TreeId));
    return Promise.all(
      [...trees].map(async (tree) => ({ tree, bytes: 0, lastUsedAtMs: (await stat(checkoutFolder(this.#store.paths, tree))).mtimeMs })),
    );
  }

  #isUsed(tree: TreeId): boolean {
    const { snapshots } = this.#store.paths;
    return listFolders(snapshots).some((id) => readRecord(snapshotPaths(snapshots, id))?.tree === tree);
  }

  async close(): Promise<void> {}

  async #info(tree: TreeId, options: JobOptions): Promise<ProjectionInfo> {
    const known = this.#known.get(tree) ?? this.#read(tree);
    if (known !== undefined) return known;
    await this.#flight.run(tree, options.signal, async () => {
      await this.#store.jobs.run('snapshot.checkout', { tree }, options);
    });
    const info = this.#read(tree);
    if (info === undefined)
      throw new EngineError('Conflict', 'PROJECTION_GONE', `the checkout of tree ${tree} was removed while it was needed`);
    return info;
  }

  #read(tree: TreeId): ProjectionInfo | undefined {
    const info = readCheckoutInfo(checkoutFolder(this.#store.paths, tree));
    if (info !== undefined) this.#known.set(tree, info);
    return info;
  }
}
