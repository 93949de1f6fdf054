import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ImageDeleteItem, ImageSummary, ImagesPruneResponse } from '../../api-types/image.ts';
import { EngineError } from '../../base/errors.ts';
import { canonical, familiar, familiarName, parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import type { ImageListing, ImageRecord } from '../../store/port.ts';
import { isRunning } from '../encode/container.ts';
import { imageHistory, inspectImage, referenceNames, summarizeImage } from '../encode/image.ts';
import { invalid, unsupported } from '../errors.ts';
import { Filters } from '../filters.ts';
import { tellImage } from '../image-events.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { sendImages } from './image-transfer.ts';

/** List, inspect, history, tag, delete, prune, search. Names hold slashes, so the verbs are told apart at their end. */
export function imageRoutes(app: FastifyInstance, services: Services): void {
  const { images } = services.store;

  app.get('/images/json', async (request) => listImages(services, new Query(request.query)));

  app.get('/images/search', () => {
    throw unsupported('REGISTRY_UNSUPPORTED', 'this daemon does not speak to registries yet');
  });

  app.get('/images/*', async (request, reply) => {
    const { name, verb } = splitName(request, ['json', 'history', 'get']);
    const record = await images.resolve(name);
    if (verb === 'get') return sendImages(services, reply, [name]);
    const references = await images.references(record.id);
    if (verb === 'history') return imageHistory(record, referenceNames(references, record).tags);
    const lastUsedAtMs = await services.store.uses.last('image', record.id);
    return inspectImage(record, references, { snapshotter: services.info.snapshotter, lastUsedAtMs });
  });

  app.post('/images/*', async (request, reply) => {
    const { name, verb } = splitName(request, ['tag', 'push']);
    if (verb === 'push') throw unsupported('REGISTRY_UNSUPPORTED', 'this daemon does not push to registries yet', 'Use "slipway save".');
    const query = new Query(request.query);
    const tag = query.string('tag');
    const reference = withDefaultTag(parseReference(query.required('repo') + (tag === undefined ? '' : `:${tag}`)));
    if (reference.digest !== undefined) throw invalid('REFERENCE_INVALID', 'refusing to create a tag with a digest reference');
    const record = await images.resolve(name);
    await images.tag(canonical(reference), record.id);
    tellImage(services.events, 'tag', record, familiar(reference));
    return reply.code(201).send();
  });

  app.delete('/images/*', async (request) => {
    const name = decodeURIComponent((request.params as { '*': string })['*']);
    return deleteImage(services, name, new Query(request.query).boolean('force'));
  });

  app.post('/images/prune', async (request) => pruneImages(services, new Query(request.query)));
}

function splitName(request: FastifyRequest, verbs: readonly string[]): { name: string; verb: string } {
  const path = (request.params as { '*': string })['*'];
  const slash = path.lastIndexOf('/');
  const verb = path.slice(slash + 1);
  if (slash <= 0 || !verbs.includes(verb)) throw new EngineError('NotFound', 'ROUTE_NOT_FOUND', 'page not found');
  return { name: path.slice(0, slash), verb };
}

async function listImages(services: Services, query: Query): Promise<ImageSummary[]> {
  const filters = Filters.parse(query, ['before', 'dangling', 'label', 'label!', 'reference', 'since', 'until']);
  const { images } = services.store;
  const createdAt = (key: string) => Promise.all(filters.get(key).map(async (name) => (await images.resolve(name)).createdAtMs));
  const [listings, before, since] = await Promise.all([images.list(), createdAt('before'), createdAt('since')]);
  const dangling = filters.boolean('dangling');
  const until = filters.untilMs(Date.now());
  return listings
    .filter(({ record, references }) => {
      if (dangling !== undefined && dangling !== (references.length === 0)) return false;
      return (
        filters.labels(record.config.config?.Labels) &&
        before.every((time) => record.createdAtMs < time) &&
        since.every((time) => record.createdAtMs > time) &&
        record.createdAtMs <= until
      );
    })
    .flatMap((listing): ImageListing[] => {
      if (!filters.has('reference')) return [listing];
      const references = listing.references.filter((reference) =>
        filters.any('reference', (pattern) => matchesReference(pattern, reference)),
      );
      return references.length > 0 ? [{ ...listing, references }] : [];
    })
    .toSorted((a, b) => b.record.createdAtMs - a.record.createdAtMs)
    .map((listing) => summarizeImage(listing));
}

/** `web`, `web:*`, `ghcr.io/acme/*:2`: `*` and `?` do not cross a slash; a pattern without a tag matches every tag. */
function matchesReference(pattern: string, reference: string): boolean {
  const parsed = parseReference(reference);
  const glob = new RegExp(
    `^${pattern
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '[^/]*')
      .replaceAll('?', '[^/]')}$`,
  );
  return [familiar(parsed), familiarName(parsed), canonical(parsed)].some((name) => glob.test(name));
}

/** Docker's rules: a name is only untagged while others remain; an id with several names, or one in use, needs force; a running container's never goes. */
async function deleteImage(services: Services, name: string, force: boolean): Promise<ImageDeleteItem[]> {
  const { images } = services.store;
  const record = await images.resolve(name);
  const references = await images.references(record.id);
  const asked = findReference(references, name);
  const deleted: ImageDeleteItem[] = [];
  const untag = async (reference: string) => {
    const shown = familiar(parseReference(reference));
    await images.untag(reference);
    tellImage(services.events, 'untag', record, shown);
    deleted.push({ Untagged: shown });
  };
  if (asked !== undefined && references.length > 1) {
    await untag(asked);
    return deleted;
  }
  refuseInUse(record, asked ?? name, await services.containers.list(), force);
  if (asked === undefined && references.length > 1 && !force) {
    throw new EngineError(
      'Conflict',
      'IMAGE_HAS_REFERENCES',
      `conflict: unable to delete ${shortId(record)} (must be forced) - image is referenced in multiple repositories`,
      { hint: 'Remove its names one by one, or force.' },
    );
  }
  for (const reference of references) await untag(reference);
  await images.remove(record.id, { force: true });
  tellImage(services.events, 'delete', record, record.id);
  return [...deleted, { Deleted: record.id }];
}

function findReference(references: readonly string[], name: string): string | undefined {
  try {
    const wanted = canonical(withDefaultTag(parseReference(name)));
    return references.find((reference) => reference === wanted);
  } catch {
    return undefined;
  }
}

function refuseInUse(record: ImageRecord, name: string, containers: readonly ContainerRecord[], force: boolean): void {
  const users = containers.filter(({ image }) => image.id === record.id);
  const running = users.find(({ state }) => isRunning(state));
  const conflict = (user: ContainerRecord, must: string, kind: string) =>
    new EngineError(
      'Conflict',
      'IMAGE_IN_USE',
      `conflict: unable to delete ${name} (${must}) - image is being used by ${kind} container ${user.id.slice(0, 12)}`,
      { hint: `Remove the container first: slipway rm ${user.name}.` },
    );
  if (running !== undefined) throw conflict(running, 'cannot be forced', 'running');
  if (users[0] !== undefined && !force) throw conflict(users[0], 'must be forced', 'stopped');
}

async function pruneImages(services: Services, query: Query): Promise<ImagesPruneResponse> {
  const filters = Filters.parse(query, ['dangling', 'label', 'label!', 'until']);
  const onlyDangling = filters.boolean('dangling') ?? true;
  const until = filters.untilMs(Date.now());
  const used = new Set((await services.containers.list()).map(({ image }) => image.id));
  const deleted: ImageDeleteItem[] = [];
  let reclaimed = 0;
  for (const { record, references } of await services.store.images.list()) {
    if (used.has(record.id) || (onlyDangling && references.length > 0) || record.createdAtMs > until) continue;
    if (!filters.labels(record.config.config?.Labels)) continue;
    deleted.push(...(await deleteImage(services, record.id, true)));
    reclaimed += record.sizeBytes;
  }
  return { ImagesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: reclaimed };
}

function shortId(record: ImageRecord): string {
  return record.id.slice(7, 19);
}
