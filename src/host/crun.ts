import { listMounts, type MountInfo } from '../kernel/mount.ts';
import { readText } from './kernel.ts';
import { findProgram } from './programs.ts';

/** Where crun looks for the v2 hierarchy of a host that has both. */
const unifiedPath = '/sys/fs/cgroup/unified';

/**
 * What runs crun where it makes containers: nothing on most hosts. crun refuses hybrid control groups when the v2 hierarchy has
 * controllers, though it uses the v1 ones only. There it gets a mount namespace of its own without that hierarchy, new each time, so that it sees
 * whatever is mounted by then; propagation stays as it is. Undefined where that cannot be done.
 */
export function crunPrefix(mounts: readonly MountInfo[] = listMounts(), find = findProgram): string[] | undefined {
  const unified = mounts.find(({ type, mountPoint }) => type === 'cgroup2' && mountPoint === unifiedPath);
  const hybrid = unified !== undefined && mounts.some(({ type }) => type === 'cgroup');
  if (!hybrid || readText(`${unifiedPath}/cgroup.controllers`).trim() === '') return [];
  const [unshare, umount, mount] = [find('unshare'), find('umount'), find('mount')];
  if (unshare === undefined || umount === undefined || mount === undefined) return undefined;
  const parent = mounts.find(({ id }) => id === unified.parentId);
  const isShared = parent?.propagation.some((field) => field.startsWith('shared:')) ?? true;
  // An unmount below a shared mount would happen on the host too.
  const alone = isShared ? `${mount} --make-private ${parent?.mountPoint ?? '/sys/fs/cgroup'} && ` : '';
  return [unshare, '--mount', '--propagation', 'unchanged', '/bin/sh', '-c', `${alone}${umount} -l ${unifiedPath} && exec "$@"`, 'sh'];
}

/** The oldest crun that the engine is tested with. */
const oldest = [1, 8] as const;

/** Why the engine would not choose crun by itself; undefined when it would. `version` as in `crun version 1.8.1`. */
export function objectionToCrun(version: string | undefined, prefix: string[] | undefined): string | undefined {
  const [major, minor] =
    /(\d+)\.(\d+)/
      .exec(version ?? '')
      ?.slice(1)
      .map(Number) ?? [];
  if (major === undefined || minor === undefined) return 'it does not tell its version';
  if (major < oldest[0] || (major === oldest[0] && minor < oldest[1]))
    return `it is ${version}; ${oldest.join('.')} is the oldest that the engine is tested with`;
  if (prefix === undefined) return 'it refuses hybrid control groups, and unshare, mount or umount is missing to hide one of them';
  return undefined;
}
