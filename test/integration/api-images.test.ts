import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBus } from '../../src/api/event-bus.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Builder, BuildRequest } from '../../src/build/port.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { Containers } from '../../src/runtime/port.ts';
import type { Snapshotter } from '../../src/snapshot/port.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { ImageListing, ImageRecord, Images, Jobs, Uses } from '../../src/store/port.ts';
import type { Archives } from '../../src/transport/port.ts';
import { client, filtersOf } from './api-client.ts';
import { containerRecord, fakeServices, partial } from './api-fakes.ts';

const record = (digit: string, createdAtMs: number, labels: Record<string, string> = {}): ImageRecord => ({
  id: `sha256:${digit.repeat(64)}` as Digest,
  config: { architecture: 'amd64', os: 'linux', config: { Cmd: ['true'], Env: ['A=1'], Labels: labels } },
  tree: '7'.repeat(64) as TreeId,
  treeContent: '8'.repeat(64) as ImageRecord['treeContent'],
  history: [],
  sizeBytes: 1000,
  createdAtMs,
});
const old = record('1', 1000, { tier: 'back' });
const fresh = record('2', 2000);
const nameless = record('3', 3000);
const listings: ImageListing[] = [
  { record: old, references: ['docker.io/library/web:1', 'ghcr.io/acme/web:1'], lastUsedAtMs: 0 },
  { record: fresh, references: ['docker.io/library/db:2'], lastUsedAtMs: 0 },
  { record: nameless, references: [], lastUsedAtMs: 0 },
];

function store(methods: Partial<Images> = {}) {
  const images = partial<Images>('images', {
    list: async () => listings,
    resolve: async (name) => {
      const found = listings.find(
        ({ record, references }) => record.id.includes(name) || references.some((each) => each === name || each.endsWith(`/${name}`)),
      );
      if (found === undefined) throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', `No such image: ${name}`);
      return found.record;
    },
    forPlatform: async () => undefined,
    references: async (id) => listings.find(({ record }) => record.id === id)?.references ?? [],
    ...methods,
  });
  return { ...fakeServices().store, images, uses: partial<Uses>('uses', { last: async () => undefined }) };
}

test('a listing is filtered by all that Docker knows', async (t) => {
  const jobs: Jobs = { run: async () => [10, 20, 30] as never };
  const call = client(t, { store: store(), jobs });
  const rows = async (query: string, version = '') => (await call('GET', `${version}/images/json?${query}`)).json();
  const tags = async (filters: unknown, version = '') =>
    (await rows(filtersOf(filters), version)).map(({ RepoTags }: { RepoTags: string[] }) => RepoTags.join(' '));
  assert.deepEqual(await tags({}), ['', 'db:2', 'ghcr.io/acme/web:1 web:1']);
  assert.deepEqual(await tags({ dangling: ['true'] }), ['']);
  assert.deepEqual(await tags({ dangling: ['false'], label: ['tier'] }), ['ghcr.io/acme/web:1 web:1']);
  assert.deepEqual(await tags({ reference: ['web', 'db:*'] }), ['db:2', 'web:1']);
  assert.deepEqual(await tags({ reference: ['ghcr.io/*/*'] }), ['ghcr.io/acme/web:1']);
  assert.deepEqual(await tags({ before: ['db:2'] }), ['ghcr.io/acme/web:1 web:1']);
  assert.deepEqual(await tags({ since: ['db:2'] }), ['']);
  assert.deepEqual(await tags({ until: ['2.5'] }), ['db:2', 'ghcr.io/acme/web:1 web:1']);
  assert.equal((await call('GET', `/images/json?${filtersOf({ before: ['nope'] })}`)).status, 404);
  assert.deepEqual((await rows('filter=db', '/v1.40')).length, 1);
  const shared = (row: { SharedSize: number }) => row.SharedSize;
  assert.deepEqual((await rows('shared-size=1')).map(shared), [30, 20, 10]);
  assert.deepEqual((await rows('shared-size=1', '/v1.41')).map(shared), [-1, -1, -1]);
});

test('rows and inspections have the shape of the version that asks', async (t) => {
  const call = client(t, { store: store() });
  const first = async (version: string) => (await call('GET', `${version}/images/json`)).json()[0];
  assert.deepEqual((await first('/v1.42')).RepoTags, ['<none>:<none>']);
  assert.deepEqual((await first('/v1.43')).RepoTags, []);
  assert.deepEqual([(await first('/v1.43')).VirtualSize, (await first('/v1.44')).VirtualSize], [1000, undefined]);
  const inspected = async (version: string) => (await call('GET', `${version}/images/web:1/json`)).json();
  const [v143, v145, v150] = [await inspected('/v1.43'), await inspected('/v1.45'), await inspected('/v1.50')];
  assert.deepEqual([v143.VirtualSize, v143.Container, typeof v143.ContainerConfig], [1000, '', 'object']);
  assert.deepEqual([v145.VirtualSize, v145.Container, v145.Config.Domainname], [undefined, undefined, '']);
  assert.deepEqual(v150.Config, { Cmd: ['true'], Env: ['A=1'], Labels: { tier: 'back' } });
});

