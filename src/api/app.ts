import type { IncomingMessage } from 'node:http';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import { apiVersion } from '../api-types/system.ts';
import { guardApp, jsonType, judgedBody } from './authorization/guard.ts';
import type { Authorization } from './authorization/port.ts';
import { invalid, isExpected, toHttpError } from './errors.ts';
import { isTooSlow, type JsonLimits, parseJson, readJson } from './json-body.ts';
import { archiveRoutes } from './routes/archive.ts';
import { buildRoutes } from './routes/build.ts';
import { buildCacheRoutes } from './routes/build-caches.ts';
import { buildkitRoutes } from './routes/buildkit.ts';
import { containerIoRoutes } from './routes/container-io.ts';
import { containerLifecycleRoutes } from './routes/container-lifecycle.ts';
import { containerLogsRoutes } from './routes/container-logs.ts';
import { containerStatsRoutes } from './routes/container-stats.ts';
import { containerRoutes } from './routes/containers.ts';
import { eventRoutes } from './routes/events.ts';
import { execRoutes } from './routes/exec.ts';
import { experimentalRoutes } from './routes/experimental.ts';
import { gcRoutes } from './routes/gc.ts';
import { imageTransferRoutes } from './routes/image-transfer.ts';
import { imageRoutes } from './routes/images.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { networkRoutes } from './routes/networks.ts';
import { pluginRoutes } from './routes/plugins.ts';
import { registryRoutes } from './routes/registry.ts';
import { runRoutes } from './routes/run.ts';
import { slipwayRoutes } from './routes/slipway.ts';
import { swarmRoutes } from './routes/swarm.ts';
import { systemRoutes } from './routes/system.ts';
import { volumeRoutes } from './routes/volumes.ts';
import type { Services } from './services.ts';
import { readOff } from './upload.ts';
import { checkVersion, stripVersion, VersionUnsupported } from './version.ts';

/** Parsing that much takes the event loop some 20 ms. Bodies that are streams (tars) have no limit. */
const jsonLimits: JsonLimits = { maxBytes: 4 * 1024 * 1024, timeoutMs: 60_000 };

/** How long the rest of a body may dribble in once the request is answered. */
const lingerMs = 30_000;

const routeFamilies = [
  systemRoutes,
  eventRoutes,
  containerRoutes,
  containerLifecycleRoutes,
  containerIoRoutes,
  containerLogsRoutes,
  containerStatsRoutes,
  execRoutes,
  archiveRoutes,
  imageRoutes,
  imageTransferRoutes,
  buildRoutes,
  buildCacheRoutes,
  buildkitRoutes,
  networkRoutes,
  volumeRoutes,
  registryRoutes,
  pluginRoutes,
  swarmRoutes,
  experimentalRoutes,
  runRoutes,
  slipwayRoutes,
  gcRoutes,
  metricsRoutes,
];

/** The HTTP application: Docker's Engine API with and without a version prefix, and Slipway's own routes. It does not listen; server.ts does. */
export function buildApp(
  services: Services,
  options: { logger?: FastifyBaseLogger | undefined; json?: Partial<JsonLimits>; authorization?: Authorization | undefined } = {},
): FastifyInstance {
  const app = Fastify({
    ...(options.logger === undefined ? {} : { loggerInstance: options.logger }),
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    bodyLimit: Number.MAX_SAFE_INTEGER,
    routerOptions: { maxParamLength: 1024, ignoreDuplicateSlashes: true, ignoreTrailingSlash: false },
    rewriteUrl: (request) => stripVersion(request.url ?? '/'),
  });
  const limits = { ...jsonLimits, ...options.json };
  parseBodies(app, limits);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('Server', `Slipway/${services.info.version} (linux)`).header('Api-Version', apiVersion).header('Ostype', 'linux');
    reply.header('Docker-Experimental', 'false');
    checkVersion(request.originalUrl);
    refuseNul(request.params);
  });
  app.addHook('onSend', async (_request, reply, payload) => {
    // Docker's clients take a body for JSON only when the type is exactly this; Fastify adds a charset.
    if (String(reply.getHeader('content-type')).startsWith('application/json')) reply.header('content-type', 'application/json');
    return payload;
  });
  if (options.authorization !== undefined) guardApp(app, options.authorization, limits);
  app.addHook('onResponse', async (request) => cutLingering(request));
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ message: 'page not found', code: 'ROUTE_NOT_FOUND' }));
  for (const routes of routeFamilies) routes(app, services);
  return app;
}

/** JSON is parsed whole (an empty body is none); every other body stays a stream that its route reads or refuses. */
function parseBodies(app: FastifyInstance, limits: JsonLimits): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(jsonType, async (request: FastifyRequest, payload: IncomingMessage) => {
    const judged = judgedBody(request);
    return judged === undefined ? readJson(payload, limits) : parseJson(judged);
  });
  app.addContentTypeParser('*', (request, payload, done) => {
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    // Go's client names a type for bodies that it does not send.
    done(null, encoding === undefined && (length === undefined || length === '0') ? undefined : payload);
  });
}

async function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { status, body } = toHttpError(error);
  if (!isExpected(error)) request.log.error({ err: error, method: request.method, url: request.originalUrl }, 'a request failed');
  if (reply.sent || reply.raw.headersSent) {
    // A stream that has begun cannot change its status; cutting it tells the client that it is not whole.
    reply.raw.destroy();
    return;
  }
  if (isTooSlow(error)) reply.header('Connection', 'close');
  else await readOff(request.raw);
  if (status === 304) await reply.code(304).send();
  else if (error instanceof VersionUnsupported && error.old)
    await reply.code(status).type('text/plain; charset=utf-8').send(`${body.message}\n`);
  else await reply.code(status).type('application/json').send(body);
}

/** No name has one, and what is handed to the kernel would end there. */
function refuseNul(params: unknown): void {
  for (const value of Object.values((params ?? {}) as Record<string, unknown>)) {
    if (typeof value === 'string' && value.includes('\0')) throw invalid('NAME_INVALID', 'a name in the address has a NUL character');
  }
}

/** An answered request whose body never ends would hold its connection for ever. */
function cutLingering({ raw }: FastifyRequest): void {
  if (raw.complete || raw.destroyed) return;
  setTimeout(() => {
    if (!raw.complete) raw.destroy();
  }, lingerMs).unref();
}
