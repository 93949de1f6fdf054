import type { FastifyReply, FastifyRequest } from 'fastify';
import type { DiskUsageResponse } from '../api-types/system.ts';
import { newestFirst } from './container-filters.ts';
import { summarizeContainer } from './encode/container.ts';
import { summarizeImage } from './encode/image.ts';
import { encodeVolume } from './encode/volume.ts';
import { invalid } from './errors.ts';
import { sharedSizes } from './image-list.ts';
import { Query } from './query.ts';
import { sizesOf } from './routes/containers.ts';
import { volumeUsers } from './routes/volumes.ts';
import type { Services } from './services.ts';
import { requestSignal } from './stream.ts';
import { speaks } from './version.ts';

const kinds = ['container', 'image', 'volume', 'build-cache'];

/** GET /system/df. Since 1.42 `type` chooses what is counted; what was not asked for is null. */
export async function diskUsage(services: Services, request: FastifyRequest, reply: FastifyReply): Promise<DiskUsageResponse> {
  const asked = speaks(request, '1.42') ? new Query(request.query).list('type') : [];
  for (const kind of asked) {
    if (!kinds.includes(kind)) throw invalid('PARAMETER_INVALID', `unknown object type: ${kind.slice(0, 100)}`);
  }
  const wants = (kind: string) => asked.length === 0 || asked.includes(kind);
  const signal = requestSignal(reply, services.shutdown);
  const [images, containers, volumes] = await Promise.all([
    wants('image') ? imageUsage(services, request, signal) : undefined,
    wants('container') ? containerUsage(services, request) : null,
    wants('volume') ? volumeUsage(services) : null,
  ]);
  return {
    LayersSize: images?.bytes ?? 0,
    Images: images?.rows ?? null,
    Containers: containers,
    Volumes: volumes,
    // What a build keeps is trees like any other, and counts with the images'.
    BuildCache: wants('build-cache') ? [] : null,
    ...(speaks(request, '1.42') ? {} : { BuilderSize: 0 }),
  };
}

async function imageUsage(services: Services, request: FastifyRequest, signal: AbortSignal) {
  const [listings, records, usage] = await Promise.all([services.store.images.list(), services.containers.list(), services.diskUsage()]);
  const shared = await sharedSizes(services, listings, { signal });
  const users = Map.groupBy(records, ({ image }) => image.id);
  return {
    bytes: usage.rows.find(({ kind }) => kind === 'objects')?.bytes ?? 0,
    rows: listings.map((listing) => {
      const { id } = listing.record;
      const options = { containers: users.get(id)?.length ?? 0, sharedBytes: shared.get(id) };
      return summarizeImage(listing, { ...options, speaks: (version) => speaks(request, version) });
    }),
  };
}

async function containerUsage(services: Services, request: FastifyRequest) {
  const records = (await services.containers.list()).toSorted(newestFirst);
  const nowMs = Date.now();
  return Promise.all(
    records.map(async (record) => {
      const image = record.image.reference || record.image.id;
      const sizes = await sizesOf(services, record);
      return summarizeContainer(record, { nowMs, image, sizes, speaks: (version) => speaks(request, version) });
    }),
  );
}

/** As Docker: what has options lies elsewhere and is not counted. -1 stands for a driver that cannot tell. */
async function volumeUsage(services: Services) {
  const [volumes, users] = await Promise.all([services.volumes.list(), volumeUsers(services)]);
  const local = volumes.filter(({ driver, options }) => driver === 'local' && Object.keys(options).length === 0);
  return Promise.all(
    local.map(async (volume) => {
      const size = await services.volumes.size(volume.name);
      return encodeVolume(volume, { Size: size ?? -1, RefCount: users.get(volume.name) ?? 0 });
    }),
  );
}
