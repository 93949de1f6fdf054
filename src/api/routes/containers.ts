import type { FastifyInstance } from 'fastify';
import type { ContainerSummary, CreateContainerResponse } from '../../api-types/container-inspect.ts';
import type { ContainersPruneResponse } from '../../api-types/system.ts';
import { EngineError } from '../../base/errors.ts';
import type { ContainerRecord } from '../../runtime/port.ts';
import { containerFilterKeys, containerTest, isShownByDefault } from '../container-filters.ts';
import { bodyOf, requireField } from '../decode.ts';
import { type ContainerSizes, inspectContainer, isRunning, summarizeContainer } from '../encode/container.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import { createContainer, ignoredFields } from '../schemas/container.ts';
import type { Services } from '../services.ts';

type Named = { Params: { name: string } };

/** Create, list, inspect, remove, prune. */
export function containerRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.post('/containers/create', async (request, reply) => {
    const name = new Query(request.query).string('name');
    const body = bodyOf(request.body, createContainer, { required: true });
    requireField(body.Image || undefined, 'Image');
    const { record, warnings } = await containers.create(body, name === undefined ? {} : { name: name.replace(/^\//, '') });
    const answer: CreateContainerResponse = { Id: record.id, Warnings: [...warnings, ...ignoredFields(request.body)] };
    return reply.code(201).send(answer);
  });

  app.get('/containers/json', async (request) => listContainers(services, new Query(request.query)));

  app.get<Named>('/containers/:name/json', async (request) => {
    const record = await containers.get(request.params.name);
    const sizes = new Query(request.query).boolean('size') ? await sizesOf(services, record) : undefined;
    return inspectContainer(record, { paths: services.containerPaths, sizes });
  });

  app.delete<Named>('/containers/:name', async (request, reply) => {
    const query = new Query(request.query);
    await containers.remove(request.params.name, { force: query.boolean('force'), volumes: query.boolean('v') });
    return reply.code(204).send();
  });

  app.post('/containers/prune', async (request) => pruneContainers(services, new Query(request.query)));
}

async function listContainers(services: Services, query: Query): Promise<ContainerSummary[]> {
  const filters = Filters.parse(query, containerFilterKeys);
  const limit = query.integer('limit') ?? -1;
  const all = query.boolean('all') || limit > 0 || filters.has('status');
  const test = await containerTest(filters, { containers: services.containers, images: services.store.images });
  const matching = (await services.containers.list())
    .filter((record) => (all || isShownByDefault(record)) && test(record))
    .toSorted((a, b) => b.createdAtMs - a.createdAtMs);
  const shown = limit > 0 ? matching.slice(0, limit) : matching;
  const withSizes = query.boolean('size');
  const now = Date.now();
  return Promise.all(shown.map(async (record) => summarizeContainer(record, now, withSizes ? await sizesOf(services, record) : undefined)));
}

/** Bytes that the container wrote, and of all that it sees. */
async function sizesOf(services: Services, record: ContainerRecord): Promise<ContainerSizes> {
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
  return { ContainersDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: reclaimed };
}
