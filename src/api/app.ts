import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import { apiVersion } from '../api-types/system.ts';
import { invalid, isExpected, toHttpError } from './errors.ts';
import { archiveRoutes } from './routes/archive.ts';
import { buildRoutes } from './routes/build.ts';
import { containerIoRoutes } from './routes/container-io.ts';
import { containerLifecycleRoutes } from './routes/container-lifecycle.ts';
import { containerRoutes } from './routes/containers.ts';
import { eventRoutes } from './routes/events.ts';
import { execRoutes } from './routes/exec.ts';
import { imageTransferRoutes } from './routes/image-transfer.ts';
import { imageRoutes } from './routes/images.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { networkRoutes } from './routes/networks.ts';
import { runRoutes } from './routes/run.ts';
import { slipwayRoutes } from './routes/slipway.ts';
import { swarmRoutes } from './routes/swarm.ts';
import { systemRoutes } from './routes/system.ts';
import { volumeRoutes } from './routes/volumes.ts';
import type { Services } from './services.ts';
import { readOff } from './upload.ts';
import { checkVersion, stripVersion } from './version.ts';

/** A JSON body larger than this is refused with 413. Bodies that are streams (tars) have no limit. */
const maxJsonBytes = 16 * 1024 * 1024;

const routeFamilies = [
  systemRoutes,
  eventRoutes,
  containerRoutes,
  containerLifecycleRoutes,
  containerIoRoutes,
  execRoutes,
  archiveRoutes,
  imageRoutes,
  imageTransferRoutes,
  buildRoutes,
  networkRoutes,
  volumeRoutes,
  swarmRoutes,
  runRoutes,
  slipwayRoutes,
  metricsRoutes,
];

/** The HTTP application: Docker's Engine API with and without a version prefix, and Slipway's own routes. It does not listen; server.ts does. */
export function buildApp(services: Services, options: { logger?: FastifyBaseLogger | undefined } = {}): FastifyInstance {
  const app = Fastify({
    ...(options.logger === undefined ? {} : { loggerInstance: options.logger }),
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    bodyLimit: maxJsonBytes,
    routerOptions: { maxParamLength: 1024, ignoreDuplicateSlashes: true, ignoreTrailingSlash: false },
    rewriteUrl: (request) => stripVersion(request.url ?? '/'),
  });
  parseBodies(app);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('Server', `Slipway/${services.info.version} (linux)`).header('Api-Version', apiVersion).header('Ostype', 'linux');
    reply.header('Docker-Experimental', 'false');
    checkVersion(request.originalUrl);
  });
  app.addHook('onSend', async (_request, reply, payload) => {
    // Docker's clients take a body for JSON only when the type is exactly this; Fastify adds a charset.
    if (String(reply.getHeader('content-type')).startsWith('application/json')) reply.header('content-type', 'application/json');
    return payload;
  });
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ message: 'page not found', code: 'ROUTE_NOT_FOUND' }));
  for (const routes of routeFamilies) routes(app, services);
  return app;
}

/** JSON is parsed whole (an empty body is none); every other body stays a stream that its route reads or refuses. */
function parseBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(/^application\/json/, { parseAs: 'string' }, (_request, text, done) => {
    if (text.length === 0) return done(null, undefined);
    try {
      done(null, JSON.parse(String(text)));
    } catch (cause) {
      done(invalid('BODY_NOT_JSON', `the request body is not JSON: ${(cause as SyntaxError).message}`));
    }
  });
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
}

async function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { status, body } = toHttpError(error);
  if (!isExpected(error)) request.log.error({ err: error, method: request.method, url: request.originalUrl }, 'a request failed');
  if (reply.sent || reply.raw.headersSent) {
    // A stream that has begun cannot change its status; cutting it tells the client that it is not whole.
    reply.raw.destroy();
    return;
  }
  await readOff(request.raw);
  if (status === 304) await reply.code(304).send();
  else await reply.code(status).type('application/json').send(body);
}
