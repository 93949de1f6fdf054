import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { UpdateRequest } from '../../api-types/container.ts';
import type { UpdateResponse, WaitResponse } from '../../api-types/container-inspect.ts';
import { EngineError } from '../../base/errors.ts';
import type { WaitCondition } from '../../runtime/port.ts';
import { bodyOf, unknownFields } from '../decode.ts';
import { invalid } from '../errors.ts';
import { Query } from '../query.ts';
import { updateContainer, updateFieldNames } from '../schemas/host-config.ts';
import type { Services } from '../services.ts';
import { ResponseStream, requestSignal } from '../stream.ts';
import { speaks } from '../version.ts';

type Named = { Params: { name: string } };

/** Start, stop, kill, restart, pause, unpause, rename, update, wait, top. */
export function containerLifecycleRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  const command = (path: string, run: (name: string, query: Query, request: FastifyRequest) => Promise<void>) => {
    app.post<Named>(`/containers/:name/${path}`, async (request, reply) => {
      await run(request.params.name, new Query(request.query), request);
      return reply.code(204).send();
    });
  };

  command('start', async (name, query, request) => {
    refuseStartOptions(query, request);
    await containers.start(name);
  });
  command('stop', (name, query, request) => containers.stop(name, stopOptions(query, request)));
  command('restart', (name, query, request) => containers.restart(name, stopOptions(query, request)));
  command('kill', (name, query) => containers.kill(name, query.string('signal')).catch(nameInKill(name)));
  command('pause', (name) => containers.pause(name));
  command('unpause', (name) => containers.unpause(name));
  command('rename', (name, query) => containers.rename(name, newName(query)));

  app.post<Named>('/containers/:name/update', async (request): Promise<UpdateResponse> => {
    const body = updateOf(bodyOf(request.body, updateContainer, { required: true }), request);
    const warnings = await containers.update(request.params.name, body);
    const unknown = unknownFields(request.body, updateFieldNames).map((name) => `${name} is not a known field and has no effect`);
    const all = [...warnings, ...unknown];
    return { Warnings: all.length > 0 ? all : null };
  });

  app.post<Named>('/containers/:name/wait', (request, reply) => wait(services, request, reply));

  app.get<Named>('/containers/:name/top', async (request) => {
    const top = await containers.top(request.params.name, new Query(request.query).string('ps_args'));
    const { id, name, image } = await containers.get(request.params.name);
    services.events.publish({ type: 'container', action: 'top', id, attributes: { name, image: image.reference || image.id } });
    return top;
  });
}

/** The condition is fixed, and an unknown name answered, before anything leaves; then clients that look for it get their headers at once. */
async function wait({ containers, shutdown }: Services, request: FastifyRequest<Named>, reply: FastifyReply): Promise<unknown> {
  const early = speaks(request, '1.30');
  const condition = early ? waitCondition(new Query(request.query)) : 'not-running';
  const { id } = await containers.get(request.params.name);
  const waiting = new AbortController();
  const result = containers.wait(id, condition, waiting.signal).then(
    ({ exitCode, error }): WaitResponse => ({ StatusCode: exitCode, ...(error === undefined ? {} : { Error: { Message: error } }) }),
    (error: unknown): WaitResponse => ({ StatusCode: -1, Error: { Message: error instanceof Error ? error.message : String(error) } }),
  );
  const stopWaiting = (signal: AbortSignal) => {
    signal.addEventListener('abort', () => waiting.abort());
    if (signal.aborted) waiting.abort();
  };
  if (!early) {
    stopWaiting(requestSignal(reply, shutdown));
    return result;
  }
  // Clients start the container only when they see the headers, so they leave before the result is there.
  const stream = new ResponseStream(reply, shutdown, 'application/json');
  stopWaiting(stream.signal);
  await stream.write(`${JSON.stringify(await result)}\n`);
  stream.end();
  return reply;
}

function waitCondition(query: Query): WaitCondition {
  const condition = query.string('condition') ?? 'not-running';
  if (condition === 'not-running' || condition === 'next-exit' || condition === 'removed') return condition;
  throw invalid('PARAMETER_INVALID', `invalid condition: "${condition.slice(0, 100)}"`, 'Give not-running, next-exit or removed.');
}

function refuseStartOptions(query: Query, request: FastifyRequest): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  // An empty JSON object or null is what some clients send for nothing.
  if (encoding !== undefined || Number(length ?? 0) > 7) {
    throw invalid(
      'BODY_UNEXPECTED',
      'starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24',
      "Give the container's settings when it is created.",
    );
  }
  if (query.string('checkpoint') !== undefined) {
    throw invalid('CHECKPOINT_UNSUPPORTED', 'the parameter "checkpoint" is not supported: this engine keeps no checkpoints');
  }
}

function stopOptions(query: Query, request: FastifyRequest): { timeoutSeconds?: number; signal?: string } {
  const timeoutSeconds = query.integer('t');
  const signal = speaks(request, '1.42') ? query.string('signal') : undefined;
  return { ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }), ...(signal === undefined ? {} : { signal }) };
}

function newName(query: Query): string {
  const name = query.string('name')?.replace(/^\//, '') ?? '';
  if (name === '') throw invalid('PARAMETER_MISSING', 'Neither old nor new names may be empty');
  return name;
}

/** Docker names the container before what was wrong with it. */
function nameInKill(name: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof EngineError)) throw error;
    const { kind, code, hint, message } = error;
    throw new EngineError(kind, code, `cannot kill container: ${name}: ${message}`, { hint, cause: error });
  };
}

/** Fields as the request's version knows them. 0 and -1 both lift the limit of processes. */
function updateOf(body: UpdateRequest, request: FastifyRequest): UpdateRequest {
  const { PidsLimit, KernelMemory, ...rest } = body;
  const limit = PidsLimit !== undefined && PidsLimit !== null && PidsLimit <= 0 ? -1 : PidsLimit;
  return {
    ...rest,
    ...(limit === undefined || limit === null || !speaks(request, '1.40') ? {} : { PidsLimit: limit }),
    ...(KernelMemory === undefined || speaks(request, '1.42') ? {} : { KernelMemory }),
  };
}
