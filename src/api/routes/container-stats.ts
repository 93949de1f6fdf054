import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { EngineError } from '../../base/errors.ts';
import type { StatsSample } from '../../runtime/port.ts';
import { encodeStats } from '../encode/stats.ts';
import { invalid } from '../errors.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { ResponseStream, requestSignal } from '../stream.ts';
import { speaks } from '../version.ts';

type Named = { Params: { name: string } };

/** Docker reads every second; a client that sees two readings can tell how much of a processor is used. */
const intervalMs = 1000;

/**
 * GET /containers/{id}/stats. By default a line a second until the client goes or the container is removed (while it does not run, empty ones: a
 * client's table keeps its row). `stream=0`: one reading with the one before it; `one-shot=1`: one reading, at once.
 */
export function containerStatsRoutes(app: FastifyInstance, services: Services): void {
  const { containers } = services;

  app.get<Named>('/containers/:name/stats', async (request, reply) => {
    const query = new Query(request.query);
    const stream = query.boolean('stream', true);
    const oneShot = speaks(request, '1.41') && query.boolean('one-shot');
    if (stream && oneShot) throw invalid('PARAMETER_INVALID', 'cannot have stream=true and one-shot=true');
    const record = await containers.get(request.params.name);
    if (stream) {
      await follow(services, new ResponseStream(reply, services.shutdown, 'application/json'), record.id);
      return;
    }
    const previous = await containers.stats(record.id);
    if (previous === undefined || oneShot) return encodeStats(record, previous, undefined);
    await sleep(intervalMs, undefined, { signal: requestSignal(reply, services.shutdown) });
    return encodeStats(record, await containers.stats(record.id), previous);
  });
}

async function follow({ containers }: Services, stream: ResponseStream, id: string): Promise<void> {
  const { signal } = stream;
  let previous: StatsSample | undefined;
  try {
    // The first reading has nothing to compare with, so nobody is told of it.
    previous = await containers.stats(id);
    while (!signal.aborted) {
      await sleep(previous === undefined ? 0 : intervalMs, undefined, { signal });
      const [record, sample] = await Promise.all([containers.get(id), containers.stats(id)]);
      await stream.write(`${JSON.stringify(encodeStats(record, sample, sample && previous))}\n`);
      if (sample === undefined) await sleep(intervalMs, undefined, { signal });
      previous = sample;
    }
  } catch (error) {
    // The client went away, or the container did: either way there is no more to tell.
    const expected = signal.aborted || (error instanceof EngineError && error.kind === 'NotFound');
    if (!expected) return stream.fail(error);
  }
  stream.end();
}
