import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventBus } from '../../src/api/event-bus.ts';
import type { Services } from '../../src/api/services.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { canonical } from '../../src/oci/reference.ts';
import type { ImageRecord, Images } from '../../src/store/port.ts';
import type { CopyRequest, PullRequest, PushRequest, Transfers } from '../../src/transport/port.ts';
import { client } from './api-client.ts';
import { fakeServices, partial } from './api-fakes.ts';

const digest = `sha256:${'d'.repeat(64)}` as Digest;
const other = `sha256:${'e'.repeat(64)}` as Digest;
const image: ImageRecord = {
  id: `sha256:${'1'.repeat(64)}` as Digest,
  config: { architecture: 'amd64', os: 'linux', config: { Labels: { tier: 'back' } } },
  tree: '7'.repeat(64) as ImageRecord['tree'],
  treeContent: '8'.repeat(64) as ImageRecord['treeContent'],
  history: [],
  sizeBytes: 1000,
  createdAtMs: 1,
};
const referencesOfImage = ['ghcr.io/acme/web:1', 'ghcr.io/acme/web:2', `ghcr.io/acme/web@${digest}`, 'docker.io/library/web:1'];

function services(transfers: Partial<Transfers>, images: Partial<Images> = {}): Partial<Services> {
  const known = partial<Images>('images', {
    list: async () => [{ record: image, references: referencesOfImage, lastUsedAtMs: 0 }],
    references: async () => referencesOfImage,
    resolve: async (name) => {
      if (referencesOfImage.includes(name)) return image;
      throw new EngineError('NotFound', 'IMAGE_NOT_FOUND', `No such image: ${name}`);
    },
    ...images,
  });
  return {
    store: { ...fakeServices().store, images: known },
    transfers: partial<Transfers>('transfers', transfers),
    events: new EventBus(),
  };
}

