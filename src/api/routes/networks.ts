import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { NetworkCreateResponse, NetworkResource } from '../../api-types/network.ts';
import type { NetworksPruneResponse } from '../../api-types/system.ts';
import { EngineError } from '../../base/errors.ts';
import type { NetworkInfo } from '../../network/port.ts';
import { bodyOf } from '../decode.ts';
import { attachedTo, encodeNetwork } from '../encode/network.ts';
import { invalid } from '../errors.ts';
import { Filters } from '../filters.ts';
import { endpointConfig, networkOptions, predefined } from '../network-request.ts';
import { oneAtATime, tellPruned } from '../prune.ts';
import { Query } from '../query.ts';
import { networkConnect, networkCreate, networkDisconnect } from '../schemas/resources.ts';
import type { Services } from '../services.ts';
import { speaks } from '../version.ts';

type Identified = { Params: { id: string } };

export function networkRoutes(app: FastifyInstance, services: Services): void {
  const { networks, containers } = services;

  app.get('/networks', (request) => listNetworks(services, request));

  app.get<Identified>('/networks/:id', async (request) => {
    const query = new Query(request.query);
    const verbose = strictBoolean(query, 'verbose');
    const scope = query.string('scope');
    const [network, all] = await Promise.all([networks.get(request.params.id), containers.list()]);
    if (scope !== undefined && scope !== 'local') throw notFound(request.params.id);
    return encodeNetwork(network, { containers: all, verbose, speaks: (version) => speaks(request, version) });
  });

  app.post('/networks/create', async (request, reply) => {
    const body = bodyOf(request.body, networkCreate, { required: true });
    const { options, warnings } = networkOptions(body, request.body, (version) => speaks(request, version));
    const network = await networks.create(options);
    tell(services, 'create', network);
    const answer: NetworkCreateResponse = { Id: network.id, Warning: warnings.join('\n') };
    return reply.code(201).send(answer);
  });

  app.delete<Identified>('/networks/:id', async (request, reply) => {
    await removeNetwork(services, await networks.get(request.params.id));
    return reply.code(204).send();
  });

  app.post<Identified>('/networks/:id/connect', async (request, reply) => {
    const body = bodyOf(request.body, networkConnect, { required: true });
    const [network, container] = await Promise.all([networks.get(request.params.id), containers.get(body.Container)]);
    await containers.connectNetwork(
      container.id,
      endpointConfig(network.name, body.EndpointConfig ?? {}, (v) => speaks(request, v)),
    );
    tell(services, 'connect', network, { container: container.id });
    return reply.code(200).send();
  });

  app.post<Identified>('/networks/:id/disconnect', async (request, reply) => {
    const body = bodyOf(request.body, networkDisconnect, { required: true });
    const [network, container] = await Promise.all([networks.get(request.params.id), containers.get(body.Container)]);
    await containers.disconnectNetwork(container.id, network.name, { force: body.Force ?? false });
    tell(services, 'disconnect', network, { container: container.id });
    return reply.code(200).send();
  });

  const exclusively = oneAtATime();
  app.post('/networks/prune', (request) => exclusively(() => pruneNetworks(services, new Query(request.query))));
}

async function listNetworks({ networks, containers }: Services, request: FastifyRequest): Promise<NetworkResource[]> {
  const filters = Filters.parse(new Query(request.query), ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type']);
  const dangling = filters.boolean('dangling');
  for (const type of filters.get('type')) {
    if (type !== 'builtin' && type !== 'custom') throw invalid('FILTER_INVALID', `invalid filter: 'type'='${type.slice(0, 100)}'`);
  }
  const [all, records] = await Promise.all([networks.list(), containers.list()]);
  // Before 1.28 a listing told what an inspection does.
  const shown = { containers: speaks(request, '1.28') ? [] : records, speaks: (version: string) => speaks(request, version) };
  const isUsed = (network: NetworkInfo) =>
    predefined.includes(network.name) || records.some((record) => attachedTo(network, record).length > 0);
  return all
    .filter(
      (network) =>
        filters.any('driver', (value) => value === network.driver) &&
        filters.matches('id', network.id) &&
        filters.matches('name', network.name) &&
        filters.labels(network.labels) &&
        filters.any('scope', (value) => value === 'local') &&
        filters.any('type', (value) => (value === 'builtin') === predefined.includes(network.name)) &&
        (dangling === undefined || dangling === !isUsed(network)),
    )
    .map((network) => encodeNetwork(network, shown));
}

async function pruneNetworks(services: Services, query: Query): Promise<NetworksPruneResponse> {
  const filters = Filters.parse(query, ['label', 'label!', 'until']);
  const until = filters.untilMs(Date.now());
  const deleted: string[] = [];
  for (const network of await services.networks.list()) {
    if (predefined.includes(network.name) || network.createdAtMs > until || !filters.labels(network.labels)) continue;
    try {
      await removeNetwork(services, network);
    } catch (error) {
      // In use, or gone since the listing.
      if (error instanceof EngineError && ['Denied', 'Conflict', 'NotFound'].includes(error.kind)) continue;
      throw error;
    }
    deleted.push(network.name);
  }
  tellPruned(services.events, 'network', 0);
  return { NetworksDeleted: deleted.length > 0 ? deleted : null };
}

async function removeNetwork(services: Services, network: NetworkInfo): Promise<void> {
  if (predefined.includes(network.name)) {
    throw new EngineError('Denied', 'NETWORK_PREDEFINED', `${network.name} is a pre-defined network and cannot be removed`);
  }
  const users = (await services.containers.list()).filter((record) => attachedTo(network, record).length > 0).map(({ name }) => name);
  if (users.length > 0) {
    throw new EngineError(
      'Denied',
      'NETWORK_IN_USE',
      `error while removing network: network ${network.name} has active endpoints (${users.map((name) => `name:"${name}"`).join(', ')})`,
      { hint: `In use by: ${users.join(', ')}. Disconnect or stop them first.` },
    );
  }
  await services.networks.remove(network.id);
  tell(services, 'destroy', network);
}

/** Go's strconv.ParseBool: this one parameter is read more strictly than all others. */
function strictBoolean(query: Query, name: string): boolean {
  const text = query.string(name);
  if (text === undefined) return false;
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false;
  throw invalid('PARAMETER_INVALID', `invalid value for ${name}: ${text.slice(0, 100)}: expected true or false`);
}

function notFound(name: string): EngineError {
  return new EngineError('NotFound', 'NETWORK_NOT_FOUND', `network ${name} not found`);
}

function tell({ events }: Services, action: string, network: NetworkInfo, more: Record<string, string> = {}): void {
  events.publish({ type: 'network', action, id: network.id, attributes: { name: network.name, type: network.driver, ...more } });
}
