import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { VolumesPruneResponse } from '../../api-types/system.ts';
import type { VolumeList, VolumeResource } from '../../api-types/volume.ts';
import { EngineError } from '../../base/errors.ts';
import { bodyOf } from '../decode.ts';
import { encodeVolume, volumeLabels } from '../encode/volume.ts';
import { Filters } from '../filters.ts';
import { oneAtATime, tellPruned } from '../prune.ts';
import { Query } from '../query.ts';
import { volumeCreate } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { speaks } from '../version.ts';

type Named = { Params: { name: string } };

export function volumeRoutes(app: FastifyInstance, services: Services): void {
  const { volumes } = services;

  app.get('/volumes', (request) => listVolumes(services, new Query(request.query)));

  app.get<Named>('/volumes/:name', async (request) => encodeVolume(await volumes.get(request.params.name)));

  app.post('/volumes/create', async (request, reply) => {
    const volume = await createVolume(services, request);
    return reply.code(201).send(volume);
  });

  app.put<Named>('/volumes/:name', () => {
    throw new EngineError('Unavailable', 'NO_SWARM', 'volume update only valid for cluster volumes, but swarm is unavailable');
  });

  app.delete<Named>('/volumes/:name', async (request, reply) => {
    const force = new Query(request.query).boolean('force');
    const volume = await volumes.get(request.params.name).catch((error: unknown) => {
      // Docker: forcing the removal of what is not there succeeds.
      if (force && error instanceof EngineError && error.kind === 'NotFound') return undefined;
      throw error;
    });
    if (volume !== undefined) {
      await volumes.remove(volume.name, { force });
    }
    return reply.code(204).send();
  });

  const exclusively = oneAtATime();
  app.post('/volumes/prune', (request) => exclusively(() => pruneVolumes(services, request)));
}

async function listVolumes(services: Services, query: Query): Promise<VolumeList> {
  const filters = Filters.parse(query, ['dangling', 'driver', 'label', 'name']);
  const dangling = filters.boolean('dangling');
  const used = await volumeUsers(services);
  const found = (await services.volumes.list()).filter(
    (volume) =>
      filters.any('driver', (value) => value === volume.driver) &&
      filters.matches('name', volume.name) &&
      filters.labels(volumeLabels(volume)) &&
      (dangling === undefined || dangling === !used.has(volume.name)),
  );
  return { Volumes: found.map((volume) => encodeVolume(volume)), Warnings: null };
}

async function createVolume(services: Services, request: FastifyRequest): Promise<VolumeResource> {
  const body = bodyOf(request.body, volumeCreate);
  if (body.ClusterVolumeSpec !== undefined && speaks(request, '1.42')) {
    throw new EngineError('Unavailable', 'NO_SWARM', 'ClusterVolumeSpec needs a swarm: this node is not a swarm manager');
  }
  const volume = await services.volumes.create({
    ...(body.Name ? { name: body.Name } : {}),
    ...(body.Driver ? { driver: body.Driver } : {}),
    ...(body.Labels ? { labels: body.Labels } : {}),
    ...(body.DriverOpts ? { options: body.DriverOpts } : {}),
  });
  return encodeVolume(volume);
}

async function pruneVolumes(services: Services, request: FastifyRequest): Promise<VolumesPruneResponse> {
  const filters = Filters.parse(new Query(request.query), ['all', 'label', 'label!']);
  // Since API 1.42 only anonymous volumes go, unless all are asked for.
  const all = filters.boolean('all') === true || !speaks(request, '1.42');
  const used = await volumeUsers(services);
  const deleted: string[] = [];
  let reclaimed = 0;
  for (const volume of await services.volumes.list()) {
    // As Docker: what has options lies elsewhere, so nothing would be gained.
    if (volume.driver !== 'local' || Object.keys(volume.options).length > 0) continue;
    if (used.has(volume.name) || !(all || volume.anonymous) || !filters.labels(volumeLabels(volume))) continue;
    const bytes = await services.volumes.size(volume.name);
    try {
      await services.volumes.remove(volume.name);
    } catch (error) {
      // Came into use, or went, since the listing.
      if (error instanceof EngineError && (error.kind === 'Conflict' || error.kind === 'NotFound')) continue;
      throw error;
    }
    deleted.push(volume.name);
    reclaimed += bytes ?? 0;
  }
  tellPruned(services.events, 'volume', reclaimed);
  return { VolumesDeleted: deleted, SpaceReclaimed: reclaimed };
}

/** How many containers have each volume, running or not. */
export async function volumeUsers({ containers }: Pick<Services, 'containers'>): Promise<Map<string, number>> {
  const users = new Map<string, number>();
  for (const { mounts } of await containers.list()) {
    const names = new Set(mounts.flatMap(({ type, name }) => (type === 'volume' && name !== undefined ? [name] : [])));
    for (const name of names) users.set(name, (users.get(name) ?? 0) + 1);
  }
  return users;
}
