import { closeSync, openSync, readlinkSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { ContainerConfig, HostConfig, Mount } from '../../api-types/container.ts';
import { EngineError, isErrno } from '../../base/errors.ts';
import { O, openIn } from '../../kernel/files.ts';
import type { Volumes } from '../../volumes/port.ts';
import type { ContainerRecord } from '../port.ts';

type RecordMount = ContainerRecord['mounts'][number];

export type MountRequest =
  | { type: 'bind'; source: string; destination: string; readOnly: boolean; propagation: string; makeSource: boolean }
  | {
      type: 'volume';
      name?: string;
      destination: string;
      readOnly: boolean;
      copyUp: boolean;
      subpath?: string;
      labels?: Record<string, string>;
    }
  | { type: 'tmpfs'; destination: string; readOnly: boolean };

/** Everything to be mounted, in Docker's order of precedence: what is named later of one destination is a conflict, image volumes give way. */
export function mountRequests(config: ContainerConfig, host: HostConfig): MountRequest[] {
  const explicit = [
    ...(host.Binds ?? []).map(parseBind),
    ...(host.Mounts ?? []).map(parseMount),
    ...Object.keys(host.Tmpfs ?? {}).map(
      (path): MountRequest => ({ type: 'tmpfs', destination: cleanDestination(path, path), readOnly: false }),
    ),
  ];
  const taken = new Set<string>();
  for (const { destination } of explicit) {
    if (taken.has(destination)) throw invalid(`Duplicate mount point: ${destination}`);
    taken.add(destination);
  }
  const image = Object.keys(config.Volumes ?? {})
    .map((path) => cleanDestination(path, path))
    .filter((destination) => !taken.has(destination))
    .map((destination): MountRequest => ({ type: 'volume', destination, readOnly: false, copyUp: true }));
  return [...explicit, ...image];
}

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
/** SELinux labels and hints for other platforms: accepted, without effect here, as on Docker for Linux without SELinux. */
const ignoredModes = ['', 'rw', 'z', 'Z', 'consistent', 'cached', 'delegated'];

/** `-v`: `/host:/inside[:mode]`, `name:/inside[:mode]`, `/inside`. */
export function parseBind(text: string): MountRequest {
  const parts = text.split(':');
  if (parts.length > 3 || parts.some((part, index) => part === '' && index < 2)) throw invalid(`invalid volume specification: '${text}'`);
  if (parts.length === 1) return { type: 'volume', destination: cleanDestination(parts[0] ?? '', text), readOnly: false, copyUp: true };
  const [source = '', target = '', mode = ''] = parts;
  const destination = cleanDestination(target, text);
  const words = mode.split(',');
  const propagation = words.find((word) => propagations.includes(word)) ?? '';
  const unknown = words.find((word) => !propagations.includes(word) && !ignoredModes.includes(word) && word !== 'ro' && word !== 'nocopy');
  if (unknown !== undefined) throw invalid(`invalid mode: ${mode} in volume specification '${text}'`);
  const readOnly = words.includes('ro');
  if (source.startsWith('/'))
    return { type: 'bind', source: posix.normalize(source), destination, readOnly, propagation, makeSource: true };
  return { type: 'volume', name: source, destination, readOnly, copyUp: !words.includes('nocopy') };
}

function parseMount(mount: Mount): MountRequest {
  const fail = (why: string) => invalid(`invalid mount config for type "${mount.Type}": ${why}`);
  if (!mount.Target) throw fail('field Target must not be empty');
  const destination = cleanDestination(mount.Target, mount.Target);
  const readOnly = mount.ReadOnly ?? false;
  switch (mount.Type) {
    case 'bind': {
      if (!mount.Source) throw fail('field Source must not be empty');
      if (!mount.Source.startsWith('/')) throw fail(`invalid mount path: '${mount.Source}' mount path must be absolute`);
      const propagation = mount.BindOptions?.Propagation ?? '';
      if (propagation !== '' && !propagations.includes(propagation)) throw fail(`invalid propagation mode: ${propagation}`);
      return {
        type: 'bind',
        source: posix.normalize(mount.Source),
        destination,
        readOnly,
        propagation,
        makeSource: mount.BindOptions?.CreateMountpoint ?? false,
      };
    }
    case 'volume':
      return {
        type: 'volume',
        destination,
        readOnly,
        copyUp: !mount.VolumeOptions?.NoCopy,
        ...(mount.Source ? { name: mount.Source } : {}),
        ...(mount.VolumeOptions?.Subpath ? { subpath: mount.VolumeOptions.Subpath } : {}),
        ...(mount.VolumeOptions?.Labels ? { labels: mount.VolumeOptions.Labels } : {}),
      };
    case 'tmpfs':
      if (mount.Source) throw fail('field Source must not be specified');
      return { type: 'tmpfs', destination, readOnly };
    default:
      throw fail('mount type unknown');
  }
}

function cleanDestination(path: string, whole: string): string {
  if (!path.startsWith('/')) throw invalid(`invalid mount path: '${path}' mount path must be absolute (in '${whole}')`);
  const clean = posix.normalize(path).replace(/(.)\/$/, '$1');
  if (clean === '/') throw invalid(`invalid specification: destination can't be '/' (in '${whole}')`);
  return clean;
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'MOUNT_INVALID', message);
}

