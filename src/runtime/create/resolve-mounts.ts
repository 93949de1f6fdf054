import { chownSync, readdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { EngineError, isErrno } from '../../base/errors.ts';
import { listMounts } from '../../kernel/mount.ts';
import type { IdMap } from '../../snapshot/port.ts';
import type { Volumes } from '../../volumes/port.ts';
import type { EngineContext } from '../context.ts';
import type { ContainerRecord } from '../port.ts';
import { outsideId } from '../spec/user-namespace.ts';
import { checkPropagation, mountOf } from '../volume-mounts.ts';
import { cleanPath, invalid, type MountRequest, propagations } from './mounts.ts';

type RecordMount = ContainerRecord['mounts'][number];

export type ResolvedMounts = {
  mounts: RecordMount[];
  /** Volumes to be filled from the image where they are empty. */
  copyUp: { destination: string; name: string }[];
  /** Volumes made here, to be removed when the creation fails. */
  made: string[];
};

type Context = Pick<EngineContext, 'volumes' | 'paths'> & { store: Pick<EngineContext['store'], 'images'> };

/** Makes what is missing: volumes, and host folders of `-v`. `idMap` is that of the container to be. */
export async function resolveMounts(
  requests: readonly MountRequest[],
  context: Context,
  idMap: IdMap | undefined,
): Promise<ResolvedMounts> {
  const result: ResolvedMounts = { mounts: [], copyUp: [], made: [] };
  try {
    for (const request of requests) await resolveMount(request, context, idMap, result);
    await checkPropagation(result.mounts);
  } catch (error) {
    for (const name of result.made) await context.volumes.remove(name, { force: true });
    throw error;
  }
  return result;
}

async function resolveMount(request: MountRequest, context: Context, idMap: IdMap | undefined, result: ResolvedMounts): Promise<void> {
  const { destination } = request;
  if (request.type === 'tmpfs') {
    result.mounts.push({ type: 'tmpfs', source: '', destination, readOnly: request.readOnly });
  } else if (request.type === 'bind') {
    await ensureSource(request);
    const { source, readOnly } = request;
    const propagation = request.propagation === '' ? ownFolderPropagation(source, context.paths) : request.propagation;
    result.mounts.push({ type: 'bind', source, destination, readOnly, ...(propagation === '' ? {} : { propagation }) });
  } else if (request.type === 'image') {
    const image = await context.store.images.resolve(request.reference).catch(asMountError);
    const { reference: name, subpath } = request;
    result.mounts.push({ type: 'image', name, source: image.id, destination, readOnly: true, ...(subpath ? { subpath } : {}) });
  } else await resolveVolume(request, context.volumes, idMap, result);
}

/** Not NotFound, which clients take for the container's own image and answer by pulling that. */
function asMountError(error: unknown): never {
  if (error instanceof EngineError && error.kind === 'NotFound')
    throw invalid(`invalid mount config for type "image": ${error.message}`, error.hint);
  throw error;
}

async function resolveVolume(
  request: Extract<MountRequest, { type: 'volume' }>,
  volumes: Volumes,
  idMap: IdMap | undefined,
  result: ResolvedMounts,
): Promise<void> {
  const { name, anonymous, labels, driver, options, destination, readOnly, subpath } = request;
  const volume = await volumes.create({
    ...(name ? { name } : {}),
    ...(anonymous ? { anonymous } : {}),
    ...(labels ? { labels } : {}),
    ...(driver ? { driver } : {}),
    ...(options ? { options } : {}),
  });
  if (anonymous) result.made.push(volume.name);
  if (idMap && volume.driver === 'local') giveEmptyVolume(volume.mountpoint, idMap);
  result.mounts.push({
    type: 'volume',
    name: volume.name,
    driver: volume.driver,
    source: volume.mountpoint,
    destination,
    readOnly,
    ...(subpath ? { subpath } : {}),
  });
  if (request.copyUp && !subpath) result.copyUp.push({ destination, name: volume.name });
}

/** A new volume belongs to the host's root, for whom the container's root would be a stranger. */
function giveEmptyVolume(mountpoint: string, idMap: IdMap): void {
  const stats = statSync(mountpoint);
  if (stats.uid !== 0 || stats.gid !== 0 || readdirSync(mountpoint).length > 0) return;
  chownSync(mountpoint, outsideId(idMap.uids, 0) ?? 0, outsideId(idMap.gids, 0) ?? 0);
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

/** Who gets the engine's own folders would hold every container's mounts for as long as it runs, unless their going propagates. */
function ownFolderPropagation(source: string, paths: { root: string; run: string }): string {
  const holds = [paths.root, paths.run].some(
    (own) => own === source || own.startsWith(source === '/' ? '/' : `${source}/`) || source.startsWith(`${own}/`),
  );
  if (!holds) return '';
  const on = mountOf(source, listMounts());
  return on?.propagation.some((field) => /^(shared|master):/.test(field)) ? 'rslave' : '';
}

/** `--volumes-from ID[:ro|rw|z|Z]`: all mounts of another container, which give way to those that are named. */
export function mountsFrom(text: string, find: (name: string) => ContainerRecord): RecordMount[] {
  if (text === '') throw invalid('volumes-from specification cannot be an empty string');
  const [name = '', mode = '', ...rest] = text.split(':');
  const words = mode === '' ? [] : mode.split(',');
  const known = words.every((word) => ['ro', 'rw', 'z', 'Z', 'consistent', 'cached', 'delegated'].includes(word));
  const both = words.includes('ro') && words.includes('rw');
  if (rest.length > 0 || !known || both || words.some((word) => propagations.includes(word)))
    throw invalid(`invalid mode: ${[mode, ...rest].join(':')}`);
  return find(name)
    .mounts.filter(({ type }) => type === 'bind' || type === 'volume')
    .map((mount) => ({ ...mount, destination: cleanPath(mount.destination), readOnly: mount.readOnly || words.includes('ro') }));
}
