import type { FastifyInstance } from 'fastify';
import { familiarName, parseReference } from '../../oci/reference.ts';
import { invalid } from '../errors.ts';
import { eventJson, type StampedEvent } from '../event-bus.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import type { Services } from '../services.ts';
import { ResponseStream } from '../stream.ts';
import { speaks } from '../version.ts';

/** Kinds of things whose filter names one of them, by id, name, or how either begins. */
const namedKinds = ['config', 'container', 'daemon', 'network', 'node', 'plugin', 'secret', 'service', 'volume'];
const filterKeys = [...namedKinds, 'event', 'image', 'label', 'scope', 'type'];

export function eventRoutes(app: FastifyInstance, services: Services): void {
  app.get('/events', async (request, reply) => {
    const query = new Query(request.query);
    const filters = Filters.parse(query, filterKeys);
    const sinceNs = query.timeNs('since');
    const untilNs = query.timeNs('until');
    if (sinceNs !== undefined && untilNs !== undefined && untilNs < sinceNs) {
      const [since, until] = [query.string('since'), query.string('until')];
      throw invalid('PARAMETER_INVALID', `\`since\` time (${since}) cannot be after \`until\` time (${until})`);
    }
    // Docker tells the making of an image since 1.46 only.
    const knowsCreation = speaks(request, '1.46');
    const stream = new ResponseStream(reply, services.shutdown, 'application/json');
    for await (const event of services.events.read({ sinceNs, untilNs, signal: stream.signal })) {
      const { Type, Action } = event.message;
      if (!knowsCreation && Type === 'image' && Action === 'create') continue;
      if (matches(filters, event)) await stream.write(`${eventJson(event)}\n`);
    }
    stream.end();
  });
}

/** As moby daemon/events/filter.go. */
function matches(filters: Filters, { message }: StampedEvent): boolean {
  const { Type, Action, Actor, scope } = message;
  const name = Actor.Attributes.name ?? '';
  const begins = (text: string, value: string) => text === value || text.startsWith(value);
  return (
    // `exec_create` stands for `exec_create: sh -c …`, `health_status` for each of its values.
    filters.any('event', (value) => value === Action || Action.startsWith(`${value}:`)) &&
    filters.any('type', (value) => value === Type) &&
    filters.any('scope', (value) => value === scope) &&
    namedKinds.every((kind) => filters.any(kind, (value) => Type === kind && (begins(Actor.ID, value) || begins(name, value)))) &&
    filters.any('image', (value) => imageNames(message).includes(value)) &&
    filters.labels(Actor.Attributes)
  );
}

/** Ids and names of the image that an event is about, or that its container was made from; names without their tags, too. */
function imageNames({ Type, Actor }: StampedEvent['message']): string[] {
  const name = Type === 'image' ? Actor.Attributes.name : Actor.Attributes.image;
  return [Actor.ID, ...(name === undefined ? [] : [name, withoutTag(name)])];
}

function withoutTag(name: string): string {
  try {
    return familiarName(parseReference(name));
  } catch {
    return name;
  }
}
