import type { FastifyInstance } from 'fastify';
import type { NetworkCreateResponse, NetworkResource } from '../../api-types/network.ts';
import type { NetworksPruneResponse } from '../../api-types/system.ts';
import { EngineError } from '../../base/errors.ts';
import type { NetworkInfo } from '../../network/port.ts';
import { bodyOf } from '../decode.ts';
import { encodeNetwork } from '../encode/network.ts';
import { unsupported } from '../errors.ts';
import { Filters } from '../filters.ts';
import { Query } from '../query.ts';
import { networkCreate } from '../schemas/resources.ts';
import type { Services } from '../services.ts';

type Identified = { Params: { id: string } };

/** Networks that every engine has and nobody removes. */
const predefined = ['bridge', 'host', 'none'];

export function networkRoutes(app: FastifyInstance, services: Services): void {
  const { networks, containers } = services;

  app.get('/networks', async (request) => listNetworks(services, new Query(request.query)));

  app.get<Identified>('/networks/:id', async (request) => {
    const [network, all] = await Promise.all([networks.get(request.params.id), containers.list()]);
    return encodeNetwork(network, all);
  });

  app.post('/networks/create', async (request, reply) => {
    const body = bodyOf(request.body, networkCreate, { required: true });
    const [config] = body.IPAM?.Config ?? [];
    const network = await networks.create({
      name: body.Name,
      ...(body.Driver ? { driver: body.Driver } : {}),
      ...(config?.Subnet ? { subnet: config.Subnet } : {}),
      ...(config?.Gateway ? { gateway: config.Gateway } : {}),
      ...(body.Internal === undefined ? {} : { internal: body.Internal }),
      ...(body.Labels ? { labels: body.Labels } : {}),
      ...(body.Options ? { options: body.Options } : {}),
    });
    tell(services, 'create', network);
    const answer: NetworkCreateResponse = { Id: network.id, Warning: '' };
    return reply.code(201).send(answer);
  });

  app.delete<Identified>('/networks/:id', async (request, reply) => {
    await removeNetwork(services, await networks.get(request.params.id));
    return reply.code(204).send();
  });

  app.post('/networks/prune', async (request): Promise<NetworksPruneResponse> => {
    const filters = Filters.parse(new Query(request.query), ['label', 'label!', 'until']);
    const until = filters.untilMs(Date.now());
    const deleted: string[] = [];
    for (const network of await networks.list()) {
      if (predefined.includes(network.name) || network.createdAtMs > until || !filters.labels(network.labels)) continue;
      if ((await usersOf(services, network)).length > 0) continue;
      await removeNetwork(services, network);
      deleted.push(network.name);
    }
    return { NetworksDeleted: deleted.length > 0 ? deleted : null };
  });

  for (const verb of ['connect', 'disconnect']) {
    app.post<Identified>(`/networks/:id/${verb}`, async (request) => {
      await networks.get(request.params.id);
      throw unsupported(
        'NETWORK_LIVE_CHANGE_UNSUPPORTED',
        `a container's networks cannot be changed once it is made (${verb})`,
        'Create the container with --network.',
      );
    });
  }
}

async function listNetworks({ networks, containers }: Services, query: Query): Promise<NetworkResource[]> {
  const filters = Filters.parse(query, ['dangling', 'driver', 'id', 'label', 'label!', 'name', 'scope', 'type']);
  const dangling = filters.boolean('dangling');
  const used =
    dangling === undefined
      ? new Set<string>()
      : new Set((await containers.list()).flatMap((record) => record.networks.map(({ name }) => name)));
  return (await networks.list())
    .filter(
      (network) =>
        filters.any('driver', (value) => value === network.driver) &&
        filters.matches('id', network.id) &&
        filters.matches('name', network.name) &&
        filters.labels(network.labels) &&
        filters.any('scope', (value) => value === 'local') &&
        filters.any('type', (value) => (value === 'builtin') === predefined.includes(network.name)) &&
        (dangling === undefined || dangling === (!used.has(network.name) && !predefined.includes(network.name))),
    )
    .map((network) => encodeNetwork(network));
}

async function removeNetwork(services: Services, network: NetworkInfo): Promise<void> {
  if (predefined.includes(network.name)) {
    throw new EngineError('Denied', 'NETWORK_PREDEFINED', `${network.name} is a pre-defined network and cannot be removed`);
  }
  const users = await usersOf(services, network);
  if (users.length > 0) {
    throw new EngineError(
      'Denied',
      'NETWORK_IN_USE',
      `error while removing network: network ${network.name} id ${network.id} has active endpoints`,
      {
        hint: `In use by: ${users.join(', ')}. Stop them first.`,
      },
    );
  }
  await services.networks.remove(network.id);
  tell(services, 'destroy', network);
}

/** Names of the containers that are on it now. */
async function usersOf({ containers }: Services, network: NetworkInfo): Promise<string[]> {
  return (await containers.list())
    .filter(({ state, endpoints }) => state.status === 'running' && endpoints.some(({ networkId }) => networkId === network.id))
    .map(({ name }) => name);
}

function tell({ events }: Services, action: string, network: NetworkInfo): void {
  events.publish({ type: 'network', action, id: network.id, attributes: { name: network.name, type: network.driver } });
}
