import { randomBytes } from 'node:crypto';
import { chmodSync, close as closeFd, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { EngineError, isErrno } from '../../base/errors.ts';
import { lchown, O, setTimes, statPath } from '../../kernel/files.ts';
import { isMountPoint, unmount, unmountIfMounted } from '../../kernel/mount.ts';
import { listXattrs, setXattr } from '../../kernel/xattr.ts';
import type { TreeId, TreeRef } from '../../store/model.ts';
import type { Change, JobOptions, Store } from '../../store/port.ts';
import { checkCanary } from '../overlay/canary.ts';
import type { CaptureParams } from '../overlay/capture.ts';
import { indexDirectory } from '../overlay/copied-up-links.ts';
import { IdMapNamespaces, mountableWithMap, withIdmapped } from '../overlay/idmapped.ts';
import { mountOverlay, removeMountPoint } from '../overlay/mount.ts';
import { isPrivateXattr } from '../overlay/private-xattrs.ts';
import type { IdMap, Snapshot, Snapshotter } from '../port.ts';
import type { Lower, Projections } from './projection.ts';
import {
  listFolders,
  makeFolder,
  readRecord,
  type SnapshotPaths,
  type SnapshotRecord,
  snapshotPaths,
  writeRecord,
} from './snapshot-record.ts';
import { namesIn, Views } from './views.ts';

export type SnapshotterOptions = {
  store: Pick<Store, 'paths' | 'jobs'>;
  /** The engine's run directory: mounts lie below it. */
  runDirectory: string;
};

/**
 * Snapshots as overlay mounts over a tree's derived form, which the driver gives. Mount calls are made on the calling thread, well under
 * a millisecond each; what can wait for a disk (taking an overlay down syncs its file system) is not.
 */
export class OverlaySnapshotter implements Snapshotter {
  readonly name: string;
  readonly #projections: Projections;
  readonly #store: Pick<Store, 'paths' | 'jobs'>;
  readonly #mounts: string;
  readonly #scratch: string;
  readonly #namespaces = new IdMapNamespaces();
  readonly #views: Views;
  /** Overlays that have left the name space and are still being taken down. The upper layer is theirs until then. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #removing = new Set<Promise<void>>();

  constructor(name: string, projections: Projections, options: SnapshotterOptions) {
    this.name = name;
    this.#projections = projections;
    this.#store = options.store;
    const { runDirectory } = options;
    this.#mounts = join(runDirectory, 'snap');
    this.#scratch = join(runDirectory, 'map');
    this.#views = new Views({ projections, namespaces: this.#namespaces, runDirectory, objects: options.store.paths.objects });
    this.#removeLeftovers();
  }

  project(tree: TreeId, options?: JobOptions): Promise<void> {
    return this.#projections.ensure(tree, options);
  }

  async create(
    id: string,
    tree: TreeId,
    options: JobOptions & { disposable?: boolean | undefined; idMap?: IdMap | undefined } = {},
  ): Promise<Snapshot> {
    const paths = this.#paths(id);
    if (readRecord(paths) !== undefined) throw exists(id);
    const { disposable = false, idMap } = options;
    const [lower, namespace] = await Promise.all([this.#projections.lower(tree, options), this.#namespace(idMap)]);
    await this.#leaving.get(id);
    options.signal?.throwIfAborted();
    if (!makeFolder(paths)) {
      if (readRecord(paths) !== undefined) throw exists(id);
      rmSync(paths.folder, { recursive: true, force: true });
      makeFolder(paths);
    }
    try {
      mkdirSync(paths.work, { mode: 0o700 });
      makeUpper(paths.upper, lower.directory);
      const { info } = lower;
      const known = { version: 1, driver: this.name, tree, projection: info.version } as const;
      const record: SnapshotRecord = { ...known, index: info.hardlinks, disposable, ...(idMap ? { idMap } : {}) };
      this.#mountOver(id, { paths, lower, namespace }, record);
      checkCanary(info, { rootfs: this.#rootfs(id), objects: this.#store.paths.objects });
      writeRecord(paths, record);
    } catch (error) {
      this.#detach(id);
      this.#discardFolder(id, paths);
      throw error;
    }
    return { id, tree, rootfs: this.#rootfs(id) };
  }

  async mount(id: string): Promise<Snapshot> {
    const { paths, record } = this.#existing(id);
    const snapshot = { id, tree: record.tree, rootfs: this.#rootfs(id) };
    if (isMountPoint(snapshot.rootfs)) return snapshot;
    const [lower, namespace] = await Promise.all([this.#projections.lower(record.tree), this.#namespace(record.idMap)]);
    await this.#leaving.get(id);
    if (isMountPoint(snapshot.rootfs)) return snapshot;
    if (record.disposable) forgetVolatile(paths);
    await this.#whenFree(id, () => this.#remount(id, { paths, lower, namespace }, record));
    try {
      checkCanary(lower.info, { rootfs: snapshot.rootfs, objects: this.#store.paths.objects, upper: paths.upper });
    } catch (error) {
      this.#detach(id);
      throw error;
    }
    return snapshot;
  }

  async unmount(id: string): Promise<void> {
    this.#paths(id);
    this.#detach(id);
    await this.#leaving.get(id);
  }

  async remove(id: string): Promise<void> {
    const paths = this.#paths(id);
    this.#detach(id);
    this.#discardFolder(id, paths);
  }

  async capture(id: string, options: JobOptions & { stubs?: readonly string[] } = {}): Promise<TreeRef> {
    const { stubs = [], ...jobOptions } = options;
    return this.#store.jobs.run<TreeRef>('snapshot.capture', await this.#captureParams(id, stubs), jobOptions);
  }

  async changes(id: string, options: JobOptions & { stubs?: readonly string[] } = {}): Promise<Change[]> {
    const { stubs = [], ...jobOptions } = options;
    return this.#store.jobs.run<Change[]>('snapshot.changes', await this.#captureParams(id, stubs), jobOptions);
  }

  async view(user: string, tree: TreeId, options: { idMap?: IdMap | undefined } = {}): Promise<string> {
    this.#paths(user);
    return this.#views.open(user, tree, options.idMap);
  }

  async endViews(user: string): Promise<void> {
    this.#paths(user);
    this.#views.end(user);
  }

  async viewUsers(): Promise<string[]> {
    return this.#views.strangers();
  }

  async usedTrees(): Promise<{ tree: TreeId; by: string }[]> {
    const { snapshots } = this.#store.paths;
    const ofSnapshots = listFolders(snapshots).flatMap((id) => {
      const tree = readRecord(snapshotPaths(snapshots, id))?.tree;
      return tree === undefined ? [] : [{ tree, by: id }];
    });
    return [...ofSnapshots, ...this.#views.all()];
  }

  projections(): Promise<{ tree: TreeId; bytes: number; lastUsedAtMs: number }[]> {
    return this.#projections.list();
  }

  async list(): Promise<string[]> {
    return listFolders(this.#store.paths.snapshots);
  }

  discardProjection(tree: TreeId): Promise<boolean> {
    return this.#projections.discard(tree);
  }

  /** Waits for what was under way. Snapshots stay mounted: containers outlive the daemon. */
  async close(): Promise<void> {
    await Promise.all([...this.#leaving.values(), ...this.#removing]);
    await this.#projections.close();
    await this.#namespaces.close();
  }

  /** What a killed engine left half made: folders without a record, mounts without a folder, mounts that were only steps to another. */
  #removeLeftovers(): void {
    const ids = new Set(listFolders(this.#store.paths.snapshots));
    for (const id of ids) {
      const paths = this.#paths(id);
      if (existsSync(paths.record)) continue;
      this.#detach(id);
      this.#discardFolder(id, paths);
    }
    for (const id of namesIn(this.#mounts)) if (!ids.has(id)) this.#detach(id);
    for (const id of namesIn(this.#scratch)) {
      for (const name of namesIn(join(this.#scratch, id))) {
        unmountIfMounted(join(this.#scratch, id, name));
        removeMountPoint(join(this.#scratch, id, name));
      }
      removeMountPoint(join(this.#scratch, id));
    }
  }

  #namespace(idMap: IdMap | undefined): Promise<number> | undefined {
    return idMap && this.#namespaces.open(idMap);
  }

  #paths(id: string): SnapshotPaths {
    return snapshotPaths(this.#store.paths.snapshots, id);
  }

  #rootfs(id: string): string {
    return join(this.#mounts, id);
  }

  #existing(id: string): { paths: SnapshotPaths; record: SnapshotRecord } {
    const paths = this.#paths(id);
    const record = readRecord(paths);
    if (record === undefined) throw new EngineError('NotFound', 'SNAPSHOT_NOT_FOUND', `there is no snapshot ${id}`);
    return { paths, record };
  }

  async #captureParams(id: string, stubs: readonly string[]): Promise<CaptureParams> {
    const { paths, record } = this.#existing(id);
    const lower = record.index ? (await this.#projections.lower(record.tree)).directory : undefined;
    const index = lower === undefined ? undefined : { directory: indexDirectory(paths.work), lower };
    return { tree: record.tree, upper: paths.upper, index, stubs };
  }

  #mountOver(id: string, { paths, lower, namespace }: Layers, { index, disposable }: SnapshotRecord): void {
    const target = this.#rootfs(id);
    mkdirSync(target, { recursive: true, mode: 0o711 });
    const common = { data: lower.data, target, index, volatile: disposable };
    if (namespace === undefined) {
      mountOverlay({ ...common, lower: lower.directory, upper: paths.upper, work: paths.work });
      return;
    }
    // Upper and work directory must be in one mount. The objects need no map: overlayfs opens them as the engine.
    withIdmapped([lower.directory, paths.folder], { namespace, directory: join(this.#scratch, id) }, ([mapped = '', folder = '']) =>
      mountableWithMap(() => mountOverlay({ ...common, lower: mapped, upper: join(folder, 'upper'), work: join(folder, 'work') })),
    );
  }

  /**
   * The mount name space of a container that has just ended goes a few milliseconds after its process. Until then the kernel says that
   * the upper layer is in use.
   */
  async #whenFree(id: string, mountIt: () => void): Promise<void> {
    const deadlineMs = Date.now() + busyTimeoutMs;
    for (;;) {
      try {
        if (!isMountPoint(this.#rootfs(id))) mountIt();
        return;
      } catch (error) {
        if (!isErrno(error, 'EBUSY')) throw error;
        if (Date.now() > deadlineMs) throw busy(id, error);
        await setTimeout(10);
      }
    }
  }

  #remount(id: string, layers: Layers, record: SnapshotRecord): void {
    const { paths, lower } = layers;
    const sameLower = record.projection === lower.info.version;
    try {
      this.#mountOver(id, layers, { ...record, index: record.index && sameLower });
    } catch (error) {
      // The lower was made anew with other inodes: its hardlinks come apart when written, everything else is as it was.
      if (!record.index || !isErrno(error, 'ESTALE')) throw error;
      this.#mountOver(id, layers, { ...record, index: false });
      writeRecord(paths, { ...record, index: false });
      return;
    }
    if (record.index && !sameLower) writeRecord(paths, { ...record, index: false, projection: lower.info.version });
  }

  /**
   * Takes the mount out of the name space at once. Its last reference is a descriptor that a pool thread closes: taking a writable
   * overlay down syncs the whole file system below it, which may take long.
   */
  #detach(id: string): void {
    const rootfs = this.#rootfs(id);
    if (!isMountPoint(rootfs)) {
      removeMountPoint(rootfs);
      return;
    }
    const last = openSync(rootfs, O.PATH | O.DIRECTORY | O.CLOEXEC);
    unmount(rootfs, { detach: true });
    unmountIfMounted(rootfs);
    removeMountPoint(rootfs);
    const earlier = this.#leaving.get(id);
    const leaving = new Promise<void>((resolve) => closeFd(last, () => resolve()))
      .then(() => earlier)
      .finally(() => {
        if (this.#leaving.get(id) === leaving) this.#leaving.delete(id);
      });
    this.#leaving.set(id, leaving);
  }

  /** The id is free again at once; the files go in the background. */
  #discardFolder(id: string, paths: SnapshotPaths): void {
    const grave = join(this.#store.paths.tmp, `snapshot-${id}-${randomBytes(4).toString('hex')}`);
    try {
      renameSync(paths.folder, grave);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    const removing = rm(grave, { recursive: true, force: true })
      // What could not be removed lies in tmp, which the next start empties.
      .catch(() => {})
      .finally(() => this.#removing.delete(removing));
    this.#removing.add(removing);
  }
}

type Layers = { paths: SnapshotPaths; lower: Lower; namespace: number | undefined };

const busyTimeoutMs = 2000;

function busy(id: string, cause: unknown): EngineError {
  return new EngineError('Conflict', 'SNAPSHOT_BUSY', `the writable layer of snapshot ${id} is still mounted in another mount name space`, {
    hint: 'A process outside the container has kept its file system. "grep overlay /proc/*/mountinfo" finds it.',
    cause,
  });
}

function exists(id: string): EngineError {
  return new EngineError('Conflict', 'SNAPSHOT_EXISTS', `the snapshot ${id} exists already`);
}

/** The merged root shows the upper directory's own metadata, so it gets that of the tree's root. */
function makeUpper(upper: string, lower: string): void {
  mkdirSync(upper, { mode: 0o700 });
  const root = statPath(lower);
  lchown(upper, root.uid, root.gid);
  chmodSync(upper, root.mode & 0o7777);
  for (const [name, value] of listXattrs(lower)) if (!isPrivateXattr(name)) setXattr(upper, name, value);
  setTimes(upper, root.mtimeSec, root.mtimeNsec);
}

/**
 * A volatile overlay leaves a mark that refuses another mount, because a crash of the host may have lost data. Without a crash the data is
 * in the page cache; after one, a disposable snapshot is not used again.
 */
function forgetVolatile(paths: SnapshotPaths): void {
  rmSync(join(paths.work, 'work', 'incompat'), { recursive: true, force: true });
}
