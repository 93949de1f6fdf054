import type { FastifyInstance } from 'fastify';
import type { AuthResponse, CopyLine, DistributionInspect, SearchResult, TagsAnswer } from '../../api-types/registry.ts';
import { EngineError } from '../../base/errors.ts';
import { parseReference, repositoryOf, withDefaultTag } from '../../oci/reference.ts';
import { bodyOf, requireField } from '../decode.ts';
import { invalid } from '../errors.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import { authFor, decodeRegistryAuth, decodeRegistryConfig } from '../registry-auth.ts';
import { authConfig, copyBody } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { jsonLines, requestSignal, streamLines } from '../stream.ts';
import { inspectFailure, loginFailure } from '../transfers/errors.ts';
import { requestedPlatform } from '../transfers/references.ts';

const defaultSearchLimit = 25;
const maxSearchLimit = 100;

/** Logging in, and what asks a registry about images without bringing any here. */
export function registryRoutes(app: FastifyInstance, services: Services): void {
  app.post('/auth', async (request, reply): Promise<AuthResponse> => {
    const auth = bodyOf(request.body, authConfig, { required: true });
    const signal = requestSignal(reply, services.shutdown);
    const { identityToken } = await services.registries.login(auth, { signal }).catch(rethrow(loginFailure));
    return { Status: 'Login Succeeded', IdentityToken: identityToken };
  });

  app.get('/distribution/*', async (request, reply): Promise<DistributionInspect> => {
    const path = (request.params as { '*': string })['*'];
    if (!path.endsWith('/json')) throw new EngineError('NotFound', 'ROUTE_NOT_FOUND', 'page not found');
    const name = path.slice(0, -'/json'.length);
    if (/^(sha256:)?[0-9a-f]{64}$/.test(name)) throw invalid('REFERENCE_INVALID', 'no manifest found for full image ID');
    const auth = decodeRegistryAuth(request.headers['x-registry-auth']);
    const signal = requestSignal(reply, services.shutdown);
    const reference = withDefaultTag(parseReference(name));
    const { descriptor, platforms } = await services.transfers.inspect(reference, { auth, signal }).catch(rethrow(inspectFailure));
    const { mediaType, digest, size } = descriptor;
    return { Descriptor: { mediaType, digest, size }, Platforms: platforms };
  });

  app.get('/images/search', async (request, reply): Promise<SearchResult[]> => {
    const query = new Query(request.query);
    const limit = query.integer('limit') ?? 0;
    if (limit < 0) throw invalid('PARAMETER_INVALID', 'invalid limit specified');
    if (limit > maxSearchLimit) throw invalid('PARAMETER_INVALID', `limit ${limit} is outside the range of [1, ${maxSearchLimit}]`);
    const term = query.required('term');
    const filters = Filters.parse(query, ['is-automated', 'is-official', 'stars']);
    const auth = decodeRegistryAuth(request.headers['x-registry-auth']);
    const signal = requestSignal(reply, services.shutdown);
    const options = { limit: limit === 0 ? defaultSearchLimit : limit, auth, signal };
    const found = await services.searchImages(term, options).catch(rethrow(loginFailure));
    const [official, automated] = [filters.boolean('is-official'), filters.boolean('is-automated')];
    const stars = Math.max(0, ...filters.get('stars').map(starsOf));
    return found
      .filter((row) => (official ?? row.official) === row.official && (automated ?? row.automated) === row.automated && row.stars >= stars)
      .map((row) => ({
        star_count: row.stars,
        is_official: row.official,
        name: row.name,
        is_automated: row.automated,
        description: row.description,
      }));
  });

  app.get('/slipway/tags', async (request, reply): Promise<TagsAnswer> => {
    const reference = parseReference(new Query(request.query).required('name'));
    const auth = decodeRegistryAuth(request.headers['x-registry-auth']);
    const signal = requestSignal(reply, services.shutdown);
    const tags = await services.transfers.tags(reference, { auth, signal }).catch(rethrow(inspectFailure));
    return { repository: repositoryOf(reference), tags };
  });

  app.post('/slipway/copy', async (request, reply) => {
    const body = bodyOf(request.body, copyBody, { required: true });
    const from = withDefaultTag(parseReference(requireField(body.from, 'from')));
    const to = withDefaultTag(parseReference(requireField(body.to, 'to')));
    if (to.tag === undefined) throw invalid('REFERENCE_INVALID', 'the name of a copy needs a tag');
    const platform = requestedPlatform(body.platform === '' ? undefined : body.platform);
    const auths = decodeRegistryConfig(request.headers['x-registry-config']);
    const copy = { from, to, platform, referrers: body.referrers, fromAuth: authFor(auths, from), toAuth: authFor(auths, to) };
    await streamLines(reply, services.shutdown, jsonLines, async (send, signal) => {
      const onProgress = (step: Omit<CopyLine & { kind: 'progress' }, 'kind'>) => send({ kind: 'progress', ...step } satisfies CopyLine);
      const { digest, bytesSent } = await services.transfers.copy(copy, { signal, onProgress });
      send({ kind: 'result', digest, bytesSent } satisfies CopyLine);
    });
  });
}

function rethrow(translate: (error: unknown) => unknown): (error: unknown) => never {
  return (error) => {
    throw translate(error);
  };
}

function starsOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw invalid('PARAMETER_INVALID', `invalid filter 'stars=${text.slice(0, 50)}'`);
  return Number(text);
}
