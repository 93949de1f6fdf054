import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { BuildPruneResponse } from '../../api-types/system.ts';
import type { BuildEvent, BuildRequest } from '../../build/port.ts';
import { familiar, parseReference } from '../../oci/reference.ts';
import { BuildContexts } from '../build-contexts.ts';
import { buildDebugRoutes, DebuggedSteps } from '../build-debug.ts';
import { BuildDefinitions } from '../build-definitions.ts';
import { BuildInputs } from '../build-inputs.ts';
import { type BuildOutput, ClassicOutput, LinesOutput } from '../build-output.ts';
import { checkIgnored, decodeBuild, sharedContext } from '../build-request.ts';
import { CarriedAgents } from '../carried-agents.ts';
import { invalid } from '../errors.ts';
import { Filters } from '../filters.ts';
import { hijackSocket, wantsUpgrade } from '../hijack.ts';
import { tellImage } from '../image-events.ts';
import { tellPruned } from '../prune.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { sessionBuilds } from '../session-builds.ts';
import { ResponseStream, requestSignal } from '../stream.ts';
import { receiveUpload } from '../upload.ts';
import { speaks } from '../version.ts';
import { pruneCacheMounts } from './build-caches.ts';

/** Of a build's answer, that its client has not taken: what a step says beyond that is left out. */
const waitingMost = 8 << 20;

/** Builds that their client gave an id, so that it can cancel them. */
type Running = Map<string, AbortController>;
type Named = { Params: { id: string } };

export function buildRoutes(app: FastifyInstance, services: Services): void {
  const running: Running = new Map();
  const definitions = new BuildDefinitions();
  const contexts = new BuildContexts(services);
  const agents = new CarriedAgents();
  const inputs = new BuildInputs({ contexts, agents });
  const debugged = new DebuggedSteps();
  buildDebugRoutes(app, services, debugged);
  const overSession = sessionBuilds(services, (id) => cancellable(running, id));

  app.post('/slipway/build-definitions', async (request, reply) => {
    return reply.code(201).send({ id: await definitions.receive(request.body) });
  });

  app.post('/slipway/build-inputs', async (request, reply) => {
    return reply.code(201).send({ id: await inputs.receive(request.body) });
  });

  // A connection that waits to become one to the client's ssh agent.
  app.post<Named>('/slipway/build-agents/:id', async (request, reply) => {
    if (!wantsUpgrade(request, 'slipway-agent')) throw invalid('UPGRADE_REQUIRED', 'this route needs the header Upgrade: slipway-agent');
    agents.offer(request.params.id, await hijackSocket(request, reply, services.shutdown, 'slipway-agent'));
  });

  app.post('/slipway/build-contexts', async (request, reply) => {
    return reply.code(201).send(await contexts.offer({ body: request.body, signal: requestSignal(reply, services.shutdown) }));
  });

  app.post<Named>('/slipway/build-contexts/:id/contents', async (request, reply) => {
    await contexts.take(request.params.id, { body: request.body, signal: requestSignal(reply, services.shutdown) });
    return reply.code(204).send();
  });

  app.post<Named>('/slipway/build-contexts/:id/finish', async (request, reply) => {
    return reply.code(201).send(await contexts.finish(request.params.id, requestSignal(reply, services.shutdown)));
  });

  app.post('/build', async (request, reply) => {
    const query = new Query(request.query);
    if (query.string('version') === '2' && services.buildkit !== undefined) return overSession(request, reply, query);
    const decoded = { ...decodeBuild(query, request.headers), ...inputs.get(query.string('inputs')) };
    const debug = query.boolean('debug') ? debugged : undefined;
    const recipe = withDefinition(decoded, query, definitions);
    const warnings = checkIgnored(query, (version) => speaks(request, version));
    const output = outputOf(request, query);
    using cancellation = cancellable(running, query.string('buildid'));
    const signal = AbortSignal.any([requestSignal(reply, services.shutdown), cancellation.signal]);
    const shared = await sharedContext(request.headers, contexts);
    if (shared !== undefined) return runBuild(services, reply, { ...recipe, context: shared }, { output, warnings, signal, debug });
    await using upload = await receiveUpload(request.body, services.tmpDir, signal);
    await runBuild(services, reply, { ...recipe, context: { kind: 'tar', file: upload.file } }, { output, warnings, signal, debug });
  });

  app.post('/build/prune', async (request): Promise<BuildPruneResponse> => {
    const query = new Query(request.query);
    const filters = Filters.parse(query, ['description', 'id', 'inuse', 'parent', 'private', 'shared', 'type', 'unused-for', 'until']);
    for (const name of ['keep-storage', 'reserved-space', 'max-used-space', 'min-free-space']) {
      const text = query.string(name);
      if (text !== undefined && !/^-?\d+$/.test(text)) {
        throw invalid('PARAMETER_INVALID', `${name} is in bytes and expects an integer, got ${text.slice(0, 100)}`);
      }
    }
    // What else builds keep for each other are trees, which the collector takes.
    const { keys, bytes } = await pruneCacheMounts(services.buildCaches, { all: query.boolean('all'), types: filters.get('type') });
    tellPruned(services.events, 'builder', bytes);
    return { CachesDeleted: keys.length === 0 ? null : keys, SpaceReclaimed: bytes };
  });

  app.post('/build/cancel', async (request, reply) => {
    const id = new Query(request.query).string('id');
    if (id === undefined) throw invalid('PARAMETER_MISSING', 'build ID not provided');
    // As Docker: a build that is over, or never was, is no error.
    running.get(id)?.abort(new DOMException('the build was cancelled', 'AbortError'));
    return reply.code(200).type('application/json').send();
  });
}