test('an image of another platform than is asked for is not there', async (t) => {
  const call = client(t, { store: store() });
  const arm = encodeURIComponent('{"os":"linux","architecture":"arm64"}');
  assert.equal((await call('GET', `/images/web:1/json?platform=${arm}`)).status, 404);
  assert.equal((await call('GET', `/v1.48/images/web:1/json?platform=${arm}`)).status, 200);
  assert.equal((await call('GET', `/images/web:1/history?platform=${arm}`)).status, 404);
  assert.equal((await call('GET', `/images/web:1/get?platform=${arm}`)).status, 404);
  assert.equal((await call('DELETE', `/images/web:1?platforms=${arm}`)).status, 404);
  assert.equal((await call('GET', '/images/web:1/json?platform=linux')).status, 400);
  assert.match((await call('GET', `/images/web:1/json?manifests=1&platform=${arm}`)).json().message, /cannot both be set/);
  const created = await call('POST', '/containers/create?platform=linux/arm64', { Image: 'web:1' });
  assert.deepEqual([created.status, created.json().code], [404, 'IMAGE_PLATFORM_MISMATCH']);
  assert.equal((await call('POST', '/containers/create?platform=a/b/c/d', { Image: 'web:1' })).status, 400);
});

test('tags are checked before they are given', async (t) => {
  const tagged: string[] = [];
  const call = client(t, { store: store({ tag: async (reference) => void tagged.push(reference) }) });
  assert.equal((await call('POST', '/images/web:1/tag?repo=ghcr.io/acme/web&tag=v2')).status, 201);
  assert.equal((await call('POST', '/images/web:1/tag?repo=localhost:5000/web')).status, 201);
  assert.deepEqual(tagged, ['ghcr.io/acme/web:v2', 'localhost:5000/web:latest']);
  for (const query of ['', 'repo=Web', 'repo=web&tag=a b', 'repo=sha256', `repo=web@sha256:${'1'.repeat(64)}`]) {
    assert.equal((await call('POST', `/images/web:1/tag?${query.replace(' ', '%20')}`)).status, 400, query);
  }
  assert.equal((await call('POST', '/images/nope/tag?repo=web')).status, 404);
  assert.equal((await call('DELETE', '/images/%20')).json().message, 'image name cannot be blank');
});

test('prune takes what no container uses and tells how much came free', async (t) => {
  const removed: string[] = [];
  const used = containerRecord({ image: { id: fresh.id, reference: 'db:2', tree: fresh.tree } });
  const services = {
    store: store({ untag: async () => true, remove: async (id) => void removed.push(id) }),
    containers: partial<Containers>('containers', { list: async () => [used] }),
  };
  const call = client(t, services);
  assert.deepEqual((await call('POST', '/images/prune')).json(), { ImagesDeleted: [{ Deleted: nameless.id }], SpaceReclaimed: 1000 });
  const all = await call('POST', `/images/prune?${filtersOf({ dangling: ['0'], 'label!': ['x'] })}`);
  assert.deepEqual(all.json().ImagesDeleted.slice(0, 3), [{ Untagged: 'web:1' }, { Untagged: 'ghcr.io/acme/web:1' }, { Deleted: old.id }]);
  assert.deepEqual(removed, [nameless.id, old.id, nameless.id]);
});

test('an import takes its name, changes, message and platform; what would have to be downloaded is refused', async (t) => {
  const asked: unknown[] = [];
  const archives = partial<Archives>('archives', {
    importRoot: async (_file, { signal: _, ...options }) => {
      asked.push(options);
      return fresh;
    },
  });
  const call = client(t, { archives });
  const tar = { 'content-type': 'application/x-tar' };
  const done = await call(
    'POST',
    '/images/create?fromSrc=-&repo=db&tag=3&message=hi&changes=CMD%20x&changes=ENV%20A=b&platform=linux/arm/v7',
    'tar',
    tar,
  );
  assert.equal(done.body, `{"status":"${fresh.id}"}\r\n`);
  assert.deepEqual(asked[0], {
    reference: 'db:3',
    changes: ['CMD x', 'ENV A=b'],
    message: 'hi',
    platform: { architecture: 'arm', variant: 'v7' },
  });
  for (const [query, status] of [
    ['fromSrc=http://x/y.tar', 501],
    ['', 501],
    ['fromSrc=-&platform=windows/amd64', 400],
    ['fromSrc=-&repo=Web', 400],
  ] as const) {
    assert.equal((await call('POST', `/images/create?${query}`, 'tar', tar)).status, status, query);
  }
});

