import type { FastifyInstance } from 'fastify';
import type { BuildCacheAnswer } from '../../api-types/build.ts';
import type { BuildCacheMounts } from '../../build/cache/port.ts';
import { invalid, unsupported } from '../errors.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { requestSignal, sendChunks } from '../stream.ts';
import { receiveUpload } from '../upload.ts';

/** The caches of `RUN --mount=type=cache`. Their ids are paths more often than not, so names are in the query. */
export function buildCacheRoutes(app: FastifyInstance, services: Services): void {
  const caches = (): BuildCacheMounts => {
    if (services.buildCaches !== undefined) return services.buildCaches;
    throw unsupported('CACHE_MOUNTS_UNSUPPORTED', 'this engine has no cache mounts', 'Build with "slipway build".');
  };

  app.get('/slipway/build-caches', (): Promise<BuildCacheAnswer[]> => caches().list());

  app.delete('/slipway/build-caches', async (request): Promise<{ key: string; sizeBytes: number }> => {
    const { mount, sizeBytes } = await caches().remove(named(request.query, 'name'));
    return { key: mount.key, sizeBytes };
  });

  app.get('/slipway/build-caches/archive', async (request, reply) => {
    const name = named(request.query, 'name');
    const tar = await caches().export(name, { signal: requestSignal(reply, services.shutdown) });
    await sendChunks(reply, services.shutdown, 'application/x-tar', () => tar);
  });

  app.put('/slipway/build-caches/archive', async (request, reply): Promise<BuildCacheAnswer> => {
    const id = named(request.query, 'id');
    const signal = requestSignal(reply, services.shutdown);
    await using upload = await receiveUpload(request.body, services.tmpDir, signal);
    return await caches().import(id, upload.file, { signal });
  });
}

/** Cache mounts that no step uses, where all that builds keep is to go, or just them (`--filter type=exec.cachemount`). */
export async function pruneCacheMounts(
  caches: BuildCacheMounts | undefined,
  { all, types }: { all: boolean; types: readonly string[] },
): Promise<{ keys: string[]; bytes: number }> {
  const gone = { keys: [] as string[], bytes: 0 };
  if (caches === undefined || (types.length === 0 ? !all : !types.includes('exec.cachemount'))) return gone;
  for (const mount of await caches.list()) {
    if (mount.inUse) continue;
    gone.bytes += (await caches.remove(mount.key)).sizeBytes;
    gone.keys.push(mount.key);
  }
  return gone;
}

function named(query: unknown, parameter: string): string {
  const name = new Query(query).string(parameter);
  if (name === undefined) throw invalid('PARAMETER_MISSING', `the parameter "${parameter}" names the cache mount`);
  return name;
}
