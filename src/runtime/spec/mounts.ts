import type { HostConfig, Mount } from '../../api-types/container.ts';
import type { ContainerRecord } from '../port.ts';
import type { SpecMount } from './types.ts';

export const defaultShmBytes = 64 << 20;

export type SystemMountOptions = {
  privileged: boolean;
  shmBytes: number;
  /** Host path to bind at /dev/shm: the host's own, or one that containers share. */
  shmSource?: string | undefined;
  hostIpc: boolean;
};

/** What every container has: Docker's list, in its order. */
export function systemMounts(options: SystemMountOptions): SpecMount[] {
  const access = options.privileged ? 'rw' : 'ro';
  const guarded = ['nosuid', 'noexec', 'nodev'];
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: guarded },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...guarded, access] },
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [access, ...guarded] },
    options.hostIpc
      ? bind('/dev/mqueue', '/dev/mqueue')
      : { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: guarded },
    options.shmSource !== undefined
      ? bind(options.shmSource, '/dev/shm', guarded)
      : { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...guarded, 'mode=1777', `size=${options.shmBytes}`] },
  ];
}

function bind(source: string, destination: string, options: string[] = []): SpecMount {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', ...options] };
}

/** A file that the engine writes and the container may too. */
export function fileMount(source: string, destination: string, readOnly = false): SpecMount {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', ...(readOnly ? ['ro'] : [])] };
}

/** What the user asked for: binds, volumes and tmpfs. */
export function userMounts(mounts: ContainerRecord['mounts'], host: HostConfig): SpecMount[] {
  return mounts.map((mount) => {
    const asked = host.Mounts?.find(({ Target }) => Target === mount.destination);
    if (mount.type === 'tmpfs') return tmpfsMount(mount.destination, host.Tmpfs?.[mount.destination], asked, mount.readOnly);
    const recursion = asked?.BindOptions?.NonRecursive ? 'bind' : 'rbind';
    return {
      destination: mount.destination,
      type: 'bind',
      source: mount.source,
      options: [recursion, mount.readOnly ? 'ro' : 'rw', mount.propagation || 'rprivate'],
    };
  });
}

function tmpfsMount(destination: string, text: string | undefined, asked: Mount | undefined, readOnly: boolean): SpecMount {
  const own = (text ?? '').split(',').filter((option) => option !== '');
  const { SizeBytes, Mode } = asked?.TmpfsOptions ?? {};
  return {
    destination,
    type: 'tmpfs',
    source: 'tmpfs',
    options: [
      'noexec',
      'nosuid',
      'nodev',
      ...(readOnly ? ['ro'] : []),
      ...own,
      ...(SizeBytes ? [`size=${SizeBytes}`] : []),
      ...(Mode !== undefined && Mode !== 0 ? [`mode=${Mode.toString(8)}`] : []),
    ],
  };
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
