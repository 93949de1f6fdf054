import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBus } from '../../src/api/event-bus.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Networks } from '../../src/network/port.ts';
import type { Containers } from '../../src/runtime/port.ts';
import type { Images, Jobs, Trees } from '../../src/store/port.ts';
import type { Registries } from '../../src/transport/registry/port.ts';
import type { Volumes } from '../../src/volumes/port.ts';
import { client, filtersOf } from './api-client.ts';
import { containerRecord, fakeServices, partial } from './api-fakes.ts';

const one = containerRecord({ mounts: [{ type: 'volume', name: 'data', source: '/v', destination: '/d', readOnly: false }] });
const image = {
  id: one.image.id,
  config: { os: 'linux', architecture: 'amd64' },
  tree: one.image.tree,
  history: [],
  sizeBytes: 500,
  createdAtMs: 0,
};
const images = partial<Images>('images', { list: async () => [{ record: image, references: [], lastUsedAtMs: 0 }] as never });
const trees = partial<Trees>('trees', { stat: async () => ({ files: 1, directories: 0, bytes: 500 }) });
const volume = { name: 'data', driver: 'local', mountpoint: '/v', createdAtMs: 0, labels: {}, options: {}, anonymous: false };
const jobs: Jobs = { run: async () => [120] as never };
const services = {
  containers: partial<Containers>('containers', { list: async () => [one] }),
  store: { ...fakeServices().store, images, trees },
  volumes: partial<Volumes>('volumes', {
    list: async () => [volume, { ...volume, name: 'far', driver: 'nfs' }],
    size: async () => 77,
    drivers: () => ['local', 'nfs'],
  }),
  networks: partial<Networks>('networks', { list: async () => [{ driver: 'macvlan' }, { driver: 'bridge' }] as never }),
  diskUsage: async () => ({ rows: [{ kind: 'objects', count: 1, bytes: 900 }], totalBytes: 900 }),
  writableBytes: async () => 30,
  jobs,
};

test('info tells what this engine and host are, in the shape of the version that asks', async (t) => {
  const call = client(t, services);
  const info = (await call('GET', '/info')).json();
  assert.deepEqual([info.Containers, info.ContainersStopped, info.Images, info.Driver, info.CgroupDriver], [1, 1, 1, 'fake', 'cgroupfs']);
  assert.deepEqual(info.Plugins, {
    Volume: ['local', 'nfs'],
    Network: ['bridge', 'host', 'macvlan', 'null'],
    Authorization: null,
    Log: ['json-file', 'local', 'none'],
  });
  assert.deepEqual([info.CDISpecDirs, info.Runtimes, info.Swarm.LocalNodeState], [['/etc/cdi'], { runc: { path: 'runc' } }, 'inactive']);
  assert.ok(info.SecurityOptions.includes('name=seccomp,profile=builtin'));
  assert.ok(info.NCPU > 0 && info.MemTotal > 0 && info.NFd > 0 && info.KernelVersion !== '');
  assert.deepEqual([info.RuncCommit.Expected, info.BridgeNfIptables], [undefined, undefined]);
  const before = (await call('GET', '/v1.46/info')).json();
  assert.deepEqual([before.RuncCommit.Expected, before.BridgeNfIptables], [before.RuncCommit.ID, false]);
  assert.ok('AllowNondistributableArtifactsCIDRs' in before.RegistryConfig);
  assert.ok((await call('GET', '/v1.24/info')).json().SecurityOptions.includes('seccomp'));
});

test('info tells of mirrors and of registries that are insecure, as Docker does', async (t) => {
  const registries = {
    'docker.io': { mirrors: ['mirror.example', 'http://10.0.0.5:5000/hub/'], insecure: false },
    'r.example:5000': { mirrors: [], insecure: true },
    '10.1.0.0/16': { mirrors: [], insecure: true },
  };
  const { RegistryConfig } = (await client(t, { ...services, info: { ...fakeServices().info, registries } })('GET', '/info')).json();
  const mirrors = ['https://mirror.example/', 'http://10.0.0.5:5000/hub/'];
  assert.deepEqual(RegistryConfig, {
    InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8', '10.1.0.0/16'],
    IndexConfigs: {
      'docker.io': { Name: 'docker.io', Mirrors: mirrors, Secure: true, Official: true },
      'r.example:5000': { Name: 'r.example:5000', Mirrors: [], Secure: false, Official: false },
    },
    Mirrors: mirrors,
  });
});

