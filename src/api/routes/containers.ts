import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ContainerSummary, CreateContainerResponse } from '../../api-types/container-inspect.ts';
import type { ContainersPruneResponse } from '../../api-types/system.ts';
import { EngineError } from '../../base/errors.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import { containerFilterKeys, containerTest, isShownByDefault, newestFirst } from '../container-filters.ts';
import { adaptCreate } from '../create-request.ts';
import { bodyOf } from '../decode.ts';
import { type ContainerSizes, inspectContainer, summarizeContainer } from '../encode/container.ts';
import { isRunning } from '../encode/container-state.ts';
import { invalid } from '../errors.ts';
import { Filters } from '../filters.ts';
import { foreignWarning, imageFor, parsePlatform } from '../platform.ts';
import { oneAtATime, tellPruned } from '../prune.ts';
import { Query } from '../query.ts';
import { createContainer, ignoredFields } from '../schemas/container.ts';
import type { Services } from '../services.ts';
import { speaks, versionOf } from '../version.ts';

type Named = { Params: { name: string } };

/** Create, list, inspect, remove, prune. */
export function containerRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.post('/containers/create', async (request, reply) => {
    const answer = await create(services, request);
    return reply.code(201).send(answer);
  });

  app.get('/containers/json', async (request) => listContainers(services, request));

  app.get<Named>('/containers/:name/json', async (request) => {
    const record = await containers.get(request.params.name);
    const sizes = new Query(request.query).boolean('size') ? await sizesOf(services, record) : undefined;
    const options = { paths: services.containerPaths, engine: services.info, speaks: (version: string) => speaks(request, version) };
    return inspectContainer(record, { ...options, sizes, execs: await containers.execs(record.id) });
  });

  app.delete<Named>('/containers/:name', async (request, reply) => {
    const query = new Query(request.query);
    if (query.boolean('link')) throw invalid('LINKS_UNSUPPORTED', 'the parameter "link" is not supported: this engine has no legacy links');
    await containers.remove(request.params.name, { force: query.boolean('force'), volumes: query.boolean('v') });
    return reply.code(204).send();
  });

  const exclusively = oneAtATime();
  app.post('/containers/prune', (request) => exclusively(() => pruneContainers(services, new Query(request.query))));
}

async function create(services: Services, request: FastifyRequest): Promise<CreateContainerResponse> {
  const query = new Query(request.query);
  const name = query.string('name')?.replace(/^\//, '');
  const body = bodyOf(request.body, createContainer, { required: true });
  if (!body.Image) throw invalid('IMAGE_MISSING', 'config cannot be empty in order to create a container: Image is missing');
  const version = versionOf(request.originalUrl);
  const adapted = adaptCreate(body, { version, cgroupVersion: services.info.cgroupVersion });
  const platform = speaks(request, '1.41') ? query.string('platform') : undefined;
  if (platform !== undefined) {
    const { images } = services.store;
    const named = await images.resolve(body.Image);
    const image = await imageFor(images, { image: named, name: body.Image, wanted: parsePlatform(platform) });
    if (image.id !== named.id) adapted.request.Image = image.id;
  }
  const { record, warnings } = await services.containers.create(adapted.request, name === undefined ? {} : { name });
  const foreign = await foreignWarning(services.store.images, record.image.id);
  return { Id: record.id, Warnings: [...warnings, ...adapted.warnings, ...ignoredFields(request.body), ...foreign] };
}

async function listContainers(services: Services, request: FastifyRequest): Promise<ContainerSummary[]> {
  const query = new Query(request.query);
  const filters = Filters.parse(addOldFilters(query), containerFilterKeys);
  const limit = query.integer('limit') ?? -1;
  const all = query.boolean('all') || limit > 0 || filters.has('status');
  const test = await containerTest(filters, { containers: services.containers, images: services.store.images });
  const matching = (await services.containers.list())
    .filter((record) => (all || isShownByDefault(record)) && test(record))
    .toSorted(newestFirst);
  const shown = limit > 0 ? matching.slice(0, limit) : matching;
  const withSizes = query.boolean('size');
  const imageOf = imageNames(services);
  const nowMs = Date.now();
  return Promise.all(
    shown.map(async (record) => {
      const [image, sizes] = await Promise.all([imageOf(record), withSizes ? sizesOf(services, record) : undefined]);
      return summarizeContainer(record, { nowMs, image, sizes, speaks: (version) => speaks(request, version) });
    }),
  );
}

/** `since` and `before` were parameters of their own before they were filters. */
function addOldFilters(query: Query): Query {
  const old = ['since', 'before'].flatMap((key) => (query.string(key) === undefined ? [] : [[key, [query.string(key)]]]));
  if (old.length === 0) return query;
  const given = query.json('filters');
  const merged = { ...(typeof given === 'object' ? given : {}), ...Object.fromEntries(old) };
  return new Query({ filters: JSON.stringify(merged) });
}

/** A reference shows as long as it still names the container's image; each is looked up once. */
function imageNames({ store }: Services): (record: ContainerRecord) => Promise<string> {
  const ids = new Map<string, Promise<string | undefined>>();
  return async ({ image }) => {
    if (image.reference === '' || image.reference === image.id) return image.id;
    let id = ids.get(image.reference);
    if (id === undefined) {
      id = store.images.resolve(image.reference).then(
        (found) => found.id,
        () => undefined,
      );
      ids.set(image.reference, id);
    }
    return (await id) === image.id ? image.reference : image.id;
  };
}

/** Bytes that the container wrote, and of all that it sees. */
export async function sizesOf(services: Services, record: ContainerRecord): Promise<ContainerSizes> {
  const [writable, tree] = await Promise.all([services.writableBytes(record.id), services.store.trees.stat(record.image.tree)]);
  return { writable, total: tree.bytes + writable };
}

async function pruneContainers(services: Services, query: Query): Promise<ContainersPruneResponse> {
  const filters = Filters.parse(query, ['label', 'label!', 'until']);
  const until = filters.untilMs(Date.now());
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const record of await services.containers.list()) {
    if (isRunning(record.state) || record.createdAtMs > until || !filters.labels(record.config.Labels)) continue;
    const bytes = await services.writableBytes(record.id);
    try {
      await services.containers.remove(record.id, {});
    } catch (error) {
      // Started, or removed by someone else, since the listing: not ours to prune.
      if (error instanceof EngineError && (error.kind === 'Conflict' || error.kind === 'NotFound')) continue;
      throw error;
    }
    deleted.push(record.id);
    reclaimed += bytes;
  }
  tellPruned(services.events, 'container', reclaimed);
  return { ContainersDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: reclaimed };
}
