import { closeSync, openSync, readlinkSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { O, openBeneath } from '../kernel/files.ts';
import { listMounts, type MountInfo } from '../kernel/mount.ts';
import type { EngineContext } from './context.ts';
import type { ContainerRecord } from './port.ts';

type RecordMount = ContainerRecord['mounts'][number];
type Parts = Pick<EngineContext, 'volumes' | 'snapshotter' | 'store'>;

/**
 * Makes what a container mounts ready, for a start: volumes at their drivers, images as read-only trees. Answers the record's mounts with `source`
 * where each is on the host now. `unmountVolumes` takes all of it down, also after a failure half-way.
 */
export async function mountVolumes(context: Parts, record: ContainerRecord): Promise<RecordMount[]> {
  await checkPropagation(record.mounts);
  return Promise.all(record.mounts.map(async (mount) => ({ ...mount, source: await hostPath(context, record, mount) })));
}

/** Idempotent. */
export async function unmountVolumes({ volumes, snapshotter }: Parts, { id, mounts }: ContainerRecord): Promise<void> {
  const names = mounts.flatMap(({ type, name }) => (type === 'volume' && name !== undefined ? [name] : []));
  const ended = await Promise.allSettled([
    ...[...new Set(names)].map((name) => volumes.unmount(name, id)),
    ...(mounts.some(({ type }) => type === 'image') ? [snapshotter.endViews(id)] : []),
  ]);
  const failed = ended.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

/** Where a volume is on the host. `staging` is a folder on the same file system that no container sees, where the driver has one. */
export type VolumePlace = { path: string; staging: string | undefined };

/** A volume, mounted for the callback's time. `purpose` keeps apart what one container needs it for. */
export async function withVolume<T>(
  { volumes }: Pick<Parts, 'volumes'>,
  name: string,
  { id, purpose }: { id: string; purpose: string },
  use: (place: VolumePlace) => Promise<T>,
): Promise<T> {
  const user = `${purpose}-${id}`;
  const { driver, options } = await volumes.get(name);
  const path = await volumes.mount(name, user);
  try {
    const isFolder = driver === 'local' && Object.keys(options).length === 0;
    return await use({ path, staging: isFolder ? dirname(path) : undefined });
  } finally {
    await volumes.unmount(name, user);
  }
}

async function hostPath({ volumes, snapshotter, store }: Parts, record: ContainerRecord, mount: RecordMount): Promise<string> {
  const { type, name, subpath } = mount;
  if (type === 'volume' && name !== undefined) return volumes.mount(name, record.id, { subpath });
  if (type !== 'image') return mount.source;
  const { tree } = await store.images.resolve(mount.source);
  const root = await snapshotter.view(record.id, tree, { idMap: record.idMap });
  return subpath === undefined || subpath === '' ? root : inView(root, subpath, mount.source);
}

/** Nobody changes what a view shows: a path in it that was found stays what it is. */
function inView(root: string, subpath: string, image: string): string {
  const fd = openSync(root, O.PATH | O.DIRECTORY | O.CLOEXEC);
  try {
    const found = openBeneath(fd, subpath, O.PATH);
    try {
      return readlinkSync(`/proc/self/fd/${found}`);
    } finally {
      closeSync(found);
    }
  } catch (cause) {
    if (!isErrno(cause, 'ENOENT', 'ENOTDIR', 'EXDEV', 'ELOOP')) throw cause;
    throw new EngineError('NotFound', 'SUBPATH_NOT_FOUND', `cannot access path ${subpath} in image ${image}: no such file or directory`, {
      cause,
      exitCode: 125,
    });
  } finally {
    closeSync(fd);
  }
}

/** What is mounted below a bind reaches the container, or the other way round, only when the mount that the source is on does so itself. */
export async function checkPropagation(mounts: readonly RecordMount[]): Promise<void> {
  const asked = mounts.filter(({ type, propagation }) => type === 'bind' && /^r?(shared|slave)$/.test(propagation ?? ''));
  if (asked.length === 0) return;
  const table = listMounts();
  for (const { source, propagation = '' } of asked) {
    const path = await realpath(source);
    const on = mountOf(path, table);
    const has = (kind: string) => on?.propagation.some((field) => field.startsWith(kind)) ?? false;
    const wantsShared = propagation.endsWith('shared');
    if (has('shared:') || (!wantsShared && has('master:'))) continue;
    throw new EngineError(
      'InvalidArgument',
      'MOUNT_NOT_SHARED',
      `path ${source} is mounted on ${on?.mountPoint ?? '/'} but it is not a shared${wantsShared ? '' : ' or slave'} mount`,
      { hint: `mount --make-shared ${on?.mountPoint ?? '/'}`, exitCode: 125 },
    );
  }
}

/** The last one that was mounted over the path or above it. */
export function mountOf(path: string, table: readonly MountInfo[]): MountInfo | undefined {
  return table
    .filter(({ mountPoint }) => path === mountPoint || mountPoint === '/' || path.startsWith(`${mountPoint}/`))
    .reduce<MountInfo | undefined>((best, one) => (best && best.mountPoint.length > one.mountPoint.length ? best : one), undefined);
}
