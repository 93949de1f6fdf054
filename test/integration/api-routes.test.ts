import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError, type ErrorKind } from '../../src/base/errors.ts';
import type { Builder, BuildRequest } from '../../src/build/port.ts';
import type { NetworkInfo, Networks } from '../../src/network/port.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { ContainerRecord, Containers } from '../../src/runtime/port.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { ImageRecord, Images, Uses } from '../../src/store/port.ts';
import type { Volume, Volumes } from '../../src/volumes/port.ts';
import { client } from './api-client.ts';
import { containerRecord, FakeContainers, fakeServices, partial } from './api-fakes.ts';

test('every kind of failure has its status, with the message, the code and the hint', async (t) => {
  const kinds: [ErrorKind, number][] = [
    ['InvalidArgument', 400],
    ['Denied', 403],
    ['NotFound', 404],
    ['Conflict', 409],
    ['Unsupported', 501],
    ['Unavailable', 503],
    ['NoSpace', 507],
    ['DataLoss', 500],
    ['Internal', 500],
  ];
  for (const [kind, status] of kinds) {
    const containers = partial<Containers>('containers', {
      get: async () => {
        throw new EngineError(kind, 'SOME_CODE', 'what and which', { hint: 'what to do' });
      },
    });
    const answer = await client(t, { containers })('GET', '/containers/x/json');
    assert.equal(answer.status, status);
    assert.equal(answer.headers['content-type'], 'application/json');
    assert.deepEqual(answer.json(), { message: 'what and which', code: 'SOME_CODE', hint: 'what to do' });
  }
});

test('a command that cannot be run is 400, whatever kind found it', async (t) => {
  const containers = new FakeContainers();
  containers.startError = new EngineError('Internal', 'X', 'exec: not found', { exitCode: 127 });
  const answer = await client(t, { containers: containers.port() })('POST', '/containers/web/start');
  assert.equal(answer.status, 400);
  assert.equal(answer.json().exitCode, 127);
});

test('routes work with and without a version, and only within the versions that are spoken', async (t) => {
  const call = client(t);
  for (const prefix of ['', '/v1.24', '/v1.43', '/v1.50']) assert.equal((await call('GET', `${prefix}/_ping`)).body, 'OK');
  assert.match((await call('GET', '/v1.51/_ping')).json().message, /too new. Maximum supported API version is 1.50/);
  const unknown = await call('GET', '/v1.40/nope');
  assert.deepEqual([unknown.status, unknown.json().message], [404, 'page not found']);
  // Clients of that age show what they get as it is.
  for (const version of ['1.23', '1', '0.9']) {
    const old = await call('GET', `/v${version}/_ping`);
    assert.deepEqual([old.status, old.headers['content-type']], [400, 'text/plain; charset=utf-8']);
    assert.match(old.body, new RegExp(`^client version ${version} is too old. Minimum supported API version is 1.24`));
  }
});

test('a ping says what its client may speak', async (t) => {
  const call = client(t);
  for (const method of ['GET', 'HEAD'] as const) {
    const { status, headers, body } = await call(method, '/v1.40/_ping');
    assert.deepEqual([status, body], [200, method === 'GET' ? 'OK' : '']);
    assert.deepEqual(
      ['api-version', 'builder-version', 'docker-experimental', 'ostype', 'swarm', 'cache-control', 'pragma'].map((name) => headers[name]),
      ['1.50', '1', 'false', 'linux', 'inactive', 'no-cache, no-store, must-revalidate', 'no-cache'],
    );
    assert.equal(headers['content-type'], 'text/plain; charset=utf-8');
  }
  assert.equal((await call('OPTIONS', '/containers/json')).status, 200);
});

