import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerConfig, CreateContainerRequest, HostConfig } from '../../api-types/container.ts';
import { checkLogging } from './check-logging.ts';
import { checkConfig, mergeConfig } from './config.ts';
import { chooseIdMap } from './id-map.ts';
import { checkLinks, linkHosts, linkVariables, parseLink } from './links.ts';
import { mountRequests } from './mounts.ts';
import { endpointConfigs } from './network-mode.ts';
import { expandExposed, portBindings } from './ports.ts';
import { mountsFrom } from './resolve-mounts.ts';

const id = 'f'.repeat(64);
const image = { Entrypoint: ['/entry'], Cmd: ['default'] };

test('an entrypoint, an empty one and one of an empty string', () => {
  const args = (request: CreateContainerRequest) => mergeConfig(request, image, id).args;
  assert.deepEqual(args({ Entrypoint: [] }), ['default']);
  assert.deepEqual(args({ Entrypoint: [], Cmd: ['own'] }), ['own']);
  assert.deepEqual(args({ Entrypoint: null, Cmd: [] }), ['/entry', 'default']);
  assert.throws(() => args({ Entrypoint: [''] }), /no command specified/);
  assert.deepEqual(args({ Entrypoint: 'one', Cmd: 'two' }), ['one', 'two']);
});

test("a health check keeps what it does not say of the image's", () => {
  const health = (own: ContainerConfig['Healthcheck']) =>
    mergeConfig(
      { Healthcheck: own } as CreateContainerRequest,
      { ...image, Healthcheck: { Test: ['CMD', 'a'], Interval: 2e9, Retries: 3 } },
      id,
    ).config.Healthcheck;
  assert.deepEqual(health({ Interval: 5e9 }), { Test: ['CMD', 'a'], Interval: 5e9, Retries: 3 });
  assert.deepEqual(health({ Test: ['NONE'] }), { Test: ['NONE'], Interval: 2e9, Retries: 3 });
});

test('configurations that cannot be are refused by field', () => {
  const refused: [ContainerConfig, RegExp][] = [
    [{ Healthcheck: { Interval: 999_999 } }, /^Interval in Healthcheck cannot be less than 1ms$/],
    [{ Healthcheck: { Timeout: 1 } }, /^Timeout in Healthcheck cannot be less than 1ms$/],
    [{ Healthcheck: { StartPeriod: -1 } }, /^StartPeriod in Healthcheck/],
    [{ Healthcheck: { StartInterval: 1 } }, /^StartInterval in Healthcheck/],
    [{ Healthcheck: { Retries: -1 } }, /^Retries in Healthcheck cannot be negative$/],
    [{ Healthcheck: { Test: ['FLY'] } }, /Unknown type "FLY" in HEALTHCHECK/],
    [{ Hostname: 'x'.repeat(65) }, /is too long \(maximum 64 bytes\)/],
    [{ Hostname: 'a\nb' }, /invalid hostname/],
    [{ Domainname: 'a b' }, /invalid domainname/],
    [{ MacAddress: '02:42' }, /invalid MAC address: 02:42/],
    [{ StopSignal: 'SIGFOO' }, /Invalid signal/],
    [{ StopTimeout: -2 }, /invalid StopTimeout/],
    [{ Env: ['=x'] }, /invalid environment variable/],
    [{ Env: ['A=\0'] }, /holds a NUL/],
    [{ Cmd: ['a\0b'] }, /holds a NUL/],
    [{ ExposedPorts: { '80/icmp': {} } }, /invalid proto: icmp/],
    [{ WorkingDir: '/proc/1/root' }, /would lead out/],
  ];
  for (const [config, message] of refused)
    assert.throws(() => checkConfig(config, {}), { kind: 'InvalidArgument', message }, JSON.stringify(config));
  checkConfig(
    {
      Hostname: 'web-1.example',
      Healthcheck: { Test: ['CMD-SHELL', 'x'], Interval: 1_000_000 },
      StopTimeout: -1,
      ExposedPorts: { '1/sctp': {} },
    },
    {},
  );
});