test('version names the newest and the oldest version that is spoken', async (t) => {
  const { ApiVersion, MinAPIVersion, Components } = (await client(t, services)('GET', '/version')).json();
  assert.deepEqual([ApiVersion, MinAPIVersion, Components[0].Name], ['1.50', '1.24', 'Engine']);
});

test('system df counts what it is asked for', async (t) => {
  const call = client(t, services);
  const all = (await call('GET', '/system/df')).json();
  assert.deepEqual([all.LayersSize, all.Images[0].SharedSize, all.Images[0].Containers], [900, 120, 1]);
  assert.deepEqual([all.Containers[0].SizeRw, all.Containers[0].SizeRootFs], [30, 530]);
  // Another driver's lie elsewhere.
  assert.deepEqual(
    all.Volumes.map(({ UsageData }: { UsageData: unknown }) => UsageData),
    [{ Size: 77, RefCount: 1 }],
  );
  assert.deepEqual([all.BuildCache, all.BuilderSize], [[], undefined]);
  const some = (await call('GET', '/system/df?type=volume&type=build-cache')).json();
  assert.deepEqual([some.Images, some.Containers, some.Volumes.length, some.BuildCache], [null, null, 1, []]);
  assert.deepEqual((await call('GET', '/v1.41/system/df?type=volume')).json().Images.length, 1);
  assert.equal((await call('GET', '/system/df?type=nope')).json().message, 'unknown object type: nope');
});

test('events are chosen by all filters, between all kinds of times', async (t) => {
  const events = new EventBus();
  const call = client(t, { events });
  const tell = (type: 'container' | 'image' | 'network' | 'volume', action: string, id: string, attributes: Record<string, string>) =>
    events.publish({ type, action, id, attributes });
  tell('container', 'exec_create: sh -c ls', 'c1', { name: 'web', image: 'web:1', tier: 'front' });
  tell('container', 'health_status: healthy', 'c1', { name: 'web', image: 'web:1' });
  tell('image', 'create', 'sha256:1', { name: 'sha256:1' });
  tell('image', 'tag', 'sha256:1', { name: 'web:1' });
  tell('network', 'connect', 'n1', { name: 'own', container: 'c1' });
  tell('volume', 'create', 'data', { driver: 'local' });
  const read = async (filters: unknown, times = 'since=1h&until=0s', version = '') => {
    const { body } = await call('GET', `${version}/events?${times}&${filtersOf(filters)}`);
    return body
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).Action);
  };
  const all = ['exec_create: sh -c ls', 'health_status: healthy', 'create', 'tag', 'connect', 'create'];
  // Times strictly increase, by nanoseconds within a millisecond: "now" may be before the last of them.
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(await read({}), all);
  assert.deepEqual(
    await read({}, undefined, '/v1.45'),
    all.filter((action, index) => action !== 'create' || index > 2),
  );
  assert.deepEqual(await read({ event: ['exec_create', 'tag'] }), ['exec_create: sh -c ls', 'tag']);
  assert.deepEqual(await read({ event: ['health_status: healthy'] }), ['health_status: healthy']);
  assert.deepEqual(await read({ container: ['web'], label: ['tier=front'] }), ['exec_create: sh -c ls']);
  assert.deepEqual(await read({ image: ['web'] }), ['exec_create: sh -c ls', 'health_status: healthy', 'tag']);
  assert.deepEqual(await read({ image: ['web:1'], type: ['image'] }), ['tag']);
  assert.deepEqual(await read({ network: ['ow'] }), ['connect']);
  assert.deepEqual(await read({ volume: ['data'], scope: ['local'] }), ['create']);
  for (const kind of ['config', 'daemon', 'node', 'plugin', 'secret', 'service']) assert.deepEqual(await read({ [kind]: ['x'] }), []);
  const soon = Math.ceil(Date.now() / 1000);
  assert.deepEqual((await read({}, `since=${soon - 100}.000000001&until=${soon}.5`)).length, 6);
  assert.deepEqual((await read({}, `since=${BigInt(soon - 100) * 1_000_000_000n}&until=0s`)).length, 6);
  assert.deepEqual((await read({}, `since=2020-01-01T00:00:00Z&until=2020-01-02`)).length, 0);
  const backwards = await call('GET', '/events?since=5&until=3');
  assert.equal(backwards.json().message, '`since` time (5) cannot be after `until` time (3)');
  assert.equal((await call('GET', `/events?until=1&${filtersOf({ nope: ['x'] })}`)).json().message, "invalid filter 'nope'");
});

