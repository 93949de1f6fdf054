import { mkdirSync } from 'node:fs';
import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { isMountPoint, listMounts, mountFilesystem, unmountIfMounted } from '../../kernel/mount.ts';
import type { TreeId } from '../../store/model.ts';
import type { JobOptions, Store } from '../../store/port.ts';
import type { ProjectionInfo } from '../erofs/format.ts';
import { lastingImage, readImageInfo, removeStaleImages, unsyncedImage } from '../erofs/image-files.ts';
import { removeMountPoint } from '../overlay/mount.ts';
import { OverlaySnapshotter, type SnapshotterOptions } from './overlay-snapshotter.ts';
import { type Lower, type Projections, SingleFlight } from './projection.ts';
import { namesIn } from './views.ts';

/**
 * A tree as an EROFS image of its metadata over the object store as data-only lower. Needs file-backed EROFS mounts (Linux 6.12).
 */
export class ErofsOverlaySnapshotter extends OverlaySnapshotter {
  constructor(options: SnapshotterOptions) {
    super('erofs-overlay', new ErofsProjections(options), options);
  }
}

/** Mounted images that no snapshot needs are kept for the next start, up to this many. */
const keptMounts = 32;

/**
 * EROFS images, mounted once a tree at `<run>/erofs/<tree>`. The mount is a cache: an overlay holds its own reference to it, so that
 * taking it away never disturbs a running container (docs/adr/0012).
 */
class ErofsProjections implements Projections {
  readonly #store: Pick<Store, 'paths' | 'jobs'>;
  readonly #mounts: string;
  readonly #flight = new SingleFlight<TreeId>();
  /** Trees whose image is mounted, the longest unused first. */
  readonly #mounted = new Map<TreeId, ProjectionInfo>();
  readonly #syncing = new Set<Promise<void>>();

  constructor(options: SnapshotterOptions) {
    this.#store = options.store;
    this.#mounts = join(options.runDirectory, 'erofs');
    removeStaleImages(options.store.paths);
    this.#takeOver();
  }

  /** Mounts of an engine that was killed: those of images that are still there are this one's now, the others go. */
  #takeOver(): void {
    const names = namesIn(this.#mounts);
    if (names.length === 0) return;
    const sources = new Map(listMounts().map(({ mountPoint, source }) => [mountPoint, source]));
    for (const tree of names as TreeId[]) {
      const image = /^[0-9a-f]{64}$/.test(tree) ? this.#find(tree) : undefined;
      const source = sources.get(join(this.#mounts, tree));
      if (image !== undefined && source !== undefined && this.#paths(tree).includes(source)) this.#mounted.set(tree, image.info);
      else this.#drop(tree);
    }
    this.#dropLongUnused();
  }

  async ensure(tree: TreeId, options: JobOptions = {}): Promise<void> {
    if (this.#mounted.has(tree) || this.#find(tree) !== undefined) return;
    await this.#flight.run(tree, options.signal, async () => {
      await this.#store.jobs.run('snapshot.project', { tree }, options);
      this.#sync(tree);
    });
  }

  async lower(tree: TreeId, options: JobOptions = {}): Promise<Lower> {
    const directory = join(this.#mounts, tree);
    const data = this.#store.paths.objects;
    const known = this.#mounted.get(tree);
    if (known !== undefined && isMountPoint(directory)) {
      // Used last.
      this.#mounted.delete(tree);
      this.#mounted.set(tree, known);
      return { info: known, directory, data };
    }
    this.#mounted.delete(tree);
    await this.ensure(tree, options);
    const image = this.#find(tree);
    if (image === undefined)
      throw new EngineError('Conflict', 'PROJECTION_GONE', `the EROFS image of tree ${tree} was removed while it was needed`);
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    // An earlier engine's mount shows the same bytes, or an image that has been replaced since.
    unmountIfMounted(directory);
    mountFilesystem({ type: 'erofs', source: image.path, options: [], target: directory, readOnly: true });
    this.#mounted.set(tree, image.info);
    this.#dropLongUnused();
    return { info: image.info, directory, data };
  }

  async list(): Promise<{ tree: TreeId; bytes: number; lastUsedAtMs: number }[]> {
    const { erofs } = this.#store.paths;
    const images = (await readdir(erofs)).filter((name) => /^[0-9a-f]{64}\./.test(name));
    const found = await Promise.all(images.map(async (name) => ({ name, stat: await stat(join(erofs, name)).catch(() => undefined) })));
    return found.flatMap(({ name, stat: known }) =>
      known === undefined
        ? []
        : [{ tree: name.slice(0, 64) as TreeId, bytes: known.blocks * 512, lastUsedAtMs: Math.max(known.mtimeMs, known.atimeMs) }],
    );
  }

  /** Always can: a mounted overlay keeps the image alive, and one made later has the same inodes. */
  async discard(tree: TreeId): Promise<boolean> {
    this.#drop(tree);
    for (const path of this.#paths(tree)) await rm(path, { force: true });
    return true;
  }

  async close(): Promise<void> {
    await Promise.all(this.#syncing);
    for (const tree of [...this.#mounted.keys()]) this.#drop(tree);
  }

  /** A whole image of this tree by this writer. A torn or foreign one counts as missing and is replaced. */
  #find(tree: TreeId): { path: string; info: ProjectionInfo } | undefined {
    for (const path of this.#paths(tree)) {
      const info = readImageInfo(path, tree);
      if (info !== undefined) return { path, info };
    }
    return undefined;
  }

  #paths(tree: TreeId): string[] {
    return [lastingImage(this.#store.paths, tree), unsyncedImage(this.#store.paths, tree)];
  }

  /** Gives an image its lasting name once the disk has it. It is mounted before: a start waits for no disk. */
  #sync(tree: TreeId): void {
    const unsynced = unsyncedImage(this.#store.paths, tree);
    const syncing = syncFile(unsynced)
      .then(() => rename(unsynced, lastingImage(this.#store.paths, tree)))
      // Removed meanwhile, or a disk that fails: the unsynced name stays good until the host goes down.
      .catch(() => {})
      .finally(() => this.#syncing.delete(syncing));
    this.#syncing.add(syncing);
  }

  #dropLongUnused(): void {
    for (const tree of this.#mounted.keys()) {
      if (this.#mounted.size <= keptMounts) return;
      this.#drop(tree);
    }
  }

  #drop(tree: TreeId): void {
    this.#mounted.delete(tree);
    const directory = join(this.#mounts, tree);
    unmountIfMounted(directory);
    removeMountPoint(directory);
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path);
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}
