import { posix } from 'node:path';
import type { HostConfig, Mount } from '../../api-types/container.ts';
import type { ContainerRecord } from '../port.ts';
import { mergeTmpfsOptions } from './tmpfs.ts';
import type { SpecMount } from './types.ts';

export type SystemMountOptions = {
  privileged: boolean;
  /** Whether the container may write to its control groups. */
  writableCgroups: boolean;
  shmBytes: number;
  /** Host path to bind at /dev/shm: the host's own, or one that containers share. */
  shmSource?: string | undefined;
  /** No /dev/shm at all. */
  withoutShm: boolean;
};

const guarded = ['nosuid', 'noexec', 'nodev'];

/** What every container has: Docker's list, in its order. */
export function systemMounts(options: SystemMountOptions): SpecMount[] {
  const access = (writable: boolean) => (writable ? 'rw' : 'ro');
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: guarded },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...guarded, access(options.privileged)] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [access(options.writableCgroups), ...guarded] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: guarded },
    ...(options.withoutShm ? [] : [sharedMemory(options)]),
  ];
}

function sharedMemory({ shmSource, shmBytes }: SystemMountOptions): SpecMount {
  if (shmSource !== undefined) return bind(shmSource, '/dev/shm', guarded);
  return { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...guarded, 'mode=1777', `size=${shmBytes}`] };
}

function bind(source: string, destination: string, options: string[] = []): SpecMount {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', ...options] };
}

/** A file that the engine writes and the container may too. */
export function fileMount(source: string, destination: string, readOnly = false): SpecMount {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', ...(readOnly ? ['ro'] : [])] };
}

export type UserMountOptions = {
  /** Whether kernel and runtime can make what is mounted below read-only too. */
  recursiveReadOnly: boolean;
  /** In a user namespace, flags of the source's mount cannot be taken away. */
  lockedFlags?: ((source: string) => readonly string[]) | undefined;
  /** Whether it is no folder, so that nothing can be mounted below it. */
  isLeaf(source: string): boolean;
};

/** What the user asked for: binds, volumes, images and tmpfs. */
export function userMounts(mounts: ContainerRecord['mounts'], host: HostConfig, options: UserMountOptions): SpecMount[] {
  return mounts.map((mount) => {
    const asked = host.Mounts?.find(({ Target, Type }) => cleanPath(Target) === mount.destination && Type === mount.type);
    if (mount.type === 'tmpfs') return tmpfsMount(mount.destination, tmpfsText(host, mount.destination), asked, mount.readOnly);
    const single = asked?.BindOptions?.NonRecursive ?? false;
    const propagation = mount.propagation || 'rprivate';
    return {
      destination: mount.destination,
      type: 'bind',
      source: mount.source,
      options: [
        single ? 'bind' : 'rbind',
        mount.readOnly ? readOnlyOption(mount.source, asked, options) : 'rw',
        // crun takes a recursive propagation for a recursive bind.
        single ? propagation.replace(/^r/, '') : propagation,
        ...(options.lockedFlags?.(mount.source) ?? []),
      ],
    };
  });
}

/** As Docker since 25: read-only means all below, where that can be had and nobody asked otherwise. crun 1.8 takes `rro` for folders only. */
function readOnlyOption(source: string, asked: Mount | undefined, options: UserMountOptions): 'ro' | 'rro' {
  return options.recursiveReadOnly && !asked?.BindOptions?.ReadOnlyNonRecursive && !options.isLeaf(source) ? 'rro' : 'ro';
}

function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(.)\/$/, '$1');
}

function tmpfsText(host: HostConfig, destination: string): string | undefined {
  return Object.entries(host.Tmpfs ?? {}).find(([path]) => cleanPath(path) === destination)?.[1];
}

function tmpfsMount(destination: string, text: string | undefined, asked: Mount | undefined, readOnly: boolean): SpecMount {
  const { SizeBytes, Mode, Options = [] } = asked?.TmpfsOptions ?? {};
  const options = mergeTmpfsOptions([
    ...['noexec', 'nosuid', 'nodev', 'rprivate'],
    ...(readOnly ? ['ro'] : []),
    ...(text ?? '').split(',').filter((option) => option !== ''),
    ...(SizeBytes ? [`size=${SizeBytes}`] : []),
    ...(Mode ? [`mode=${Mode.toString(8)}`] : []),
    ...Options.map((words) => words.join('=')),
  ]);
  return { destination, type: 'tmpfs', source: 'tmpfs', options };
}

/**
 * Joins lists of mounts; a later one of the same destination replaces an earlier one. The order is by depth, so that no mount hides one
 * below it. A bind over the whole of /dev takes away the mounts that the system would make in it.
 */
export function joinMounts(system: readonly SpecMount[], ...later: readonly SpecMount[][]): SpecMount[] {
  const mounts = new Map(system.map((mount) => [mount.destination, mount]));
  for (const mount of later.flat()) {
    const replaced = mounts.get(mount.destination);
    // The host's /dev, bound whole, has its own pts, shm and mqueue.
    if (replaced && mount.destination === '/dev') for (const nested of mounts.keys()) if (nested.startsWith('/dev/')) mounts.delete(nested);
    mounts.delete(mount.destination);
    mounts.set(mount.destination, mount);
  }
  const depth = ({ destination }: SpecMount) => destination.split('/').filter((name) => name !== '').length;
  return [...mounts.values()]
    .map((mount, index) => ({ mount, index }))
    .sort((a, b) => depth(a.mount) - depth(b.mount) || a.index - b.index)
    .map(({ mount }) => mount);
}

/** Host mounts that must reach the container, or the other way round, need the root itself to propagate. */
export function rootPropagation(mounts: ContainerRecord['mounts']): string | undefined {
  const asked = mounts.map(({ propagation }) => propagation ?? '');
  if (asked.some((value) => value === 'shared' || value === 'rshared')) return 'shared';
  if (asked.some((value) => value === 'slave' || value === 'rslave')) return 'rslave';
  return undefined;
}