test('a commit lays the body over the container, applies the changes, and is told', async (t) => {
  const made: Parameters<Images['create']>[0][] = [];
  const paused: string[] = [];
  const state = { status: 'running', pid: 7, startedAtMs: 0, paused: false } as const;
  const config = { Image: 'web:1', Env: ['A=1', 'B=2'], Cmd: ['run'], Entrypoint: ['/init'], Labels: { tier: 'front' }, User: 'app' };
  const container = containerRecord({ state, config, image: { id: old.id, reference: 'web:1', tree: old.tree } });
  const containers = partial<Containers>('containers', {
    get: async () => container,
    pause: async () => void paused.push('pause'),
    unpause: async () => void paused.push('unpause'),
  });
  const events = new EventBus();
  const call = client(t, {
    events,
    containers,
    snapshotter: {
      ...partial<Snapshotter>('snapshotter', { capture: async () => ({ id: old.tree, content: old.treeContent }) }),
      name: 'fake',
    },
    store: store({
      create: async (image) => {
        made.push(image);
        return fresh;
      },
      tag: async () => {},
    }),
  });
  const changes = ['ENV A=9', 'LABEL zone=b', 'EXPOSE 80'].map((change) => `changes=${encodeURIComponent(change)}`).join('&');
  const done = await call('POST', `/commit?container=web&repo=made&tag=2&author=me&comment=why&${changes}`);
  assert.deepEqual([done.status, done.json()], [201, { Id: fresh.id }]);
  assert.deepEqual(paused, ['pause', 'unpause']);
  assert.deepEqual([made[0]?.config.author, made[0]?.history?.at(-1)?.comment, made[0]?.history?.at(-1)?.author], ['me', 'why', 'me']);
  const { Env, Labels, ExposedPorts, Cmd, Entrypoint, User } = made[0]?.config.config ?? {};
  assert.deepEqual([Env, Labels, ExposedPorts], [['A=9', 'B=2'], { tier: 'front', zone: 'b' }, { '80/tcp': {} }]);
  assert.deepEqual([Cmd, Entrypoint, User], [['run'], ['/init'], 'app']);

  await call('POST', '/commit?container=web&pause=0', { Entrypoint: ['/other'], Env: ['C=3'] });
  assert.deepEqual(paused.length, 2);
  assert.deepEqual([made[1]?.config.config?.Cmd, made[1]?.config.config?.Env], [null, ['C=3', 'A=1', 'B=2']]);
  assert.equal((await call('POST', '/commit?container=web&changes=FROM%20x')).status, 400);
  assert.equal((await call('POST', '/commit?container=web&repo=Bad')).status, 400);
  const told: string[] = [];
  for await (const { message } of events.read({
    sinceNs: 0n,
    untilNs: BigInt(Date.now()) * 1_000_000n + 2_000_000n,
    signal: AbortSignal.timeout(1000),
  })) {
    told.push(`${message.Type} ${message.Action}`);
  }
  assert.deepEqual(told, ['image create', 'image tag', 'container commit', 'image create', 'container commit']);
});

test('a build that has an id can be cancelled; what it asks for and does not get is said', async (t) => {
  const signals: AbortSignal[] = [];
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const builder: Builder = {
    build: async (_request: BuildRequest, { onEvent, signal }) => {
      onEvent({ kind: 'output', vertex: 'v', stream: 'stdout', data: Buffer.from('step') });
      signals.push(signal as AbortSignal);
      begin();
      await new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
      throw new Error('not reached');
    },
  };
  const call = client(t, { builder });
  const building = call('POST', '/build?buildid=b1&squash=1&memory=5&pull=0&cachefrom=%5B%5D', '', { 'content-type': 'application/x-tar' });
  await begun;
  assert.equal((await call('POST', '/build/cancel?id=other')).status, 200);
  assert.equal(signals[0]?.aborted, false);
  assert.equal((await call('POST', '/build/cancel?id=b1')).status, 200);
  const { body } = await building;
  assert.match(body, /\[Warning\] the parameter \\"squash\\" has no effect/);
  assert.doesNotMatch(body, /"pull|cachefrom|memory/);
  assert.match(body, /"error":"the build was cancelled"/);
  assert.equal((await call('POST', '/build/cancel')).json().message, 'build ID not provided');
  for (const [query, status] of [
    ['securityopt=x', 400],
    ['isolation=hyperv', 400],
    ['version=3', 400],
    ['extrahosts=a:no-address', 400],
    ['cpuquota=much', 400],
    ['ulimits=%5B%7B%7D%5D', 400],
    ['outputs=%5B%7B%7D%5D', 501],
  ] as const) {
    assert.equal((await call('POST', `/build?${query}`)).status, status, query);
  }
  assert.deepEqual((await call('POST', '/build/prune?keep-storage=5')).json(), { CachesDeleted: null, SpaceReclaimed: 0 });
  assert.match((await call('POST', '/build/prune?keep-storage=much')).json().message, /keep-storage is in bytes and expects an integer/);
});
