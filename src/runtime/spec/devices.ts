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

type Asked = Pick<HostConfig, 'Privileged' | 'Devices' | 'DeviceCgroupRules'>;

/**
 * Nodes in /dev beyond the runtime's own (null, zero, full, random, urandom, tty), and what the device controller lets through. A directory
 * stands for all devices in it. InvalidArgument in Docker's words for what is not there, is no device, or is no rule.
 */
export function devices(host: Asked): { devices: Device[]; rules: DeviceRule[] } {
  const asked = (host.Devices ?? []).flatMap(({ PathOnHost, PathInContainer, CgroupPermissions }) => {
    const [inside, access] = [PathInContainer || PathOnHost, CgroupPermissions || 'rwm'];
    checkMapping(inside, access);
    // The host's whole /dev is there already.
    if (host.Privileged && PathOnHost === inside) return [];
    return devicesAt(PathOnHost, inside).map((node) => ({ node, access }));
  });
  const extra = (host.DeviceCgroupRules ?? []).map(parseDeviceRule);
  if (host.Privileged) {
    const own = new Set(asked.map(({ node }) => node.path));
    const nodes = hostDevices('/dev', '/dev').filter(({ path }) => !own.has(path));
    return { devices: [...nodes, ...asked.map(({ node }) => node)], rules: [{ allow: true, type: 'a', access: 'rwm' }] };
  }
  return {
    devices: asked.map(({ node }) => node),
    rules: [...defaultRules, ...asked.map(({ node, access }) => nodeRule(node, access)), ...extra],
  };
}

function nodeRule({ type, major, minor }: Device, access: string): DeviceRule {
  return { allow: true, type: type === 'b' ? 'b' : 'c', major, minor, access };
}

function checkMapping(inside: string, access: string): void {
  if (!inside.startsWith('/')) throw new EngineError('InvalidArgument', 'DEVICE_INVALID', `${inside} is not an absolute path`);
  if (!/^(?!.*(.).*\1)[rwm]{1,3}$/.test(access))
    throw new EngineError('InvalidArgument', 'DEVICE_INVALID', `invalid device mode: ${access}`);
}

/** `TYPE MAJOR:MINOR ACCESS` of the device controller; `*` for any number. */
export function parseDeviceRule(text: string): DeviceRule {
  const [, type = '', major = '', minor = '', access = ''] = /^([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})$/.exec(text) ?? [];
  const number = (digits: string) => (digits === '*' ? undefined : Number(digits));
  const [majorNumber, minorNumber] = [number(major), number(minor)];
  if (type === '' || !fits(majorNumber) || !fits(minorNumber))
    throw new EngineError('InvalidArgument', 'DEVICE_RULE_INVALID', `invalid device cgroup rule format: '${text}'`);
  return {
    allow: true,
    type: type as 'a' | 'b' | 'c',
    ...(majorNumber === undefined ? {} : { major: majorNumber }),
    ...(minorNumber === undefined ? {} : { minor: minorNumber }),
    access,
  };
}

const fits = (number: number | undefined) => number === undefined || number < 2 ** 32;

function devicesAt(path: string, inside: string): Device[] {
  const fail = (why: string) =>
    new EngineError(
      'InvalidArgument',
      'DEVICE_NOT_FOUND',
      `error gathering device information while adding custom device ${JSON.stringify(path)}: ${why}`,
    );
  try {
    const stats = statPath(path, new FileStat(), { follow: true });
    const isDirectory = (stats.mode & S_IFMT) === S_IFDIR;
    const nodes = isDirectory ? hostDevices(path, inside) : [toDevice(stats, inside)].filter((node) => node !== undefined);
    if (nodes.length > 0) return nodes;
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw fail('no such file or directory');
  }
  throw fail('not a device node');
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

/** As the host has it; undefined for what is no device. */
export function toDevice(stats: FileStat, path: string): Device | undefined {
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
