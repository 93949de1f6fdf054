import { posix } from 'node:path';
import type { ContainerConfig, HostConfig, Mount } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import { mergeTmpfsOptions } from '../spec/tmpfs.ts';

/** A mount that is asked for. */
export type MountRequest =
  | { type: 'bind'; source: string; destination: string; readOnly: boolean; propagation: string; makeSource: boolean }
  | {
      type: 'volume';
      /** Undefined for an anonymous one, until it is given a name of its own. */
      name?: string;
      anonymous?: boolean;
      destination: string;
      readOnly: boolean;
      copyUp: boolean;
      subpath?: string;
      labels?: Record<string, string>;
      driver?: string;
      options?: Record<string, string>;
    }
  | { type: 'image'; reference: string; destination: string; subpath?: string }
  | { type: 'tmpfs'; destination: string; readOnly: boolean };

/**
 * Everything to be mounted, in Docker's order of precedence: what is named twice of one destination is a conflict, image volumes give way.
 * InvalidArgument `MOUNT_INVALID` throughout.
 */
export function mountRequests(config: Pick<ContainerConfig, 'Volumes'>, host: HostConfig): MountRequest[] {
  const driver = host.VolumeDriver ? { driver: host.VolumeDriver } : {};
  const withDriver = (request: MountRequest): MountRequest => (request.type === 'volume' ? { ...driver, ...request } : request);
  const explicit = [
    ...(host.Binds ?? []).map((text) => withDriver(parseBind(text))),
    ...(host.Mounts ?? []).map(parseMount),
    ...Object.entries(host.Tmpfs ?? {}).map(([path, options]): MountRequest => {
      mergeTmpfsOptions(options.split(',').filter((option) => option !== ''));
      return { type: 'tmpfs', destination: cleanDestination(path, path), readOnly: options.split(',').includes('ro') };
    }),
  ];
  const taken = new Set<string>();
  for (const { destination } of explicit) {
    if (taken.has(destination)) throw invalid(`Duplicate mount point: ${destination}`);
    taken.add(destination);
  }
  const image = Object.keys(config.Volumes ?? {})
    .map((path) => cleanDestination(path, path))
    .filter((destination) => !taken.has(destination))
    .map((destination) => withDriver({ type: 'volume', destination, readOnly: false, copyUp: true }));
  return [...explicit, ...image];
}

export const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
/** Of each kind one word at most. SELinux labels and hints for other platforms say nothing on Linux without SELinux, as in Docker. */
const modeKinds: readonly (readonly string[])[] = [
  ['rw', 'ro'],
  ['z', 'Z'],
  propagations,
  ['nocopy'],
  ['consistent', 'cached', 'delegated'],
];

/** `-v`: `/host:/inside[:mode]`, `name:/inside[:mode]`, `/inside`. */
export function parseBind(text: string): MountRequest {
  const wrong = (why = '') => invalid(`invalid volume specification: '${text}'${why && `: ${why}`}`);
  const parts = text.split(':');
  if (parts.length > 3 || parts.some((part, index) => part === '' && index < 2)) throw wrong();
  if (parts.length === 1) return { type: 'volume', destination: cleanDestination(parts[0] ?? '', text), readOnly: false, copyUp: true };
  const [source = '', target = '', mode = ''] = parts;
  if (parts.length === 2 && isMode(target)) throw wrong();
  if (!isMode(mode)) throw invalid(`invalid mode: ${mode}`);
  const words = mode.split(',');
  const destination = cleanDestination(target, text);
  const propagation = words.find((word) => propagations.includes(word)) ?? '';
  const readOnly = words.includes('ro');
  if (source.startsWith('/')) {
    if (words.includes('nocopy')) throw wrong('invalid mount config for type "bind": field VolumeOptions must not be specified');
    return { type: 'bind', source: cleanPath(source), destination, readOnly, propagation, makeSource: true };
  }
  if (propagation !== '') throw wrong('invalid mount config for type "volume": field BindOptions must not be specified');
  return { type: 'volume', name: source, destination, readOnly, copyUp: !words.includes('nocopy') };
}

function isMode(text: string): boolean {
  if (text === '') return true;
  const kinds = text.split(',').map((word) => modeKinds.findIndex((kind) => kind.includes(word)));
  return !kinds.includes(-1) && new Set(kinds).size === kinds.length;
}

