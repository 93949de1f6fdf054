import type { FastifyInstance } from 'fastify';
import { eventJson, type StampedEvent } from '../event-bus.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { ResponseStream } from '../stream.ts';

const filterKeys = ['container', 'daemon', 'event', 'image', 'label', 'network', 'plugin', 'scope', 'service', 'node', 'type', 'volume'];

export function eventRoutes(app: FastifyInstance, services: Services): void {
  app.get('/events', async (request, reply) => {
    const query = new Query(request.query);
    const filters = Filters.parse(query, filterKeys);
    const sinceNs = query.timeNs('since');
    const untilNs = query.timeNs('until');
    const stream = new ResponseStream(reply, services.shutdown, 'application/json');
    for await (const event of services.events.read({ sinceNs, untilNs, signal: stream.signal })) {
      if (matches(filters, event)) await stream.write(`${eventJson(event)}\n`);
    }
    stream.end();
  });
}

function matches(filters: Filters, { message }: StampedEvent): boolean {
  const { ID, Attributes } = message.Actor;
  const named = (type: string) =>
    filters.any(type, (value) => message.Type === type && (ID.startsWith(value) || Attributes.name === value));
  return (
    filters.any('event', (value) => value === message.Action || message.Action.startsWith(`${value}:`)) &&
    filters.any('type', (value) => value === message.Type) &&
    filters.any('scope', (value) => value === message.scope) &&
    named('container') &&
    named('network') &&
    named('volume') &&
    filters.any('image', (value) => [ID, Attributes.name, Attributes.image].includes(value) || Attributes.image === `${value}:latest`) &&
    filters.any('daemon', () => message.Type === 'daemon') &&
    !['plugin', 'service', 'node'].some((key) => filters.has(key)) &&
    filters.labels(Attributes)
  );
}
