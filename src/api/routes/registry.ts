import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { AuthResponse } from '../../api-types/registry.ts';
import { EngineError } from '../../base/errors.ts';
import { canonical, familiar, parseReference, type Reference, repositoryOf, withDefaultTag } from '../../oci/reference.ts';
import { bodyOf } from '../decode.ts';
import { invalid } from '../errors.ts';
import { parsePlatform } from '../platform.ts';
import { Query } from '../query.ts';
import { decodeRegistryAuth } from '../registry-auth.ts';
import { authConfig } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { progress, ResponseStream, requestSignal } from '../stream.ts';
import { speaks } from '../version.ts';

/** Answers that a kind of error has no status for. */
class RegistryError extends EngineError {
  readonly statusCode: number;
  constructor(statusCode: number, code: string, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super('Unavailable', code, message, options);
    this.statusCode = statusCode;
  }
}

const noClient = 'this engine does not transfer images from and to registries yet';
const hint = 'Bring images in with "docker load", "docker import" or "slipway bootstrap".';

/** Logging in, and what asks a registry about images. */
export function registryRoutes(app: FastifyInstance, services: Services): void {
  app.post('/auth', async (request, reply): Promise<AuthResponse> => {
    const auth = bodyOf(request.body, authConfig, { required: true });
    const signal = requestSignal(reply, services.shutdown);
    const { identityToken } = await services.registries.login(auth, { signal }).catch(statusOfLogin);
    return { Status: 'Login Succeeded', IdentityToken: identityToken };
  });

  app.get('/distribution/*', async (request) => {
    const path = (request.params as { '*': string })['*'];
    if (!path.endsWith('/json')) throw new EngineError('NotFound', 'ROUTE_NOT_FOUND', 'page not found');
    const name = path.slice(0, -'/json'.length);
    if (/^(sha256:)?[0-9a-f]{64}$/.test(name)) throw new RegistryError(500, 'REFERENCE_INVALID', 'no manifest found for full image ID');
    const reference = withDefaultTag(parseReference(name));
    throw new RegistryError(500, 'REGISTRY_UNSUPPORTED', `manifest of ${canonical(reference)} cannot be asked for: ${noClient}`, { hint });
  });

  app.get('/images/search', async (request) => {
    const query = new Query(request.query);
    const limit = query.integer('limit') ?? 0;
    if (limit < 0) throw invalid('PARAMETER_INVALID', 'invalid limit specified');
    const term = query.required('term');
    throw new RegistryError(500, 'REGISTRY_UNSUPPORTED', `cannot search for ${term.slice(0, 200)}: ${noClient}`, { hint });
  });
}

/** Docker: 401 for wrong credentials, 500 for a registry that cannot be asked. */
function statusOfLogin(error: unknown): never {
  if (!(error instanceof EngineError) || !['Denied', 'Unavailable'].includes(error.kind)) throw error;
  const { code, message, hint } = error;
  throw new RegistryError(error.kind === 'Denied' ? 401 : 500, code, message, { cause: error, ...(hint === undefined ? {} : { hint }) });
}

/**
 * POST /images/create?fromImage. Until images are pulled, what is not here cannot be had: 404, as for a repository that does not exist, so that a
 * client takes the image for missing at once instead of trying again.
 */
export function refusePull(request: FastifyRequest, query: Query, fromImage: string): never {
  const reference = pulled(fromImage, query.string('tag'));
  const platform = speaks(request, '1.32') ? query.string('platform') : undefined;
  if (platform !== undefined) parsePlatform(platform);
  throw new RegistryError(404, 'REGISTRY_UNSUPPORTED', `pull access denied for ${familiar(reference)}: ${noClient}`, { hint });
}

function pulled(fromImage: string, tag: string | undefined): Reference {
  // "pull --all-tags" of old clients leaves a colon.
  const given = parseReference(fromImage.replace(/:$/, ''));
  if (tag === undefined) return given;
  const separator = tag.includes(':') ? '@' : ':';
  return parseReference(`${repositoryOf(given)}${separator}${tag}`);
}

/** POST /images/{name}/push: Docker has opened its stream by the time it looks for the image, so its clients look for errors there. */
export async function pushImage(services: Services, request: FastifyRequest, reply: FastifyReply, name: string): Promise<void> {
  const query = new Query(request.query);
  const reference = pulled(name, query.string('tag'));
  if (reference.digest !== undefined) throw invalid('REFERENCE_INVALID', 'cannot push a digest reference');
  // The credentials may be broken; a push that needs none does not mind.
  decodeRegistryAuth(request.headers['x-registry-auth']);
  const missing = await services.store.images.resolve(canonical(withDefaultTag(reference))).then(
    () => false,
    (error: unknown) => {
      if (error instanceof EngineError && error.kind === 'NotFound') return true;
      throw error;
    },
  );
  const message = missing
    ? `An image does not exist locally with the tag: ${familiar({ ...reference, tag: undefined })}`
    : `cannot push ${familiar(withDefaultTag(reference))}: ${noClient}`;
  const stream = new ResponseStream(reply, services.shutdown, 'application/json');
  stream.post(progress({ status: `The push refers to repository [${repositoryOf(reference)}]` }));
  stream.post(progress({ errorDetail: { message }, error: message }));
  stream.end();
}