/** A build definition that was sent before, in place of a Dockerfile; `dockerfile` is what it is called. */
function withDefinition<T extends Pick<BuildRequest, 'dockerfile' | 'frontend'>>(
  recipe: T,
  query: Query,
  definitions: BuildDefinitions,
): T {
  const id = query.string('definition');
  if (id === undefined) return recipe;
  return {
    ...recipe,
    frontend: 'definition',
    dockerfile: { text: definitions.get(id), name: query.string('dockerfile') ?? 'build definition' },
  };
}

function cancellable(running: Running, id: string | undefined): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  if (id !== undefined) running.set(id, controller);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      if (id !== undefined && running.get(id) === controller) running.delete(id);
    },
  };
}

function outputOf(request: FastifyRequest, query: Query): BuildOutput {
  const lines = query.boolean('slipway') || String(request.headers.accept).includes('application/vnd.slipway.build+json');
  return lines ? new LinesOutput() : new ClassicOutput({ quiet: query.boolean('q'), aux: speaks(request, '1.30') });
}

/** The stream opens with the first thing to tell, so that what is wrong with the request itself is still told by a status. */
async function runBuild(
  services: Services,
  reply: FastifyReply,
  build: BuildRequest,
  {
    output,
    warnings,
    signal,
    debug,
  }: { output: BuildOutput; warnings: readonly string[]; signal: AbortSignal; debug: DebuggedSteps | undefined },
): Promise<void> {
  let stream: ResponseStream | undefined;
  let warned = false;
  let droppedBytes = 0;
  const send = (text: string) => {
    if (text === '') return;
    stream ??= new ResponseStream(reply, services.shutdown, output.contentType);
    if (!warned) for (const message of warnings) stream.post(output.event({ kind: 'warning', message }));
    warned = true;
    stream.post(text);
  };
  /** A client that reads more slowly than a step writes misses some of it; the build's log has all. */
  const tell = (event: BuildEvent) => {
    if (event.kind === 'output' && (stream?.waitingBytes ?? 0) > waitingMost) {
      droppedBytes += event.data.length;
      return;
    }
    if (droppedBytes > 0) send(output.event(droppedNote(droppedBytes)));
    droppedBytes = 0;
    send(output.event(event));
  };
  try {
    const watched = debug === undefined ? build : { ...build, debug: debug.ofBuild((line) => send(output.debug(line))) };
    const result = await services.builder.build(watched, { onEvent: tell, signal });
    tellBuilt(services, build, result.image);
    send(output.result(result, build));
  } catch (error) {
    if (stream === undefined) throw error;
    send(output.error(error));
  }
  stream?.end();
}

function tellBuilt({ events }: Services, build: BuildRequest, image: Parameters<typeof tellImage>[2] | undefined): void {
  if (image === undefined) return;
  tellImage(events, 'create', image, image.id);
  for (const tag of build.tags) tellImage(events, 'tag', image, familiar(parseReference(tag)));
}

function droppedNote(bytes: number): BuildEvent {
  return {
    kind: 'warning',
    message: `${bytes} bytes of output were left out here: they came faster than they were read. "slipway build logs" has them`,
  };
}