test('a node in no swarm says so, in each route its own way', async (t) => {
  const call = client(t);
  const notAManager = /^This node is not a swarm manager\. Use "docker swarm init"/;
  for (const family of ['services', 'tasks', 'nodes', 'secrets', 'configs']) {
    for (const path of [`/${family}`, `/${family}/x`]) {
      const { status, json } = await call('GET', path);
      assert.equal(status, 503);
      assert.match(json().message, notAManager);
    }
  }
  for (const path of [
    '/services/create',
    '/services/x/update',
    '/nodes/x/update',
    '/secrets/create',
    '/configs/create',
    '/swarm/update',
    '/swarm/unlock',
  ]) {
    assert.match((await call('POST', path, {})).json().message, notAManager, path);
  }
  assert.equal((await call('GET', '/swarm')).status, 503);
  assert.equal((await call('POST', '/swarm/leave')).json().message, 'This node is not part of a swarm');
  assert.match((await call('POST', '/swarm/init', {})).json().message, /has no swarm mode$/);
  for (const path of ['/tasks/create', '/nodes/create', '/nodes/x/logs', '/swarm/dance'])
    assert.equal((await call('POST', path)).status, 404, path);
});

test('there are no plugins, no sessions and no checkpoints', async (t) => {
  const call = client(t);
  assert.deepEqual((await call('GET', `/plugins?${filtersOf({ capability: ['volumedriver'] })}`)).json(), []);
  assert.equal((await call('GET', '/plugins/a/b:1/json')).json().message, 'plugin "a/b:1" not found');
  assert.equal((await call('POST', '/plugins/a/b:1/enable?timeout=0')).status, 404);
  assert.equal((await call('DELETE', '/plugins/x?force=1')).json().message, 'plugin "x" not found');
  assert.equal((await call('POST', '/plugins/x')).json().message, 'page not found');
  assert.equal((await call('POST', '/plugins/pull?remote=x', [])).status, 501);
  for (const path of ['/session', '/grpc'])
    assert.deepEqual([(await call('POST', path)).status, (await call('POST', path)).json().message], [404, 'page not found']);
  assert.match((await call('GET', '/containers/x/checkpoints')).json().message, /^This experimental feature is disabled by default/);
});

test('a login says whether it succeeded, and if not, whose fault it is', async (t) => {
  const asked: unknown[] = [];
  const registries: Pick<Registries, 'login'> = {
    login: async (auth) => {
      asked.push(auth);
      if (auth.password === 'wrong') throw new EngineError('Denied', 'UNAUTHORIZED', 'login attempt failed', { hint: 'check it' });
      if (auth.serveraddress === 'gone') throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'nobody there');
      return { identityToken: 'kept' };
    },
  };
  const call = client(t, { registries });
  const body = { username: 'me', password: 'right', email: '', serveraddress: 'reg.example' };
  assert.deepEqual((await call('POST', '/auth', body)).json(), { Status: 'Login Succeeded', IdentityToken: 'kept' });
  assert.deepEqual(asked[0], body);
  const wrong = await call('POST', '/auth', { ...body, password: 'wrong' });
  assert.deepEqual([wrong.status, wrong.json()], [401, { message: 'login attempt failed', code: 'UNAUTHORIZED', hint: 'check it' }]);
  assert.equal((await call('POST', '/auth', { ...body, serveraddress: 'gone' })).status, 500);
  assert.equal((await call('POST', '/auth')).status, 400);
  assert.equal((await call('POST', '/auth', { username: 5 })).status, 400);
});