export type ResolvedMounts = {
  mounts: RecordMount[];
  /** Volumes to be filled from the image where they are empty. */
  copyUp: { destination: string; source: string }[];
  /** Volumes made here, to be removed when the creation fails. */
  made: string[];
};

/** Makes what is missing: volumes, and host folders of `-v`. */
export async function resolveMounts(requests: readonly MountRequest[], volumes: Volumes): Promise<ResolvedMounts> {
  const result: ResolvedMounts = { mounts: [], copyUp: [], made: [] };
  try {
    for (const request of requests) await resolveMount(request, volumes, result);
  } catch (error) {
    for (const name of result.made) await volumes.remove(name, { force: true });
    throw error;
  }
  return result;
}

async function resolveMount(request: MountRequest, volumes: Volumes, result: ResolvedMounts): Promise<void> {
  const { destination, readOnly } = request;
  if (request.type === 'tmpfs') {
    result.mounts.push({ type: 'tmpfs', source: '', destination, readOnly });
  } else if (request.type === 'bind') {
    await ensureSource(request);
    const { source, propagation } = request;
    result.mounts.push({ type: 'bind', source, destination, readOnly, ...(propagation === '' ? {} : { propagation }) });
  } else {
    const volume = await volumes.create({
      ...(request.name ? { name: request.name } : {}),
      ...(request.labels ? { labels: request.labels } : {}),
    });
    if (request.name === undefined) result.made.push(volume.name);
    const source = request.subpath ? volumeSubpath(volume.mountpoint, request.subpath) : volume.mountpoint;
    result.mounts.push({ type: 'volume', name: volume.name, source, destination, readOnly });
    if (request.copyUp && !request.subpath) result.copyUp.push({ destination, source });
  }
}

/** `-v` makes a missing host folder, owned by root; `--mount` says that it is missing. */
async function ensureSource(request: { source: string; makeSource: boolean }): Promise<void> {
  try {
    await stat(request.source);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
    if (!request.makeSource) throw invalid(`invalid mount config for type "bind": bind source path does not exist: ${request.source}`);
    await mkdir(request.source, { recursive: true, mode: 0o755 });
  }
}

/** What a volume holds is the containers' to write: no symlink in it may lead out. */
function volumeSubpath(mountpoint: string, subpath: string): string {
  const root = openSync(mountpoint, 'r');
  try {
    const fd = openIn(root, subpath, O.PATH);
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP'))
      throw invalid(`cannot access path ${join(mountpoint, subpath)}: no such file or directory`);
    throw error;
  } finally {
    closeSync(root);
  }
}

/** `--volumes-from ID[:ro|rw]`: all mounts of another container, which give way to those that are named. */
export function mountsFrom(text: string, find: (name: string) => ContainerRecord): RecordMount[] {
  const [, name = '', mode] = /^(.+?)(?::(ro|rw|z))?$/.exec(text) ?? [];
  return find(name)
    .mounts.filter(({ type }) => type !== 'tmpfs')
    .map((mount) => ({ ...mount, readOnly: mount.readOnly || mode === 'ro' }));
}
