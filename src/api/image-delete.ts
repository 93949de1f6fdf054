import type { ImageDeleteItem } from '../api-types/image.ts';
import { EngineError } from '../base/errors.ts';
import { canonical, familiar, isTag, parseReference, repositoryOf, withDefaultTag } from '../oci/reference.ts';
import type { ContainerRecord } from '../runtime/port.ts';
import type { ImageRecord } from '../store/port.ts';
import { isRunning } from './encode/container-state.ts';
import { tellImage } from './image-events.ts';
import type { Services } from './services.ts';

/**
 * DELETE /images/{name} by Docker's rules (moby daemon/images/image_delete.go). By a name: the name goes; the image too, when that was its last one
 * and no container keeps it. By an id: names and image go together, unless it has several names or containers keep it. `force` overrules several
 * names and stopped containers, never a running one.
 */
export async function deleteImage(services: Services, name: string, force: boolean): Promise<ImageDeleteItem[]> {
  const { images } = services.store;
  const record = await images.resolve(name);
  const references = await images.references(record.id);
  const users = usersOf(record, await services.containers.list());
  const asked = isIdOf(record, name) ? undefined : findReference(references, name);
  if (asked === undefined) return deleteById(services, { record, references, users, force });
  const [user] = users;
  if (!force && isSingle(references) && user !== undefined) {
    throw new EngineError(
      'Conflict',
      'IMAGE_IN_USE',
      `conflict: unable to remove repository reference "${name}" (must force) - container ${short(user.id)} is using its referenced image ${shortId(record)}`,
      { hint: `Remove the container first: slipway rm ${user.name}.` },
    );
  }
  const going = goesWith(asked, references);
  // Kept for its other names, or for the containers that its last name did not protect.
  const kept = references.length > going.length || users.some(({ state }) => isRunning(state)) || (users.length > 0 && !force);
  const untagged: ImageDeleteItem[] = [];
  for (const reference of going) untagged.push(await untag(services, record, reference));
  return kept ? untagged : [...untagged, await remove(services, record)];
}

/** A repository's last tag takes the digests of that repository along. */
function goesWith(asked: string, references: readonly string[]): string[] {
  const repository = (name: string) => repositoryOf(parseReference(name));
  const rest = references.filter((name) => name !== asked && repository(name) === repository(asked));
  return !isTag(asked) || rest.some(isTag) ? [asked] : [asked, ...rest];
}

/** One name: one tag at most, and digests of its repository only. */
function isSingle(references: readonly string[]): boolean {
  const repositories = new Set(references.map((name) => repositoryOf(parseReference(name))));
  return references.length <= 1 || (references.filter(isTag).length <= 1 && repositories.size === 1);
}

type Found = { record: ImageRecord; references: readonly string[]; users: readonly ContainerRecord[]; force: boolean };

async function deleteById(services: Services, { record, references, users, force }: Found): Promise<ImageDeleteItem[]> {
  const conflict = (must: 'cannot be forced' | 'must be forced', why: string, hint: string) =>
    new EngineError('Conflict', 'IMAGE_IN_USE', `conflict: unable to delete ${shortId(record)} (${must}) - ${why}`, { hint });
  const running = users.find(({ state }) => isRunning(state));
  if (running !== undefined) {
    const hint = `Stop and remove the container first: slipway rm -f ${running.name}.`;
    throw conflict('cannot be forced', `image is being used by running container ${short(running.id)}`, hint);
  }
  if (!force && !isSingle(references)) {
    throw conflict('must be forced', 'image is referenced in multiple repositories', 'Remove its names one by one, or force.');
  }
  const [stopped] = users;
  if (!force && stopped !== undefined) {
    const hint = `Remove the container first: slipway rm ${stopped.name}.`;
    throw conflict('must be forced', `image is being used by stopped container ${short(stopped.id)}`, hint);
  }
  const deleted: ImageDeleteItem[] = [];
  for (const reference of [...references]) deleted.push(await untag(services, record, reference));
  return [...deleted, await remove(services, record)];
}

async function untag({ store, events }: Services, record: ImageRecord, reference: string): Promise<ImageDeleteItem> {
  await store.images.untag(reference);
  tellImage(events, 'untag', record, record.id);
  return { Untagged: familiar(parseReference(reference)) };
}

async function remove({ store, events }: Services, record: ImageRecord): Promise<ImageDeleteItem> {
  await store.images.remove(record.id, { force: true });
  tellImage(events, 'delete', record, record.id);
  return { Deleted: record.id };
}

/** Containers made from it, and those that mount it. */
function usersOf(record: ImageRecord, containers: readonly ContainerRecord[]): ContainerRecord[] {
  return containers.filter(
    ({ image, mounts }) => image.id === record.id || mounts.some(({ type, source }) => type === 'image' && source === record.id),
  );
}

function isIdOf({ id }: ImageRecord, name: string): boolean {
  return name !== '' && (id.startsWith(name) || id.slice('sha256:'.length).startsWith(name));
}

function findReference(references: readonly string[], name: string): string | undefined {
  try {
    const parsed = withDefaultTag(parseReference(name));
    const wanted = canonical(parsed.digest === undefined ? parsed : { ...parsed, tag: undefined });
    return references.find((reference) => reference === wanted);
  } catch {
    return undefined;
  }
}

function shortId({ id }: ImageRecord): string {
  return short(id.slice('sha256:'.length));
}

function short(id: string): string {
  return id.slice(0, 12);
}
