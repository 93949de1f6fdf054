import type { FastifyInstance } from 'fastify';
import type { ContainerStatus } from '../../api-types/container-inspect.ts';
import { statusOf } from '../encode/container-state.ts';
import type { Services } from '../services.ts';

const statuses: ContainerStatus[] = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];

/** GET /metrics: Prometheus text format, version 0.0.4. */
export function metricsRoutes(app: FastifyInstance, services: Services): void {
  const requests = new Map<number, number>();
  app.addHook('onResponse', async (_request, reply) => {
    requests.set(reply.statusCode, (requests.get(reply.statusCode) ?? 0) + 1);
  });

  app.get('/metrics', async (_request, reply) => {
    const [containers, images] = await Promise.all([services.containers.list(), services.store.images.list()]);
    const states = Map.groupBy(containers, ({ state }) => statusOf(state));
    const memory = process.memoryUsage();
    const text = [
      metric('slipway_info', 'gauge', 'The running engine.', [[`version="${services.info.version}"`, 1]]),
      metric(
        'slipway_containers',
        'gauge',
        'Containers by state.',
        statuses.map((status) => [`state="${status}"`, states.get(status)?.length ?? 0]),
      ),
      metric('slipway_images', 'gauge', 'Images.', [['', images.length]]),
      metric('slipway_events_listeners', 'gauge', 'Clients that follow events.', [['', services.events.listeners]]),
      metric(
        'slipway_api_requests_total',
        'counter',
        'Answered requests by status.',
        [...requests].map(([status, count]) => [`status="${status}"`, count]),
      ),
      metric('process_resident_memory_bytes', 'gauge', 'Resident memory.', [['', memory.rss]]),
      metric('process_start_time_seconds', 'gauge', 'Start, in seconds since 1970.', [['', services.info.startedAtMs / 1000]]),
    ];
    return reply.type('text/plain; version=0.0.4; charset=utf-8').send(text.join(''));
  });
}

function metric(name: string, type: 'gauge' | 'counter', help: string, samples: [labels: string, value: number][]): string {
  const lines = samples.map(([labels, value]) => `${name}${labels === '' ? '' : `{${labels}}`} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}