test('ranges of ports, inside and outside', () => {
  assert.deepEqual(Object.keys(expandExposed({ '8000-8002/tcp': {}, '53/UDP': {} })), ['8000/tcp', '8001/tcp', '8002/tcp', '53/udp']);
  const bind = (port: string, HostPort: string) => portBindings({ PortBindings: { [port]: [{ HostPort }] } }, {});
  assert.deepEqual(
    bind('80-82/tcp', '1080-1082').map(({ hostPort, containerPort }) => [hostPort, containerPort]),
    [
      [1080, 80],
      [1081, 81],
      [1082, 82],
    ],
  );
  assert.deepEqual(bind('80/tcp', '1080-1090'), [{ hostIp: '', hostPort: 1080, hostPortEnd: 1090, containerPort: 80, protocol: 'tcp' }]);
  assert.deepEqual(
    bind('80-81/udp', '').map(({ hostPort }) => hostPort),
    [0, 0],
  );
  assert.throws(() => bind('80-82/tcp', '1080-1081'), /invalid ranges specified for container and host Ports/);
  for (const port of ['80/tcp/x', '90-80', '0', '']) assert.throws(() => bind(port, ''), /invalid port specification/, port);
  for (const hostPort of ['x', '70000', '9-8', '-1']) assert.throws(() => bind('80', hostPort), /invalid port specification/, hostPort);
  assert.throws(() => bind('80/sctp', ''), /invalid proto: sctp/);
  assert.deepEqual(portBindings({ NetworkMode: 'none', PortBindings: { '80/tcp': [{}] } }, {}), []);
});

test('endpoints take all that the network understands', () => {
  const [own, other] = endpointConfigs({
    MacAddress: '02-42-AC-11-00-02',
    HostConfig: { NetworkMode: 'front' },
    NetworkingConfig: {
      EndpointsConfig: {
        back: { Links: ['db:pg'], GwPriority: 5, DriverOpts: { a: 'b' } },
        front: { MacAddress: '', IPAMConfig: { IPv4Address: '10.0.0.5', IPv6Address: 'fd00::5' } },
      },
    },
  });
  assert.deepEqual(own, { name: 'front', aliases: [], ipv4: '10.0.0.5', ipv6: 'fd00::5', macAddress: '02:42:ac:11:00:02' });
  assert.deepEqual(other, { name: 'back', aliases: [], driverOptions: { a: 'b' }, gatewayPriority: 5, links: ['db:pg'] });
});

test('links in every spelling, what they say in /etc/hosts and in variables', () => {
  assert.deepEqual(parseLink('db'), { name: 'db', alias: 'db' });
  assert.deepEqual(parseLink('/db:/web/pg'), { name: 'db', alias: 'pg' });
  for (const text of ['', ':a', 'a:', 'a:b:c']) assert.throws(() => parseLink(text), /links/, text);
  const other = { name: 'db', config: { Hostname: 'h', Env: ['A=1', 'PATH=/x', 'B'], ExposedPorts: { '53/udp': {}, '5432/tcp': {} } } };
  const linked = [
    { alias: 'my-db', other, endpoint: { network: 'bridge', ipAddress: '172.17.0.2', ipv6Address: 'fd00::2' } },
  ] as unknown as Parameters<typeof linkHosts>[0];
  assert.deepEqual(linkHosts(linked), ['172.17.0.2\tmy-db h db', 'fd00::2\tmy-db h db']);
  const variables = linkVariables(linked, { name: 'web' });
  assert.deepEqual(variables.slice(0, 3), [
    'MY_DB_PORT=tcp://172.17.0.2:5432',
    'MY_DB_PORT_5432_TCP=tcp://172.17.0.2:5432',
    'MY_DB_PORT_5432_TCP_ADDR=172.17.0.2',
  ]);
  assert.deepEqual(variables.slice(-2), ['MY_DB_NAME=/web/my-db', 'MY_DB_ENV_A=1']);
  assert.match(checkLinks({ Links: ['db'] }, () => ({ hostConfig: {} })).join(), /deprecated/);
  assert.throws(
    () => checkLinks({ Links: ['db'] }, () => ({ hostConfig: { NetworkMode: 'host' } })),
    /host type networking can't be used with links/,
  );
  assert.deepEqual(
    checkLinks({ Links: ['later'], NetworkMode: 'own' }, () => assert.fail('is not looked for')),
    [],
  );
});

