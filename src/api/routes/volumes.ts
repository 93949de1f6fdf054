import type { FastifyInstance } from 'fastify';
import type { VolumesPruneResponse } from '../../api-types/system.ts';
import type { VolumeList } from '../../api-types/volume.ts';
import type { Volume } from '../../volumes/port.ts';
import { bodyOf } from '../decode.ts';
import { encodeVolume } from '../encode/network.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import { volumeCreate } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { compareVersions, versionOf } from '../version.ts';

type Named = { Params: { name: string } };

export function volumeRoutes(app: FastifyInstance, services: Services): void {
  const { volumes } = services;

  app.get('/volumes', async (request): Promise<VolumeList> => {
    const filters = Filters.parse(new Query(request.query), ['dangling', 'driver', 'label', 'label!', 'name']);
    const dangling = filters.boolean('dangling');
    const used = await usedVolumes(services);
    const found = (await volumes.list()).filter(
      (volume) =>
        filters.any('driver', (value) => value === volume.driver) &&
        filters.matches('name', volume.name) &&
        filters.labels(volume.labels) &&
        (dangling === undefined || dangling === !used.has(volume.name)),
    );
    return { Volumes: found.map((volume) => encodeVolume(volume)), Warnings: null };
  });

  app.get<Named>('/volumes/:name', async (request) => encodeVolume(await volumes.get(request.params.name)));

  app.post('/volumes/create', async (request, reply) => {
    const body = bodyOf(request.body, volumeCreate);
    const volume = await volumes.create({
      ...(body.Name ? { name: body.Name } : {}),
      ...(body.Driver ? { driver: body.Driver } : {}),
      ...(body.Labels ? { labels: body.Labels } : {}),
      ...(body.DriverOpts ? { options: body.DriverOpts } : {}),
    });
    tell(services, 'create', volume);
    return reply.code(201).send(encodeVolume(volume));
  });

  app.delete<Named>('/volumes/:name', async (request, reply) => {
    const force = new Query(request.query).boolean('force');
    const volume = await volumes.get(request.params.name).catch((error: unknown) => {
      // Docker: forcing the removal of what is not there succeeds.
      if (force) return undefined;
      throw error;
    });
    if (volume !== undefined) {
      await volumes.remove(volume.name, { force });
      tell(services, 'destroy', volume);
    }
    return reply.code(204).send();
  });

  app.post('/volumes/prune', async (request): Promise<VolumesPruneResponse> => {
    const filters = Filters.parse(new Query(request.query), ['all', 'label', 'label!']);
    // Since API 1.42 only anonymous volumes go, unless all are asked for.
    const all = filters.boolean('all') ?? compareVersions(versionOf(request.originalUrl), '1.42') < 0;
    const used = await usedVolumes(services);
    const deleted: string[] = [];
    for (const volume of await volumes.list()) {
      if (used.has(volume.name) || !(all || volume.anonymous) || !filters.labels(volume.labels)) continue;
      await volumes.remove(volume.name);
      tell(services, 'destroy', volume);
      deleted.push(volume.name);
    }
    return { VolumesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: 0 };
  });
}

async function usedVolumes({ containers }: Services): Promise<Set<string>> {
  return new Set((await containers.list()).flatMap(({ mounts }) => mounts.flatMap(({ name }) => (name === undefined ? [] : [name]))));
}

function tell({ events }: Services, action: string, volume: Volume): void {
  events.publish({ type: 'volume', action, id: volume.name, attributes: { driver: volume.driver } });
}
