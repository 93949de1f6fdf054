import type { FastifyInstance } from 'fastify';
import type { WaitResponse } from '../../api-types/container-inspect.ts';
import type { WaitCondition } from '../../runtime/port.ts';
import { invalid } from '../errors.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { ResponseStream } from '../stream.ts';

type Named = { Params: { name: string } };

/** Start, stop, kill, restart, pause, unpause, rename, wait, top. */
export function containerLifecycleRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  const command = (path: string, run: (name: string, query: Query) => Promise<void>) => {
    app.post<Named>(`/containers/:name/${path}`, async (request, reply) => {
      await run(request.params.name, new Query(request.query));
      return reply.code(204).send();
    });
  };

  command('start', (name) => containers.start(name));
  command('stop', (name, query) => containers.stop(name, stopOptions(query)));
  command('restart', (name, query) => containers.restart(name, stopOptions(query)));
  command('kill', (name, query) => containers.kill(name, query.string('signal')));
  command('pause', (name) => containers.pause(name));
  command('unpause', (name) => containers.unpause(name));
  command('rename', (name, query) => containers.rename(name, query.required('name').replace(/^\//, '')));

  app.post<Named>('/containers/:name/wait', async (request, reply) => {
    const condition = waitCondition(new Query(request.query));
    // An unknown name must still be able to answer 404, which is impossible once the headers have left.
    const { id } = await containers.get(request.params.name);
    const waiting = new AbortController();
    const result = containers.wait(id, condition, waiting.signal);
    // Clients start the container only when they see the headers, so they leave before the result is there.
    const stream = new ResponseStream(reply, services.shutdown, 'application/json');
    stream.signal.addEventListener('abort', () => waiting.abort());
    if (stream.signal.aborted) waiting.abort();
    const answer = await result.then(
      ({ exitCode, error }): WaitResponse => ({ StatusCode: exitCode, ...(error === undefined ? {} : { Error: { Message: error } }) }),
      (error: unknown): WaitResponse => ({ StatusCode: -1, Error: { Message: error instanceof Error ? error.message : String(error) } }),
    );
    await stream.write(`${JSON.stringify(answer)}\n`);
    stream.end();
  });

  app.get<Named>('/containers/:name/top', async (request) =>
    containers.top(request.params.name, new Query(request.query).string('ps_args')),
  );
}

function stopOptions(query: Query): { timeoutSeconds?: number; signal?: string } {
  const timeoutSeconds = query.integer('t');
  const signal = query.string('signal');
  return { ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }), ...(signal === undefined ? {} : { signal }) };
}

function waitCondition(query: Query): WaitCondition {
  const condition = query.string('condition') ?? 'not-running';
  if (condition === 'not-running' || condition === 'next-exit' || condition === 'removed') return condition;
  throw invalid('PARAMETER_INVALID', `invalid condition: "${condition.slice(0, 100)}"`, 'Give not-running, next-exit or removed.');
}