const lines = (body: string) =>
  body
    .split('\r\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

test('a pull streams what Docker’s clients expect, and is told', async (t) => {
  const asked: PullRequest[] = [];
  const change = services({
    pull: async (request, options) => {
      asked.push(request);
      options?.onProgress?.({ id: 'aabbccddeeff', status: 'Pulling fs layer' });
      for (let current = 1; current <= 1000; current++)
        options?.onProgress?.({ id: 'aabbccddeeff', status: 'Downloading', current, total: 1000 });
      options?.onProgress?.({ id: 'aabbccddeeff', status: 'Pull complete' });
      return { image, reference: request.reference, digest, changed: true, bytesReceived: 1000 };
    },
  });
  const call = client(t, change);
  const auth = { username: 'me', password: 'x', serveraddress: 'ghcr.io' };
  const answer = await call('POST', '/images/create?fromImage=ghcr.io/acme/web&tag=2&platform=linux/arm64', undefined, {
    'x-registry-auth': encode(auth),
  });
  assert.equal(answer.status, 200);
  assert.deepEqual(
    [canonical(asked[0]?.reference as never), asked[0]?.platform, asked[0]?.auth],
    ['ghcr.io/acme/web:2', { os: 'linux', architecture: 'arm64' }, auth],
  );
  const stream = lines(answer.body);
  assert.deepEqual(stream.slice(0, 2), [
    { status: 'Pulling from acme/web', id: '2' },
    { status: 'Pulling fs layer', progressDetail: {}, id: 'aabbccddeeff' },
  ]);
  assert.deepEqual(stream.slice(-4), [
    {
      status: 'Downloading',
      progressDetail: { current: 1000, total: 1000 },
      progress: `[${'='.repeat(50)}>]      1kB/1kB`,
      id: 'aabbccddeeff',
    },
    { status: 'Pull complete', progressDetail: {}, id: 'aabbccddeeff' },
    { status: `Digest: ${digest}` },
    { status: 'Status: Downloaded newer image for ghcr.io/acme/web:2' },
  ]);
  assert.ok(stream.length < 12, `${stream.length} lines for a thousand steps`);
  const told = [];
  for await (const { message } of (change.events as EventBus).read({
    sinceNs: 0n,
    untilNs: BigInt(Date.now()) * 1_000_000n + 5_000_000n,
    signal: AbortSignal.timeout(1000),
  })) {
    told.push([message.Action, message.Actor.ID, message.Actor.Attributes]);
  }
  assert.deepEqual(told, [['pull', 'ghcr.io/acme/web:2', { name: 'ghcr.io/acme/web', tier: 'back' }]]);
});

test('without tag and digest every tag is pulled, but those that belong to signatures', async (t) => {
  const asked: string[] = [];
  const call = client(
    t,
    services({
      tags: async () => ['1', '2', `sha256-${'a'.repeat(64)}`, `sha256-${'a'.repeat(64)}.sig`],
      pull: async ({ reference }) => {
        asked.push(canonical(reference));
        return { image, reference, digest, changed: false, bytesReceived: 0 };
      },
    }),
  );
  const answer = await call('POST', '/images/create?fromImage=ghcr.io/acme/web');
  assert.deepEqual(asked, ['ghcr.io/acme/web:1', 'ghcr.io/acme/web:2']);
  assert.deepEqual(lines(answer.body).at(-1), { status: 'Status: Image is up to date for ghcr.io/acme/web' });
  await call('POST', `/images/create?fromImage=ghcr.io/acme/web&tag=${digest}`);
  assert.equal(asked.at(-1), `ghcr.io/acme/web@${digest}`);
});

test('a pull that fails before anything came has a status; later the stream says it', async (t) => {
  let failure = new EngineError('NotFound', 'MANIFEST_UNKNOWN', 'manifest for web:1 not found: manifest unknown');
  let begun = false;
  const call = client(
    t,
    services({
      pull: async (_request, options) => {
        if (begun) options?.onProgress?.({ id: 'a', status: 'Downloading' });
        throw failure;
      },
    }),
  );
  const status = async (error: EngineError, headers: Record<string, string> = {}) => {
    failure = error;
    const answer = await call('POST', '/images/create?fromImage=web&tag=1', undefined, headers);
    return [answer.status, answer.json().message];
  };
  const denied = "pull access denied for web, repository does not exist or may require 'docker login': denied: no";
  const credentials = { 'x-registry-auth': encode({ username: 'me', password: 'x' }) };
  assert.deepEqual(await status(failure), [404, failure.message]);
  assert.deepEqual(await status(new EngineError('Denied', 'DENIED', denied)), [404, denied]);
  assert.deepEqual(await status(new EngineError('Denied', 'UNAUTHORIZED', denied)), [404, denied]);
  assert.deepEqual(await status(new EngineError('Denied', 'UNAUTHORIZED', denied), credentials), [500, denied]);
  assert.deepEqual(await status(new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', 'Get "https://x": refused')), [
    500,
    'Get "https://x": refused',
  ]);
  assert.deepEqual(await status(new EngineError('Denied', 'IMAGE_REFUSED', 'not signed')), [403, 'not signed']);
  begun = true;
  const answer = await call('POST', '/images/create?fromImage=web&tag=1');
  assert.equal(answer.status, 200);
  assert.deepEqual(lines(answer.body).at(-1), { errorDetail: { message: 'not signed' }, error: 'not signed' });
  const own = await call('POST', '/images/create?fromImage=web&tag=1&slipway=1');
  assert.match(JSON.stringify(lines(own.body).at(-1)), /"errorDetail":\{"kind":"Denied","code":"IMAGE_REFUSED"/);
  assert.equal((await call('POST', '/images/create?fromImage=Bad')).status, 400);
  assert.equal((await call('POST', '/images/create?fromImage=web&platform=a/b/c/d')).status, 400);
});

test('a push says what went where, as Docker does; Slipway’s own parameters are checked', async (t) => {
  const asked: PushRequest[] = [];
  const change = services({
    push: async (request, options) => {
      asked.push(request);
      options?.onProgress?.({ id: 'aabbccddeeff', status: 'Pushing', current: 5, total: 10 });
      options?.onProgress?.({ id: 'aabbccddeeff', status: 'Pushed' });
      const manifest = { mediaType: 'm', digest: other, size: 405 };
      return { digest, manifest, sizeBytes: 10, bytesSent: 7, explanation: ['because'] };
    },
  });
  const call = client(t, change);
  const one = await call('POST', '/images/ghcr.io/acme/web/push?tag=2', undefined, { 'x-registry-auth': 'not base64!' });
  assert.deepEqual(lines(one.body), [
    { status: 'The push refers to repository [ghcr.io/acme/web]' },
    {
      status: 'Pushing',
      progressDetail: { current: 5, total: 10 },
      progress: `[${'='.repeat(25)}>${' '.repeat(25)}]       5B/10B`,
      id: 'aabbccddeeff',
    },
    { status: 'Pushed', progressDetail: {}, id: 'aabbccddeeff' },
    { status: `2: digest: ${digest} size: 405` },
    { progressDetail: {}, aux: { Tag: '2', Digest: digest, Size: 405 } },
  ]);
  assert.deepEqual(
    [asked[0]?.form, asked[0]?.layers, asked[0]?.compression, asked[0]?.explainOnly, asked[0]?.auth],
    [undefined, undefined, undefined, false, undefined],
  );
  await call('POST', '/images/ghcr.io/acme/web/push');
  assert.deepEqual(
    asked.slice(1).map(({ reference }) => reference.tag),
    ['1', '2'],
    'every tag that is here',
  );
  const groups = JSON.stringify([{ name: 'modules', patterns: ['app/node_modules'] }]);
  const own = await call('POST', `/images/web/push?tag=1&slipway=1&format=oci&compression=zstd&layers=${encodeURIComponent(groups)}`);
  assert.deepEqual(
    [asked.at(-1)?.form, asked.at(-1)?.compression, asked.at(-1)?.layers],
    ['oci', 'zstd', { kind: 'groups', groups: [{ name: 'modules', patterns: ['app/node_modules'] }] }],
  );
  assert.deepEqual(lines(own.body).at(-1)?.aux, {
    Tag: '1',
    Digest: digest,
    Size: 405,
    Reference: 'web:1',
    ImageBytes: 10,
    BytesSent: 7,
    Explanation: ['because'],
  });
  const explained = await call('POST', '/images/web/push?tag=1&explain=1');
  assert.deepEqual(lines(explained.body).at(-1), { status: 'because' });
  for (const wrong of [
    'format=docker',
    'compression=xz',
    'layers=many',
    'layers=[]',
    'layers=[{"name":"a/b","patterns":["x"]}]',
    `tag=${digest}`,
    'layers=[{"name":"a"}]',
  ]) {
    assert.equal((await call('POST', `/images/web/push?${wrong}`)).status, 400, wrong);
  }
  const missing = await call('POST', '/images/other/push?tag=1');
  assert.equal(missing.status, 200);
  assert.equal(lines(missing.body).at(-1)?.error, 'An image does not exist locally with the tag: other');
});

test('a registry is asked what a tag names, which tags there are, and what it can find', async (t) => {
  let failure: EngineError | undefined;
  const call = client(t, {
    ...services({
      inspect: async () => {
        if (failure !== undefined) throw failure;
        return {
          descriptor: { mediaType: 'm', digest, size: 5, annotations: { x: 'y' } },
          platforms: [{ os: 'linux', architecture: 'amd64' }],
        };
      },
      tags: async ({ path }) => [path, 'latest'],
    }),
    searchImages: async (term, { limit }) => [
      { name: term, description: String(limit), stars: 5, official: true, automated: false },
      { name: `me/${term}`, description: '', stars: 1, official: false, automated: false },
    ],
  });
  const found = await call('GET', '/distribution/ghcr.io/acme/app:2/json');
  assert.deepEqual(found.json(), { Descriptor: { mediaType: 'm', digest, size: 5 }, Platforms: [{ os: 'linux', architecture: 'amd64' }] });
  for (const [kind, code, status] of [
    ['Denied', 'UNAUTHORIZED', 401],
    ['Denied', 'DENIED', 403],
    ['NotFound', 'MANIFEST_UNKNOWN', 404],
    ['Unavailable', 'REGISTRY_UNREACHABLE', 500],
  ] as const) {
    failure = new EngineError(kind, code, 'no');
    assert.equal((await call('GET', '/distribution/web/json')).status, status, code);
  }
  assert.equal((await call('GET', `/distribution/${'1'.repeat(64)}/json`)).json().message, 'no manifest found for full image ID');
  assert.deepEqual((await call('GET', '/slipway/tags?name=web:7')).json(), {
    repository: 'docker.io/library/web',
    tags: ['library/web', 'latest'],
  });
  const search = async (query: string) => (await call('GET', `/images/search?${query}`)).json() as { name: string; description: string }[];
  assert.deepEqual((await search('term=x'))[0], { star_count: 5, is_official: true, name: 'x', is_automated: false, description: '25' });
  assert.deepEqual(
    (await search(`term=x&limit=3&filters=${encodeURIComponent('{"stars":["2"]}')}`)).map(({ name, description }) => [name, description]),
    [['x', '3']],
  );
  assert.deepEqual(
    (await search(`term=x&filters=${encodeURIComponent('{"is-official":["false"]}')}`)).map(({ name }) => name),
    ['me/x'],
  );
  for (const wrong of ['limit=-1&term=x', 'limit=101&term=x', ''])
    assert.equal((await call('GET', `/images/search?${wrong}`)).status, 400, wrong);
});

test('a copy takes the credentials of both registries', async (t) => {
  const asked: CopyRequest[] = [];
  const call = client(
    t,
    services({
      copy: async (request, options) => {
        asked.push(request);
        options?.onProgress?.({ id: 'a', status: 'Copying', current: 1, total: 2 });
        return { digest, bytesSent: 2 };
      },
    }),
  );
  const auths = encode({
    'https://index.docker.io/v1/': { username: 'hub', password: 'x' },
    'ghcr.io': { username: 'git', password: 'y' },
    broken: 5,
  });
  const body = { from: 'debian:12', to: 'ghcr.io/acme/debian', platform: 'linux/arm64', referrers: false };
  const answer = await call('POST', '/slipway/copy', body, { 'x-registry-config': auths });
  assert.deepEqual(
    answer.body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [
      { kind: 'progress', id: 'a', status: 'Copying', current: 1, total: 2 },
      { kind: 'result', digest, bytesSent: 2 },
    ],
  );
  const [copy] = asked;
  assert.deepEqual(
    [copy?.fromAuth?.username, copy?.toAuth?.username, copy?.platform, copy?.referrers, copy === undefined ? '' : canonical(copy.to)],
    ['hub', 'git', { os: 'linux', architecture: 'arm64' }, false, 'ghcr.io/acme/debian:latest'],
  );
  for (const wrong of [{ from: 'a' }, { from: 'a', to: `b@${digest}` }, { from: 'A', to: 'b' }])
    assert.equal((await call('POST', '/slipway/copy', wrong)).status, 400);
});

test('digests are shown as such, and go with the last tag of their repository', async (t) => {
  let references = ['docker.io/library/web:1', `docker.io/library/web@${digest}`, 'ghcr.io/acme/web:1', `ghcr.io/acme/web@${other}`];
  const removed: string[] = [];
  const change = services(
    {},
    {
      list: async () => [{ record: image, references, lastUsedAtMs: 0 }],
      references: async () => references,
      resolve: async () => image,
      untag: async (reference) => {
        removed.push(reference);
        references = references.filter((each) => each !== reference);
        return true;
      },
      remove: async () => {},
    },
  );
  const call = client(t, { ...change, containers: partial<Services['containers']>('containers', { list: async () => [] }) });
  const [row] = (await call('GET', '/images/json')).json();
  assert.deepEqual(
    [row.RepoTags, row.RepoDigests],
    [
      ['ghcr.io/acme/web:1', 'web:1'],
      [`ghcr.io/acme/web@${other}`, `web@${digest}`],
    ],
  );
  assert.deepEqual((await call('DELETE', '/images/ghcr.io/acme/web:1')).json(), [
    { Untagged: 'ghcr.io/acme/web:1' },
    { Untagged: `ghcr.io/acme/web@${other}` },
  ]);
  // One tag and the digest of its repository are one name: the id alone removes all.
  assert.deepEqual((await call('DELETE', `/images/${image.id}`)).json(), [
    { Untagged: 'web:1' },
    { Untagged: `web@${digest}` },
    { Deleted: image.id },
  ]);
  references = [`docker.io/library/web@${digest}`];
  assert.equal(
    (await call('GET', `/images/json?filters=${encodeURIComponent('{"dangling":["true"]}')}`)).json().length,
    1,
    'a digest is no tag',
  );
});