function parseMount(mount: Mount): MountRequest {
  const fail = (why: string) => invalid(`invalid mount config for type ${JSON.stringify(mount.Type)}: ${why}`);
  for (const [type, field] of optionFields) if (mount.Type !== type && mount[field]) throw fail(`field ${field} must not be specified`);
  if (!mount.Target) throw fail('field Target must not be empty');
  if (!mount.Target.startsWith('/')) throw fail(`invalid mount path: '${mount.Target}' mount path must be absolute`);
  const destination = cleanDestination(mount.Target, mount.Target);
  switch (mount.Type) {
    case 'bind':
      return parseBindMount(mount, destination, fail);
    case 'volume':
      return parseVolumeMount(mount, destination, fail);
    case 'image':
      if (!mount.Source) throw fail('field Source must not be empty');
      checkSubpath(mount.ImageOptions?.Subpath, fail);
      return { type: 'image', reference: mount.Source, destination, ...subpathOf(mount.ImageOptions?.Subpath) };
    case 'tmpfs':
      if (mount.Source) throw fail('field Source must not be specified');
      checkTmpfs(mount, fail);
      return { type: 'tmpfs', destination, readOnly: mount.ReadOnly ?? false };
    default:
      throw fail('mount type unknown');
  }
}

const optionFields = [
  ['bind', 'BindOptions'],
  ['volume', 'VolumeOptions'],
  ['image', 'ImageOptions'],
  ['tmpfs', 'TmpfsOptions'],
] as const;

type Fail = (why: string) => EngineError;

function parseBindMount(mount: Mount, destination: string, fail: Fail): MountRequest {
  const { Propagation: propagation = '', CreateMountpoint, ReadOnlyNonRecursive, ReadOnlyForceRecursive } = mount.BindOptions ?? {};
  if (!mount.Source) throw fail('field Source must not be empty');
  if (propagation !== '' && !propagations.includes(propagation)) throw fail(`invalid propagation mode: ${propagation}`);
  if (!mount.Source.startsWith('/')) throw fail(`invalid mount path: '${mount.Source}' mount path must be absolute`);
  if (ReadOnlyNonRecursive && ReadOnlyForceRecursive) throw fail('mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive');
  if ((ReadOnlyNonRecursive || ReadOnlyForceRecursive) && !mount.ReadOnly)
    throw fail(`${ReadOnlyForceRecursive ? 'ReadOnlyForceRecursive' : 'ReadOnlyNonRecursive'} needs ReadOnly`);
  return {
    type: 'bind',
    source: cleanPath(mount.Source),
    destination,
    readOnly: mount.ReadOnly ?? false,
    propagation,
    makeSource: CreateMountpoint ?? false,
  };
}

function parseVolumeMount(mount: Mount, destination: string, fail: Fail): MountRequest {
  const { NoCopy, Subpath, Labels, DriverConfig } = mount.VolumeOptions ?? {};
  if (Subpath && !mount.Source) throw fail('must not set Subpath when using anonymous volumes');
  checkSubpath(Subpath, fail);
  return {
    type: 'volume',
    destination,
    readOnly: mount.ReadOnly ?? false,
    copyUp: !NoCopy,
    ...(mount.Source ? { name: mount.Source } : {}),
    ...subpathOf(Subpath),
    ...(Labels ? { labels: Labels } : {}),
    ...(DriverConfig?.Name ? { driver: DriverConfig.Name } : {}),
    ...(DriverConfig?.Options ? { options: DriverConfig.Options } : {}),
  };
}

function subpathOf(subpath: string | undefined): { subpath?: string } {
  return subpath ? { subpath: posix.normalize(subpath) } : {};
}

/** By its letters only; what symlinks in the volume make of it is found out when it is opened. */
function checkSubpath(subpath: string | undefined, fail: Fail): void {
  if (!subpath) return;
  const clean = posix.normalize(subpath);
  if (clean.startsWith('/') || clean === '..' || clean.startsWith('../') || clean.includes('\0'))
    throw fail('subpath must be a relative path within the volume');
}

function checkTmpfs({ TmpfsOptions }: Mount, fail: Fail): void {
  const { SizeBytes = 0, Mode = 0, Options = [] } = TmpfsOptions ?? {};
  if (SizeBytes < 0) throw fail(`invalid tmpfs size: ${SizeBytes}`);
  if (Mode < 0 || Mode > 0o7777) throw fail(`invalid tmpfs mode: ${Mode}`);
  for (const words of Options) {
    if (words.length < 1 || words.length > 2) throw fail('invalid option array length');
    if (!['exec', 'noexec'].includes(words[0] ?? '') || words.length === 2) throw fail(`invalid option: ${words.join('=')}`);
  }
}

export function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(.)\/$/, '$1');
}

function cleanDestination(path: string, whole: string): string {
  if (!path.startsWith('/')) throw invalid(`invalid mount path: '${path}' mount path must be absolute (in '${whole}')`);
  if (path.includes('\0')) throw invalid(`invalid mount path: ${JSON.stringify(path)} holds a NUL`);
  const clean = cleanPath(path);
  if (clean === '/') throw invalid(`invalid specification: destination can't be '/' (in '${whole}')`);
  return clean;
}

export function invalid(message: string, hint?: string): EngineError {
  return new EngineError('InvalidArgument', 'MOUNT_INVALID', message, { hint });
}