test('bodies that are not JSON, of another type, or missing are 400', async (t) => {
  const call = client(t);
  const create = (body?: unknown, type?: string) =>
    call('POST', '/containers/create', body, type === undefined ? {} : { 'content-type': type });
  assert.match((await create('{"Image": "x"')).json().message, /^invalid JSON: /);
  assert.match((await create('{"Image": "x"} {}')).json().message, /^invalid JSON: /);
  assert.match((await create('[]')).json().message, /must be a JSON object/);
  for (const empty of [undefined, '', '  ']) {
    assert.equal((await create(empty)).json().message, 'invalid JSON: got EOF while reading request body');
  }
  assert.equal(
    (await create('x', 'text/plain')).json().message,
    "unsupported Content-Type header (text/plain): must be 'application/json'",
  );
  assert.match((await create({})).json().message, /Image is missing$/);
  assert.equal((await create({ Image: 'x'.repeat(5 * 1024 * 1024) })).status, 413);
  // A type for a body that is not sent is what Go's client sends.
  assert.equal((await call('POST', '/containers/nope/start', undefined, { 'content-type': 'text/plain' })).json().code, 'NOT_FAKED');
});

test('create answers 201 with id and warnings, the name without its slash', async (t) => {
  const containers = new FakeContainers();
  const body = { Image: 'web:1', HostConfig: { BlkioWeight: 5, Turbo: true } };
  const store = { ...fakeServices().store, images: partial<Images>('images', { resolve: async () => image }) };
  const answer = await client(t, { containers: containers.port(), store })('POST', '/containers/create?name=/web', body);
  assert.equal(answer.status, 201);
  assert.deepEqual(answer.json(), { Id: 'c'.repeat(64), Warnings: ['HostConfig.Turbo is not a known field and has no effect'] });
  assert.equal(containers.created[0]?.name, 'web');
  assert.equal(containers.created[0]?.request.HostConfig?.BlkioWeight, 5);
});

