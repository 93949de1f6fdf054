import { readdirSync } from 'node:fs';
import { posix } from 'node:path';
import type { HostConfig } from '../../api-types/container.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { statPath } from '../../kernel/files.ts';
import { FileStat, S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT } from '../../kernel/stat.ts';
import type { Device, DeviceRule } from './types.ts';

/** Docker's: nothing, but the harmless nodes that every program expects, and terminals. mknod itself is free; opening is what counts. */
const defaultRules: DeviceRule[] = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  ...[
    [1, 3],
    [1, 5],
    [1, 7],
    [1, 8],
    [1, 9],
    [5, 0],
    [5, 1],
    [5, 2],
  ].map(([major = 0, minor = 0]) => ({ allow: true, type: 'c' as const, major, minor, access: 'rwm' })),
  { allow: true, type: 'c', major: 136, access: 'rwm' },
];

/** Nodes in /dev beyond the runtime's own (null, zero, full, random, urandom, tty), and what the device controller lets through. */
export function devices(host: Pick<HostConfig, 'Privileged' | 'Devices'>): { devices: Device[]; rules: DeviceRule[] } {
  if (host.Privileged) return { devices: hostDevices('/dev', '/dev'), rules: [{ allow: true, type: 'a', access: 'rwm' }] };
  const asked = (host.Devices ?? []).flatMap((device) =>
    devicesAt(device.PathOnHost, device.PathInContainer || device.PathOnHost).map((node) => ({
      node,
      access: device.CgroupPermissions || 'rwm',
    })),
  );
  return {
    devices: asked.map(({ node }) => node),
    rules: [
      ...defaultRules,
      ...asked.map(({ node, access }) => ({ allow: true, type: node.type, major: node.major, minor: node.minor, access })),
    ],
  };
}

function devicesAt(path: string, inside: string): Device[] {
  try {
    const stats = statPath(path, new FileStat(), { follow: true });
    if ((stats.mode & S_IFMT) === S_IFDIR) return hostDevices(path, inside);
    const node = toDevice(stats, inside);
    if (node) return [node];
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new EngineError('InvalidArgument', 'DEVICE_NOT_FOUND', `no such device on this host: ${path}`);
  }
  throw new EngineError('InvalidArgument', 'DEVICE_INVALID', `not a device: ${path}`);
}

/** What a container has of its own in /dev. */
const skipped = new Set([
  'pts',
  'shm',
  'fd',
  'mqueue',
  '.lxc',
  '.lxd-mounts',
  '.udev',
  'console',
  'ptmx',
  'stdin',
  'stdout',
  'stderr',
  'core',
]);

function hostDevices(directory: string, inside: string): Device[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (skipped.has(entry.name)) return [];
    const [path, target] = [posix.join(directory, entry.name), posix.join(inside, entry.name)];
    if (entry.isDirectory()) return hostDevices(path, target);
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    try {
      return toDevice(statPath(path), target) ?? [];
    } catch (error) {
      // Devices come and go.
      if (isErrno(error, 'ENOENT', 'ENXIO')) return [];
      throw error;
    }
  });
}

function toDevice(stats: FileStat, path: string): Device | undefined {
  const kind = stats.mode & S_IFMT;
  if (kind !== S_IFCHR && kind !== S_IFBLK) return undefined;
  return {
    path,
    type: kind === S_IFCHR ? 'c' : 'b',
    major: stats.rdevMajor,
    minor: stats.rdevMinor,
    fileMode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
  };
}
