import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBus } from '../../src/api/event-bus.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { EndpointConfig, NetworkInfo, Networks } from '../../src/network/port.ts';
import type { Containers } from '../../src/runtime/port.ts';
import type { Volume, Volumes } from '../../src/volumes/port.ts';
import { client, filtersOf } from './api-client.ts';
import { containerRecord, partial } from './api-fakes.ts';

const bridge: NetworkInfo = {
  id: 'b'.repeat(64),
  name: 'bridge',
  driver: 'bridge',
  createdAtMs: 0,
  subnets: [{ subnet: '172.17.0.0/16', gateway: '172.17.0.1' }],
  ipv6: false,
  internal: false,
  labels: {},
  options: {},
};
const own: NetworkInfo = {
  ...bridge,
  id: '0'.repeat(64),
  name: 'own',
  subnets: [
    { subnet: '10.1.0.0/16', gateway: '10.1.0.1', range: '10.1.5.0/24' },
    { subnet: 'fd00::/64', gateway: 'fd00::1' },
  ],
  ipv6: true,
  labels: { tier: 'back' },
};
const endpoint = {
  network: 'own',
  networkId: own.id,
  endpointId: 'e'.repeat(64),
  ipAddress: '10.1.5.2',
  prefixLength: 16,
  gateway: '10.1.0.1',
  ipv6Address: 'fd00::2',
  ipv6PrefixLength: 64,
  ipv6Gateway: 'fd00::1',
  macAddress: '02:42:0a:01:05:02',
  interface: 'eth0',
  aliases: [],
  dnsServers: [],
};
const web = containerRecord({
  state: { status: 'running', pid: 5, startedAtMs: 0, paused: false },
  networks: [{ name: 'own', ipv6: 'fd00::2', gatewayPriority: 7, driverOptions: { a: 'b' } }],
  endpoints: [endpoint],
  ports: [{ hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
});
const containers = (methods: Partial<Containers> = {}) =>
  partial<Containers>('containers', { list: async () => [web], get: async () => web, execs: async () => [], ...methods });
const networks = (methods: Partial<Networks> = {}) =>
  partial<Networks>('networks', {
    list: async () => [bridge, own],
    get: async (name) => {
      const found = [bridge, own].find((network) => network.name === name || network.id.startsWith(name));
      if (found === undefined) throw new EngineError('NotFound', 'NETWORK_NOT_FOUND', `network ${name} not found`);
      return found;
    },
    ...methods,
  });

/** Maps of a request have no prototype. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

test('a network tells its subnets of both families, and who is on it', async (t) => {
  const call = client(t, { networks: networks(), containers: containers() });
  const found = (await call('GET', '/networks/own?verbose=true')).json();
  assert.deepEqual(found.IPAM.Config, [
    { Subnet: '10.1.0.0/16', IPRange: '10.1.5.0/24', Gateway: '10.1.0.1' },
    { Subnet: 'fd00::/64', Gateway: 'fd00::1' },
  ]);
  assert.deepEqual(found.Containers[web.id], {
    Name: 'web',
    EndpointID: endpoint.endpointId,
    MacAddress: endpoint.macAddress,
    IPv4Address: '10.1.5.2/16',
    IPv6Address: 'fd00::2/64',
  });
  assert.deepEqual([found.EnableIPv4, found.EnableIPv6, found.Services], [true, true, {}]);
  assert.equal((await call('GET', '/v1.47/networks/own')).json().EnableIPv4, undefined);
  assert.equal((await call('GET', '/networks/own?scope=swarm')).status, 404);
  assert.match((await call('GET', '/networks/own?verbose=maybe')).json().message, /^invalid value for verbose: maybe/);
});

test('an inspection of a container has both families, too', async (t) => {
  const call = client(t, { containers: containers() });
  const { NetworkSettings } = (await call('GET', '/containers/web/json')).json();
  const { own: settings } = NetworkSettings.Networks;
  assert.deepEqual(
    [settings.GlobalIPv6Address, settings.GlobalIPv6PrefixLen, settings.IPv6Gateway, settings.GwPriority, settings.DriverOpts],
    ['fd00::2', 64, 'fd00::1', 7, { a: 'b' }],
  );
  assert.deepEqual(settings.IPAMConfig, { IPv6Address: 'fd00::2' });
  const addresses = NetworkSettings.Ports['80/tcp'].map(({ HostIp }: { HostIp: string }) => HostIp);
  assert.deepEqual(addresses, ['0.0.0.0', '::']);
});

test('a listing is filtered by all that Docker knows, and shows nobody', async (t) => {
  const call = client(t, { networks: networks(), containers: containers() });
  const names = async (filters: unknown) =>
    (await call('GET', `/networks?${filtersOf(filters)}`)).json().map(({ Name }: { Name: string }) => Name);
  assert.deepEqual(await names({}), ['bridge', 'own']);
  assert.deepEqual(await names({ driver: ['macvlan'] }), []);
  assert.deepEqual(await names({ id: ['0000'] }), ['own']);
  assert.deepEqual(await names({ name: ['^ow'] }), ['own']);
  assert.deepEqual(await names({ label: ['tier=back'] }), ['own']);
  assert.deepEqual(await names({ scope: ['swarm'] }), []);
  assert.deepEqual(await names({ type: ['builtin'] }), ['bridge']);
  assert.deepEqual(await names({ type: ['custom'], dangling: ['true'] }), []);
  assert.deepEqual(await names({ dangling: ['false'] }), ['bridge', 'own']);
  assert.equal((await call('GET', `/networks?${filtersOf({ type: ['odd'] })}`)).json().message, "invalid filter: 'type'='odd'");
  const rows = async (version: string) =>
    (await call('GET', `${version}/networks`)).json().map(({ Containers }: { Containers: object }) => Object.keys(Containers).length);
  assert.deepEqual(
    [await rows('/v1.28'), await rows('/v1.27')],
    [
      [0, 0],
      [0, 1],
    ],
  );
});

test('a network is made as asked; what cannot be had is named', async (t) => {
  const asked: unknown[] = [];
  const create: Networks['create'] = async (options) => {
    asked.push(options);
    return own;
  };
  const events = new EventBus();
  const call = client(t, { networks: networks({ create }), containers: containers(), events });
  const body = {
    Name: 'own',
    CheckDuplicate: true,
    Driver: 'bridge',
    Attachable: true,
    EnableIPv6: true,
    Internal: true,
    IPAM: {
      Driver: 'default',
      Config: [
        { Subnet: '10.1.0.0/16', IPRange: '10.1.5.0/24' },
        { Subnet: 'fd00::/64', Gateway: 'fd00::1' },
      ],
    },
    Options: { 'com.docker.network.bridge.name': 'br-own' },
    Labels: { a: 'b' },
    Speed: 5,
  };
  const made = await call('POST', '/networks/create', body);
  assert.deepEqual([made.status, made.json()], [201, { Id: own.id, Warning: 'Speed is not a known field and has no effect' }]);
  assert.deepEqual(plain(asked[0]), {
    name: 'own',
    driver: 'bridge',
    subnets: [
      { subnet: '10.1.0.0/16', range: '10.1.5.0/24' },
      { subnet: 'fd00::/64', gateway: 'fd00::1' },
    ],
    ipv6: true,
    internal: true,
    labels: { a: 'b' },
    options: { 'com.docker.network.bridge.name': 'br-own' },
  });
  const refused: [object, number, RegExp][] = [
    [{ Name: '' }, 400, /name is empty/],
    [{ Name: 'host' }, 403, /operation is not permitted on predefined host network/],
    [{ Name: 'x', Driver: 'overlay' }, 403, /not a swarm manager/],
    [{ Name: 'x', Scope: 'swarm' }, 403, /not a swarm manager/],
    [{ Name: 'x', Ingress: true }, 403, /not a swarm manager/],
    [{ Name: 'x', ConfigOnly: true }, 400, /^ConfigOnly is not supported/],
    [{ Name: 'x', ConfigFrom: { Network: 'y' } }, 400, /^ConfigFrom is not supported/],
    [{ Name: 'x', EnableIPv4: false }, 400, /^EnableIPv4 is not supported/],
    [{ Name: 'x', IPAM: { Driver: 'dhcp' } }, 400, /IPAM driver "dhcp"/],
    [{ Name: 'x', IPAM: { Options: { a: 'b' } } }, 400, /^IPAM.Options.a is not supported/],
    [{ Name: 'x', EnableIPv6: 'yes' }, 400, /^EnableIPv6 must be true or false/],
  ];
  for (const [given, status, message] of refused) {
    const answer = await call('POST', '/networks/create', given);
    assert.equal(answer.status, status, answer.body);
    assert.match(answer.json().message, message);
  }
  // Before 1.48 the field was unknown, and IPv4 always there.
  assert.equal((await call('POST', '/v1.47/networks/create', { Name: 'x', EnableIPv4: false })).status, 201);
});

test('a container joins a network and leaves it, and both are told', async (t) => {
  const joined: EndpointConfig[] = [];
  const left: unknown[] = [];
  const events = new EventBus();
  const call = client(t, {
    events,
    networks: networks(),
    containers: containers({
      connectNetwork: async (_name, config) => void joined.push(config),
      disconnectNetwork: async (_name, network, options) => void left.push([network, options]),
    }),
  });
  const EndpointConfig = {
    Aliases: ['db'],
    IPAMConfig: { IPv4Address: '10.1.5.9', IPv6Address: 'fd00::9' },
    MacAddress: '02:00:00:00:00:09',
    DriverOpts: { a: 'b' },
    GwPriority: 3,
    NetworkID: 'told',
    IPAddress: '1.2.3.4',
  };
  assert.equal((await call('POST', '/networks/own/connect', { Container: 'web', EndpointConfig })).status, 200);
  assert.deepEqual(plain(joined[0]), {
    name: 'own',
    aliases: ['db'],
    ipv4: '10.1.5.9',
    ipv6: 'fd00::9',
    macAddress: '02:00:00:00:00:09',
    driverOptions: { a: 'b' },
    gatewayPriority: 3,
  });
  await call('POST', '/v1.43/networks/own/connect', { Container: 'web', EndpointConfig });
  assert.deepEqual([joined[1]?.macAddress, joined[1]?.gatewayPriority], [undefined, undefined]);
  await call('POST', `/networks/${own.id.slice(0, 12)}/disconnect`, { Container: 'web', Force: true });
  assert.deepEqual(left, [['own', { force: true }]]);
  const told: string[] = [];
  for await (const { message } of events.read({
    sinceNs: 0n,
    untilNs: BigInt(Date.now()) * 1_000_000n + 2_000_000n,
    signal: AbortSignal.timeout(1000),
  })) {
    told.push(`${message.Action} ${message.Actor.Attributes.name} ${message.Actor.Attributes.container === web.id}`);
  }
  assert.deepEqual(told, ['connect own true', 'connect own true', 'disconnect own true']);
  assert.match((await call('POST', '/networks/own/connect', {})).json().message, /^Container is missing/);
  assert.match(
    (await call('POST', '/networks/own/connect', { Container: 'web', EndpointConfig: { Links: ['a'] } })).json().message,
    /Links is not supported/,
  );
  assert.equal((await call('POST', '/networks/nope/connect', { Container: 'web' })).status, 404);
});

test('prune takes networks that nobody is on, and leaves the others', async (t) => {
  const idle = { ...own, id: '1'.repeat(64), name: 'idle', labels: {} };
  const removed: string[] = [];
  const remove = async (id: string) => void removed.push(id);
  const call = client(t, { networks: networks({ list: async () => [bridge, own, idle], remove }), containers: containers() });
  assert.deepEqual((await call('POST', '/networks/prune')).json(), { NetworksDeleted: ['idle'] });
  assert.deepEqual(removed, [idle.id]);
  assert.deepEqual((await call('POST', `/networks/prune?${filtersOf({ until: ['1970-01-01T00:00:00'] })}`)).json(), {
    NetworksDeleted: ['idle'],
  });
  assert.match((await call('DELETE', '/networks/own')).json().message, /has active endpoints \(name:"web"\)$/);
});

const volume = (name: string, more: Partial<Volume> = {}): Volume => ({
  name,
  driver: 'local',
  mountpoint: `/v/${name}`,
  createdAtMs: 0,
  labels: {},
  options: {},
  anonymous: false,
  ...more,
});

test('volumes: what a driver says of them, listings by use, and what belongs to a swarm', async (t) => {
  const user = containerRecord({ mounts: [{ type: 'volume', name: 'used', source: '/v/used', destination: '/d', readOnly: false }] });
  const all = [
    volume('used'),
    volume('idle', { labels: { a: 'b' } }),
    volume('far', { driver: 'nfs', status: { healthy: true } }),
    volume('f00', { anonymous: true }),
  ];
  const volumes = partial<Volumes>('volumes', {
    list: async () => all,
    get: async (name) => {
      const found = all.find((each) => each.name === name);
      if (found === undefined) throw new EngineError('NotFound', 'VOLUME_NOT_FOUND', `get ${name}: no such volume`);
      return found;
    },
    size: async (name) => (name === 'f00' ? undefined : 10),
    remove: async (name) => {
      if (name === 'idle') throw new EngineError('Conflict', 'VOLUME_IN_USE', 'came into use');
    },
  });
  const call = client(t, { volumes, containers: partial<Containers>('containers', { list: async () => [user] }) });
  const names = async (filters: unknown) =>
    (await call('GET', `/volumes?${filtersOf(filters)}`)).json().Volumes.map(({ Name }: { Name: string }) => Name);
  assert.deepEqual(await names({ dangling: ['true'] }), ['idle', 'far', 'f00']);
  assert.deepEqual(await names({ dangling: ['false'] }), ['used']);
  assert.deepEqual(await names({ driver: ['nfs'] }), ['far']);
  assert.deepEqual(await names({ label: ['com.docker.volume.anonymous'] }), ['f00']);
  assert.deepEqual((await call('GET', '/volumes/far')).json().Status, { healthy: true });
  assert.equal((await call('DELETE', '/volumes/nope?force=1')).status, 204);
  assert.equal((await call('DELETE', '/volumes/nope')).json().message, 'get nope: no such volume');
  assert.equal(
    (await call('PUT', '/volumes/used?version=1', {})).json().message,
    'volume update only valid for cluster volumes, but swarm is unavailable',
  );
  assert.equal((await call('POST', '/volumes/create', { Name: 'x', ClusterVolumeSpec: {} })).status, 503);
  // What is in use, came into use, has options or another driver stays.
  assert.deepEqual((await call('POST', `/volumes/prune?${filtersOf({ all: ['1'] })}`)).json(), {
    VolumesDeleted: ['f00'],
    SpaceReclaimed: 0,
  });
});
