import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { CreateContainerRequest } from '../../api-types/container.ts';
import type { RunRequest } from '../../api-types/own.ts';
import { EngineError } from '../../base/errors.ts';
import { Timeline } from '../../base/timeline.ts';
import { askAs } from '../authorization/guard.ts';
import { bodyOf, requireField } from '../decode.ts';
import { hijack, wantsUpgrade } from '../hijack.ts';
import { foreignWarning } from '../platform.ts';
import { RunSession } from '../run-session.ts';
import { ignoredFields } from '../schemas/container.ts';
import { runRequest } from '../schemas/resources.ts';
import type { Services } from '../services.ts';

/** POST /slipway/run: create, start and follow in one request (docs/formats/api.md). */
export function runRoutes(app: FastifyInstance, services: Services): void {
  app.post('/slipway/run', async (request, reply) => {
    const timeline = new Timeline();
    const arrivedAtMs = Timeline.now();
    requireUpgrade(request);
    const run = bodyOf(request.body, runRequest, { required: true });
    requireField(run.create.Image || undefined, 'create.Image');
    const create = createRequest(run);
    await askAs(request, 'POST', `/containers/create${run.name === undefined ? '' : `?name=${encodeURIComponent(run.name)}`}`, create);
    const created = await services.containers.create(create, run.name === undefined ? {} : { name: run.name });
    await askToFollow(services, request, run, created.record.id);
    timeline.add('create', arrivedAtMs);
    const foreign = await foreignWarning(services.store.images, created.record.image.id);
    const warnings = [...created.warnings, ...foreign, ...ignoredFields((request.body as { create?: unknown }).create)];
    const connection = hijack(request, reply, { protocol: 'slipway-run', input: true, shutdown: services.shutdown });
    const session = new RunSession(services, connection, {
      run,
      record: created.record,
      warnings,
      arrivedAtMs,
      timeline,
      log: request.log,
    });
    await session.follow();
  });
}

/** For authorization plugins a run is what it does: a creation, which was asked about before, an attachment and a start. */
async function askToFollow({ containers }: Services, request: FastifyRequest, run: RunRequest, id: string): Promise<void> {
  try {
    const streams = `stdin=${run.attachStdin === true ? 1 : 0}&stdout=1&stderr=1&stream=1`;
    if (run.detach !== true) await askAs(request, 'POST', `/containers/${id}/attach?${streams}`);
    await askAs(request, 'POST', `/containers/${id}/start`);
  } catch (error) {
    await containers.remove(id, { force: true, volumes: true });
    throw error;
  }
}

function requireUpgrade(request: FastifyRequest): void {
  if (wantsUpgrade(request, 'slipway-run')) return;
  throw new EngineError('InvalidArgument', 'UPGRADE_REQUIRED', 'this route needs the header Upgrade: slipway-run', {
    hint: 'Use the Docker Engine API (containers/create, attach, start, wait) from other clients.',
  });
}

function createRequest(run: RunRequest): CreateContainerRequest {
  const attached = run.detach !== true;
  return {
    ...run.create,
    AttachStdin: run.attachStdin === true && attached,
    AttachStdout: run.attachStdout !== false && attached,
    AttachStderr: run.attachStderr !== false && attached,
    ...(run.attachStdin === true ? { OpenStdin: true, StdinOnce: true } : {}),
    ...(run.tty === true ? { Tty: true } : {}),
    HostConfig: { ...run.create.HostConfig, ...(run.rm === true ? { AutoRemove: true } : {}) },
  };
}