const running: ContainerRecord = containerRecord({
  id: 'a'.repeat(64),
  name: 'running',
  state: { status: 'running', pid: 5, startedAtMs: Date.now() - 180_000, paused: false },
  ports: [{ hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  endpoints: [
    {
      network: 'bridge',
      networkId: 'n'.repeat(64),
      endpointId: 'e'.repeat(64),
      ipAddress: '172.17.0.2',
      prefixLength: 16,
      gateway: '172.17.0.1',
      ipv6Address: '',
      ipv6PrefixLength: 0,
      ipv6Gateway: '',
      interface: 'eth0',
      macAddress: '02:42:ac:11:00:02',
      aliases: [],
      dnsServers: [],
    },
  ],
});
const ended: ContainerRecord = containerRecord({
  id: 'b'.repeat(64),
  name: 'ended',
  createdAtMs: 1,
  config: { Image: 'db:1', Labels: { tier: 'back' } },
  state: { status: 'exited', exitCode: 3, startedAtMs: 1, finishedAtMs: Date.now() - 7_200_000, oomKilled: true, error: 'why' },
});
const both = partial<Containers>('containers', {
  execs: async (name) => (name === running.id ? ['e'.repeat(64)] : []),
  list: async () => [running, ended],
  get: async (name) => {
    const found = [running, ended].find((record) => record.name === name);
    if (found === undefined) throw new EngineError('NotFound', 'CONTAINER_NOT_FOUND', `No such container: ${name}`);
    return found;
  },
});

test('a listing shows what runs; filters choose among all', async (t) => {
  const call = client(t, {
    containers: both,
    store: { ...fakeServices().store, images: partial<Images>('images', { resolve: async () => ({ ...image, id: running.image.id }) }) },
  });
  const names = async (query: string) =>
    ((await call('GET', `/containers/json?${query}`)).json() as { Names: string[] }[]).map(({ Names }) => Names[0]);
  const filtered = (filters: unknown, more = 'all=1&') => names(`${more}filters=${encodeURIComponent(JSON.stringify(filters))}`);
  assert.deepEqual(await names(''), ['/running']);
  assert.deepEqual(await names('all=1'), ['/running', '/ended']);
  assert.deepEqual(await names('limit=1'), ['/running']);
  assert.deepEqual(await filtered({ status: ['exited'] }, ''), ['/ended']);
  assert.deepEqual(await filtered({ label: ['tier=back'] }), ['/ended']);
  assert.deepEqual(await filtered({ health: ['none'] }), ['/running', '/ended']);
  assert.deepEqual(await filtered({ health: ['healthy'] }), []);
  assert.deepEqual(await filtered({ 'is-task': ['true'] }), []);
  assert.deepEqual(await filtered({ 'is-task': ['false'], isolation: ['default'] }), ['/running', '/ended']);
  assert.deepEqual(await filtered({ since: ['ended'] }), ['/running']);
  assert.deepEqual(await filtered({ expose: ['53/udp'] }), ['/running']);
  assert.deepEqual(await filtered({ expose: ['1-10'], publish: ['8080'] }), ['/running']);
  assert.deepEqual(await filtered({ volume: ['/data'] }), []);
  assert.deepEqual(await names(`all=1&before=running`), ['/ended']);
  assert.deepEqual(await filtered({ name: ['^/end'] }), ['/ended']);
  assert.deepEqual(await filtered({ id: ['aaaa'] }), ['/running']);
  assert.deepEqual(await filtered({ exited: ['3'] }), ['/ended']);
  assert.deepEqual(await filtered({ publish: ['8000-9000'] }), ['/running']);
  assert.deepEqual(await filtered({ before: ['running'] }), ['/ended']);
  assert.deepEqual(await filtered({ network: ['bridge'] }), ['/running', '/ended']);
  assert.deepEqual(await filtered({ ancestor: ['web:1'], status: ['running'] }), ['/running']);
  for (const wrong of [
    { nope: ['x'] },
    { status: ['asleep'] },
    { exited: ['soon'] },
    { health: ['well'] },
    { publish: ['1:2'] },
    { expose: ['9-1'] },
    { 'is-task': ['x'] },
  ]) {
    const query = encodeURIComponent(JSON.stringify(wrong));
    assert.equal((await call('GET', `/containers/json?filters=${query}`)).status, 400);
  }
  const [row] = (await call('GET', '/containers/json')).json() as { Status: string; Ports: unknown; Command: string }[];
  assert.equal(row?.Status, 'Up 3 minutes');
  assert.deepEqual(row?.Ports, [
    { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
    { PrivatePort: 53, Type: 'udp' },
  ]);
});

test('inspect has the shape that clients read', async (t) => {
  const call = client(t, { containers: both });
  const live = (await call('GET', '/containers/running/json')).json();
  assert.deepEqual(live.State.Status, 'running');
  assert.deepEqual(live.ExecIDs, ['e'.repeat(64)]);
  assert.deepEqual(live.NetworkSettings.Ports, { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }], '53/udp': null });
  assert.equal(live.NetworkSettings.IPAddress, '172.17.0.2');
  assert.equal(live.NetworkSettings.Networks.bridge.Gateway, '172.17.0.1');
  assert.equal(live.Name, '/running');
  assert.equal(live.HostConfig.RestartPolicy.Name, 'no');
  assert.deepEqual([live.Path, live.Args], ['cat', ['-']]);
  const dead = (await call('GET', '/containers/ended/json')).json();
  assert.deepEqual([dead.State.ExitCode, dead.State.OOMKilled, dead.State.Error, dead.State.Running], [3, true, 'why', false]);
  assert.deepEqual(dead.NetworkSettings.Ports, {});
});

const image: ImageRecord = {
  id: `sha256:${'1'.repeat(64)}` as Digest,
  config: { architecture: 'amd64', os: 'linux', config: { Cmd: ['true'], Labels: { a: 'b' } } },
  tree: '7'.repeat(64) as TreeId,
  treeContent: '8'.repeat(64) as ImageRecord['treeContent'],
  history: [{ created_by: 'COPY a' }, { created_by: 'CMD ["true"]', empty_layer: true }],
  sizeBytes: 1000,
  createdAtMs: 1_700_000_000_000,
};

function fakeImages(references: string[]) {
  const removed: string[] = [];
  const images = partial<Images>('images', {
    resolve: async (name) => {
      if (name === 'nope') throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', 'No such image: nope');
      return image;
    },
    references: async () => references,
    list: async () => [{ record: image, references, lastUsedAtMs: 0 }],
    untag: async (reference) => references.splice(references.indexOf(reference), 1).length > 0,
    remove: async (id) => {
      removed.push(id);
    },
  });
  return { removed, store: { ...fakeServices().store, images } };
}

test('deleting an image follows the rules of Docker', async (t) => {
  const names = () => ['docker.io/library/web:1', 'docker.io/library/web:2'];
  const idle = partial<Containers>('containers', { list: async () => [] });

  const two = fakeImages(names());
  const untagged = await client(t, { store: two.store, containers: idle })('DELETE', '/images/web:1');
  assert.deepEqual(untagged.json(), [{ Untagged: 'web:1' }]);
  assert.deepEqual(two.removed, []);

  const byId = await client(t, { store: fakeImages(names()).store, containers: idle })('DELETE', `/images/${image.id}`);
  assert.equal(byId.status, 409);
  assert.match(byId.json().message, /must be forced.*multiple repositories/);

  const last = fakeImages(['docker.io/library/web:1']);
  const deleted = await client(t, { store: last.store, containers: idle })('DELETE', '/images/web:1');
  assert.deepEqual(deleted.json(), [{ Untagged: 'web:1' }, { Deleted: image.id }]);
  assert.deepEqual(last.removed, [image.id]);

  const one = () => fakeImages(['docker.io/library/web:1']);
  const byName = await client(t, { store: one().store, containers: both })('DELETE', '/images/web:1');
  assert.equal(byName.status, 409);
  assert.match(
    byName.json().message,
    /^conflict: unable to remove repository reference "web:1" \(must force\) - container aaaaaaaaaaaa is using/,
  );

  const used = one();
  const forced = await client(t, { store: used.store, containers: both })('DELETE', '/images/web:1?force=1');
  // A running container keeps the image, which has lost its name.
  assert.deepEqual([forced.json(), used.removed], [[{ Untagged: 'web:1' }], []]);
  const refused = await client(t, { store: one().store, containers: both })('DELETE', `/images/${image.id}?force=1`);
  assert.equal(refused.status, 409);
  assert.match(refused.json().message, /\(cannot be forced\) - image is being used by running container aaaaaaaaaaaa$/);
});

test('image names may have slashes, and the verb is at the end', async (t) => {
  const call = client(t, { store: { ...fakeImages([]).store, uses: partial<Uses>('uses', { last: async () => undefined }) } });
  assert.equal((await call('GET', '/images/ghcr.io/a/b:1/json')).json().Id, image.id);
  assert.equal((await call('GET', '/images/nope/json')).status, 404);
  assert.equal((await call('GET', '/images/a/b/nothing')).status, 404);
  const history = (await call('GET', '/images/a/b/history')).json() as { CreatedBy: string; Size: number }[];
  assert.deepEqual(
    history.map(({ CreatedBy, Size }) => [CreatedBy, Size]),
    [
      ['CMD ["true"]', 1000],
      ['COPY a', 0],
    ],
  );
});

const network: NetworkInfo = {
  id: 'n'.repeat(64),
  name: 'bridge',
  driver: 'bridge',
  createdAtMs: 0,
  subnets: [{ subnet: '172.17.0.0/16', gateway: '172.17.0.1' }],
  ipv6: false,
  internal: false,
  labels: {},
  options: {},
};

test('networks tell who is on them, and stay while somebody is', async (t) => {
  const own = { ...network, name: 'own' };
  const networks = partial<Networks>('networks', {
    get: async (name) => (name === 'own' ? own : network),
    list: async () => [network, own],
  });
  const call = client(t, { networks, containers: both });
  const inspected = (await call('GET', '/networks/own')).json();
  assert.deepEqual(inspected.Containers['a'.repeat(64)].IPv4Address, '172.17.0.2/16');
  assert.deepEqual(inspected.IPAM.Config, [{ Subnet: '172.17.0.0/16', Gateway: '172.17.0.1' }]);
  assert.match((await call('DELETE', '/networks/own')).json().message, /has active endpoints/);
  assert.match((await call('DELETE', '/networks/bridge')).json().message, /pre-defined network/);
  assert.equal((await call('POST', '/networks/create', { Driver: 'bridge' })).json().message, 'invalid name: name is empty');
});

test('volumes are pruned by the rules of the version that asks', async (t) => {
  const made = (name: string, anonymous: boolean): Volume => ({
    name,
    driver: 'local',
    mountpoint: '/v',
    createdAtMs: 0,
    labels: {},
    options: {},
    anonymous,
  });
  const removed: string[] = [];
  const volumes = partial<Volumes>('volumes', {
    list: async () => [made('named', false), made('f'.repeat(64), true)],
    remove: async (name) => {
      removed.push(name);
    },
    size: async () => 4096,
  });
  const call = client(t, { volumes, containers: both });
  assert.deepEqual((await call('POST', '/v1.43/volumes/prune')).json(), { VolumesDeleted: ['f'.repeat(64)], SpaceReclaimed: 4096 });
  await call('POST', '/v1.40/volumes/prune');
  assert.deepEqual(removed, ['f'.repeat(64), 'named', 'f'.repeat(64)]);
});

test('a build takes the parameters of Docker, and a folder that both sides see', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-shared-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const asked: BuildRequest[] = [];
  const builder: Builder = {
    build: async (request) => {
      asked.push(request);
      const tree = { id: image.tree, content: image.treeContent };
      return { image, tree, config: image.config, vertices: 2, cachedVertices: 1, durationMs: 5 };
    },
  };
  const call = client(t, { builder });
  const { dev, ino } = statSync(folder);
  const header = { 'x-slipway-context': JSON.stringify({ path: folder, dev, ino }) };
  const query = `t=web&t=web:2&buildargs=${encodeURIComponent('{"A":"b","C":null}')}&nocache=1&target=x&dockerfile=D&slipway=1`;
  const answer = await call('POST', `/build?${query}`, undefined, header);
  assert.equal(answer.headers['content-type'], 'application/vnd.slipway.build+json');
  assert.deepEqual(asked[0], {
    context: { kind: 'directory', path: folder },
    dockerfile: { path: 'D' },
    buildArgs: { A: 'b' },
    labels: {},
    tags: ['docker.io/library/web:latest', 'docker.io/library/web:2'],
    noCache: true,
    timestamps: 'first',
    networkMode: 'default',
    output: { kind: 'image' },
    target: 'x',
  });
  assert.deepEqual(JSON.parse(answer.body), {
    kind: 'result',
    imageId: image.id,
    tree: image.tree,
    content: image.treeContent,
    tags: ['web:latest', 'web:2'],
    vertices: 2,
    cachedVertices: 1,
    durationMs: 5,
  });
  const elsewhere = await call('POST', '/build', undefined, { 'x-slipway-context': JSON.stringify({ path: folder, dev, ino: ino + 1 }) });
  assert.deepEqual([elsewhere.status, elsewhere.json().code], [412, 'CONTEXT_NOT_SHARED']);
  for (const wrong of ['t=Web', 'buildargs=[]', 'labels={', 'timestamps=now', 'networkmode=container:x', 'remote=https://x', 'version=2']) {
    const { status } = await call('POST', `/build?${wrong}`, undefined, header);
    assert.ok(status === 400 || status === 501, `${wrong}: ${status}`);
  }
});

test('swarm routes answer as a node that is in no swarm', async (t) => {
  const call = client(t);
  for (const path of ['/services', '/tasks/x', '/nodes', '/swarm', '/secrets/x/update']) {
    const answer = await call(path.endsWith('update') ? 'POST' : 'GET', path);
    assert.equal(answer.status, 503);
    assert.match(answer.json().message, /^This node is not a swarm manager/);
  }
});
