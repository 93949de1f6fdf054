import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { SessionOffer } from '../../buildkit/port.ts';
import { invalid } from '../errors.ts';
import { hijackSocket, wantsUpgrade } from '../hijack.ts';
import type { Services } from '../services.ts';

/** Connections that become HTTP/2 and speak BuildKit's protocol (docs/formats/buildkit.md). */
export function buildkitRoutes(app: FastifyInstance, services: Services): void {
  const { buildkit, shutdown } = services;
  if (buildkit === undefined) return;

  // The client serves what builds ask of it: its files, secrets, credentials.
  app.post('/session', async (request, reply) => {
    checkUpgrade(request);
    await buildkit.attachSession(offerOf(request), () => hijackSocket(request, reply, shutdown));
  });

  // The client asks for builds.
  app.post('/grpc', async (request, reply) => {
    checkUpgrade(request);
    await buildkit.serve(await hijackSocket(request, reply, shutdown));
  });
}

function checkUpgrade(request: FastifyRequest): void {
  const { upgrade } = request.headers;
  if (upgrade === undefined) throw invalid('UPGRADE_MISSING', 'no upgrade proto in request');
  if (!wantsUpgrade(request, 'h2c')) throw invalid('UPGRADE_UNSUPPORTED', `protocol ${upgrade.slice(0, 100)} not supported`);
}

function offerOf({ raw }: FastifyRequest): SessionOffer {
  const all = (name: string) => raw.headersDistinct[`x-docker-expose-session-${name}`] ?? [];
  return {
    id: all('uuid')[0] ?? '',
    name: all('name')[0] ?? '',
    sharedKey: all('sharedkey')[0] ?? '',
    methods: all('grpc-method'),
  };
}