test('mounts of another container', () => {
  const record = {
    mounts: [
      { type: 'volume', name: 'v', source: '/s', destination: '/d', readOnly: false },
      { type: 'tmpfs', source: '', destination: '/t', readOnly: false },
    ],
  };
  const from = (text: string) => mountsFrom(text, () => record as never).map(({ destination, readOnly }) => [destination, readOnly]);
  assert.deepEqual(from('other'), [['/d', false]]);
  assert.deepEqual(from('other:ro,z'), [['/d', true]]);
  for (const text of ['', 'other:rshared', 'other:nocopy', 'other:ro,rw', 'other:ro:x'])
    assert.throws(() => from(text), { kind: 'InvalidArgument' }, text);
});

test("a volume's driver, and an image as a mount", () => {
  const [named, image, fresh] = mountRequests(
    { Volumes: { '/fresh': {} } },
    {
      VolumeDriver: 'nfs',
      Binds: ['data:/data'],
      Mounts: [{ Type: 'image', Source: 'tools:1', Target: '/tools', ImageOptions: { Subpath: 'usr/' } }],
    },
  );
  assert.deepEqual(named, { driver: 'nfs', type: 'volume', name: 'data', destination: '/data', readOnly: false, copyUp: true });
  assert.deepEqual(image, { type: 'image', reference: 'tools:1', destination: '/tools', subpath: 'usr/' });
  assert.equal(fresh?.type === 'volume' && fresh.driver, 'nfs');
});

test('log drivers and their options', () => {
  assert.deepEqual(checkLogging({}), []);
  assert.deepEqual(checkLogging({ LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3', tag: 'x' } } }), [
    'log option tag has no effect',
  ]);
  const refused = (Type: string, Config: Record<string, string>) => () => checkLogging({ LogConfig: { Type, Config } });
  assert.throws(refused('splunk', {}), /^EngineError: logger: no log driver named 'splunk' is registered$/);
  assert.throws(refused('constructor', {}), /no log driver named/);
  assert.throws(refused('local', { tag: 'x' }), /unknown log opt 'tag' for local log driver/);
  assert.throws(refused('json-file', { 'max-size': 'much' }), /invalid log opt max-size/);
  assert.throws(refused('json-file', { 'max-file': '0' }), /invalid log opt max-file/);
});

test("user namespaces: the configuration's, another container's, or none", () => {
  const own = { uids: [{ inside: 0, outside: 1000, count: 10 }], gids: [{ inside: 0, outside: 1000, count: 10 }] };
  const other = { uids: [{ inside: 0, outside: 5000, count: 10 }], gids: [] };
  const choose = (host: HostConfig, standard: typeof own | undefined = own, idMap: typeof own | undefined = other as typeof own) =>
    chooseIdMap(host, standard, () => ({ id, ...(idMap ? { idMap } : {}) }));
  assert.equal(choose({}), own);
  assert.equal(
    chooseIdMap({ Privileged: true }, undefined, () => assert.fail()),
    undefined,
  );
  assert.equal(choose({ UsernsMode: 'host', Privileged: true }), undefined);
  assert.equal(choose({ NetworkMode: 'container:x' }), other);
  assert.throws(() => chooseIdMap({ PidMode: 'container:x' }, own, () => ({ id })), /runs in the host's user namespace/);
  assert.throws(() => choose({ SecurityOpt: ['writable-cgroups'] }), /WritableCgroups conflicts with user namespaces/);
});
