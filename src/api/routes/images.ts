import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ImageDeleteItem, ImagesPruneResponse } from '../../api-types/image.ts';
import { EngineError } from '../../base/errors.ts';
import { canonical, familiar, familiarName, isTag, parseReference, withDefaultTag } from '../../oci/reference.ts';
import type { ImageRecord } from '../../store/port.ts';
import { imageHistory, inspectImage, referenceNames } from '../encode/image.ts';
import { invalid } from '../errors.ts';
import { Filters } from '../filters.ts';
import { deleteImage } from '../image-delete.ts';
import { tellImage } from '../image-events.ts';
import { listImages } from '../image-list.ts';
import { checkPlatform, decodePlatform, imageFor } from '../platform.ts';
import { oneAtATime, tellPruned } from '../prune.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { pushImages } from '../transfers/push.ts';
import { speaks } from '../version.ts';
import { sendImages } from './image-transfer.ts';

/** List, inspect, history, tag, delete, prune. Names hold slashes, so the verbs are told apart at their end. */
export function imageRoutes(app: FastifyInstance, services: Services): void {
  const { images } = services.store;

  app.get('/images/json', (request) => listImages(services, new Query(request.query), (version) => speaks(request, version)));

  app.get('/images/*', async (request, reply) => {
    const { name, verb } = splitName(request, ['json', 'history', 'get']);
    if (verb === 'get') return sendImages(services, reply, [name]);
    const query = new Query(request.query);
    if (verb !== 'history' && query.boolean('manifests') && query.string('platform') !== undefined && speaks(request, '1.49')) {
      throw invalid('PARAMETER_INVALID', 'conflicting options: manifests and platform options cannot both be set');
    }
    const record = await forRequest(services, request, { query, name, since: verb === 'history' ? '1.48' : '1.49' });
    if (verb === 'history') {
      return imageHistory(record, referenceNames(await images.references(record.id)).tags);
    }
    const [references, lastUsedAtMs] = await Promise.all([images.references(record.id), services.store.uses.last('image', record.id)]);
    const options = { snapshotter: services.info.snapshotter, lastUsedAtMs, speaks: (version: string) => speaks(request, version) };
    return inspectImage(record, references, options);
  });

  app.post('/images/*', async (request, reply) => {
    const { name, verb } = splitName(request, ['tag', 'push']);
    if (verb === 'push') return pushImages(services, request, reply, name);
    await tagImage(services, name, new Query(request.query));
    return reply.code(201).send();
  });

  app.delete('/images/*', async (request) => {
    const name = (request.params as { '*': string })['*'];
    if (name.trim() === '') throw invalid('NAME_INVALID', 'image name cannot be blank');
    const query = new Query(request.query);
    const platforms = speaks(request, '1.50') ? query.list('platforms').map(decodePlatform) : [];
    if (platforms.length > 1) throw invalid('PLATFORM_INVALID', 'multiple platforms are not supported');
    for (const platform of platforms) checkPlatform(await images.resolve(name), name, platform);
    return deleteImage(services, name, query.boolean('force'));
  });

  const exclusively = oneAtATime();
  app.post('/images/prune', (request) => exclusively(() => pruneImages(services, new Query(request.query))));
}

function splitName(request: FastifyRequest, verbs: readonly string[]): { name: string; verb: string } {
  const path = (request.params as { '*': string })['*'];
  const slash = path.lastIndexOf('/');
  const verb = path.slice(slash + 1);
  if (slash <= 0 || !verbs.includes(verb)) throw new EngineError('NotFound', 'ROUTE_NOT_FOUND', 'page not found');
  return { name: path.slice(0, slash), verb };
}

/** The image of that name, of the platform that is asked for. */
async function forRequest(
  { store: { images } }: Services,
  request: FastifyRequest,
  { query, name, since }: { query: Query; name: string; since: string },
): Promise<ImageRecord> {
  const image = await images.resolve(name);
  const platform = speaks(request, since) ? query.string('platform') : undefined;
  return platform === undefined ? image : imageFor(images, { image, name, wanted: decodePlatform(platform) });
}

async function tagImage({ store, events }: Services, name: string, query: Query): Promise<void> {
  const tag = query.string('tag');
  const given = parseReference(query.required('repo'));
  if (given.digest !== undefined) throw invalid('REFERENCE_INVALID', 'refusing to create a tag with a digest reference');
  const reference = withDefaultTag(tag === undefined ? given : parseReference(`${canonical({ ...given, tag: undefined })}:${tag}`));
  if (familiarName(reference) === 'sha256') {
    throw invalid('REFERENCE_INVALID', 'refusing to create an ambiguous tag using digest algorithm as name');
  }
  const record = await store.images.resolve(name);
  await store.images.tag(canonical(reference), record.id);
  tellImage(events, 'tag', record, familiar(reference));
}

async function pruneImages(services: Services, query: Query): Promise<ImagesPruneResponse> {
  const filters = Filters.parse(query, ['dangling', 'label', 'label!', 'until']);
  const onlyDangling = filters.boolean('dangling') ?? true;
  const until = filters.untilMs(Date.now());
  const used = new Set((await services.containers.list()).map(({ image }) => image.id));
  const deleted: ImageDeleteItem[] = [];
  let reclaimed = 0;
  for (const { record, references } of await services.store.images.list()) {
    if (used.has(record.id) || (onlyDangling && references.some(isTag)) || record.createdAtMs > until) continue;
    if (!filters.labels(record.config.config?.Labels)) continue;
    const items = await deletePruned(services, record);
    deleted.push(...items);
    if (items.some((item) => 'Deleted' in item)) reclaimed += record.sizeBytes;
  }
  tellPruned(services.events, 'image', reclaimed);
  return { ImagesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: reclaimed };
}

/** What came into use, or went, since the listing is not ours to prune. */
async function deletePruned(services: Services, record: ImageRecord): Promise<ImageDeleteItem[]> {
  try {
    return await deleteImage(services, record.id, true);
  } catch (error) {
    if (error instanceof EngineError && (error.kind === 'Conflict' || error.kind === 'NotFound')) return [];
    throw error;
  }
}
