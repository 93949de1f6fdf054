import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { buildApp } from '../../src/api/app.ts';
import { adaptCreate } from '../../src/api/create-request.ts';
import { Filters } from '../../src/api/filters.ts';
import { FrameDecoder, frame } from '../../src/api/framing.ts';
import { matchesReference } from '../../src/api/image-list.ts';
import { linearPattern } from '../../src/api/pattern.ts';
import { decodePlatform, parsePlatform } from '../../src/api/platform.ts';
import { Query } from '../../src/api/query.ts';
import { decodeRegistryAuth } from '../../src/api/registry-auth.ts';
import { createContainer, ignoredFields } from '../../src/api/schemas/container.ts';
import { WebSocketDecoder } from '../../src/api/websocket/frames.ts';
import type { FrameStream } from '../../src/api-types/own.ts';
import { EngineError } from '../../src/base/errors.ts';
import type { Networks } from '../../src/network/port.ts';
import type { Images, Trees } from '../../src/store/port.ts';
import type { Archives } from '../../src/transport/port.ts';
import { registryAddress } from '../../src/transport/registry/address.ts';
import { parseChallenges } from '../../src/transport/registry/challenge.ts';
import type { Volumes } from '../../src/volumes/port.ts';
import { FakeContainers, fakeServices, partial } from '../integration/api-fakes.ts';

/** No request brings the daemon down, or makes it answer 500: what a client sends wrong is the client's mistake. */

const methods = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS'] as const;
const versions = ['', '/v1.24', '/v1.29', '/v1.41', '/v1.43', '/v1.50', '/v9.9', '/v1', '/v1.41.1', '/vv'];
const names = ['web', 'nope', '..', '%2e%2e', 'a%00b', '%', 'ü', ' ', 'x'.repeat(2000), 'ghcr.io/a/b:1', 'sha256:1', 'c'.repeat(64), ''];
const families: Record<string, string[]> = {
  '/containers': [
    '/json',
    '/create',
    '/prune',
    '/NAME',
    ...['json', 'start', 'stop', 'kill', 'restart', 'pause', 'unpause', 'rename', 'update', 'wait', 'top', 'stats', 'logs', 'resize'].map(
      verb,
    ),
    ...['attach', 'attach/ws', 'exec', 'archive', 'changes', 'export', 'checkpoints'].map(verb),
  ],
  '/images': [
    '/json',
    '/create',
    '/load',
    '/get',
    '/prune',
    '/search',
    '/NAME',
    ...['json', 'history', 'tag', 'push', 'get', 'bogus/x'].map(verb),
  ],
  '/networks': ['', '/create', '/prune', '/NAME', '/NAME/connect', '/NAME/disconnect'],
  '/volumes': ['', '/create', '/prune', '/NAME'],
  '/exec': ['/NAME/json', '/NAME/start', '/NAME/resize'],
  '/plugins': ['', '/pull', '/NAME', '/NAME/json', '/NAME/enable'],
  '': [
    '/_ping',
    '/info',
    '/version',
    '/events',
    '/system/df',
    '/auth',
    '/commit',
    '/build',
    '/build/prune',
    '/build/cancel',
    '//',
    '/metrics',
  ],
  '/swarm': ['', '/init', '/leave', '/NAME'],
  '/services': ['', '/NAME', '/NAME/update'],
  '/distribution': ['/NAME/json', '/NAME'],
  '/slipway': ['/trees/NAME/tar', '/df', '/run', '/bootstrap', '/diff'],
};
const parameters = [
  'filters',
  't',
  'signal',
  'h',
  'w',
  'since',
  'until',
  'tail',
  'stdout',
  'condition',
  'path',
  'buildargs',
  'limit',
  'all',
  'size',
];
const moreParameters = [
  'name',
  'platform',
  'platforms',
  'type',
  'stream',
  'one-shot',
  'fromImage',
  'fromSrc',
  'repo',
  'tag',
  'changes',
  'detachKeys',
  'names',
  'id',
];
const fields = [
  'Image',
  'HostConfig',
  'Memory',
  'Mounts',
  'PortBindings',
  'NetworkingConfig',
  'Env',
  'Cmd',
  'Container',
  'EndpointConfig',
  'Name',
  'IPAM',
  'Config',
];
const headers = ['upgrade', 'x-registry-auth', 'x-registry-config', 'x-slipway-context', 'accept', 'sec-websocket-key'];

function verb(name: string): string {
  return `/NAME/${name}`;
}

const path = fc
  .tuple(
    fc.constantFrom(...versions),
    fc.constantFrom(...Object.entries(families).flatMap(([family, tails]) => tails.map((tail) => family + tail))),
    fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: fc.string().map(encodeURIComponent) }),
  )
  .map(([version, route, name]) => version + route.replace('NAME', name));
const filters = fc.dictionary(
  fc.constantFrom('label', 'name', 'status', 'until', 'dangling', 'id', 'type', 'exited', 'publish', 'reference', 'x'),
  fc.oneof(fc.array(fc.string(), { maxLength: 3 }), fc.jsonValue()),
);
const value = fc.oneof(
  fc.string(),
  fc.json(),
  fc.integer().map(String),
  fc.constantFrom('', '1', '0', 'true', '2024-01-01', '1h', '-1'),
  filters.map((given) => JSON.stringify(given)),
);
const query = fc.array(fc.tuple(fc.constantFrom(...parameters, ...moreParameters), value), { maxLength: 4 });
/** Objects whose fields have names that mean something, and values that may not. */
const tree = fc.letrec((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    fc.jsonValue(),
    fc.dictionary(fc.constantFrom(...fields, '__proto__'), tie('node'), { maxKeys: 5 }),
    fc.array(tie('node'), { maxLength: 3 }),
  ),
})).node;
const request = fc.record({
  method: fc.constantFrom(...methods),
  path,
  query: query.map((pairs) =>
    pairs.map(([name, given]) => `${encodeURIComponent(name)}=${encodeURIComponent(given.toWellFormed())}`).join('&'),
  ),
  body: fc.oneof(
    fc.constant(undefined),
    fc.string(),
    fc.json(),
    tree.map((given) => JSON.stringify(given)),
  ),
  type: fc.constantFrom('application/json', 'application/json', 'text/plain', 'application/x-tar', 'application/json; charset=x'),
  extra: fc.dictionary(
    fc.constantFrom(...headers),
    fc.oneof(fc.base64String(), fc.constantFrom('tcp', 'websocket', 'slipway-run', '{', '%%')),
  ),
});

test('requests of any shape get an answer with a message, and never a 500', async () => {
  const containers = new FakeContainers();
  // Followed streams would not end by themselves.
  containers.process.end();
  const missing = async (name: string): Promise<never> => {
    throw new EngineError('NotFound', 'NOT_FOUND', `there is no ${name}`);
  };
  const services = fakeServices({
    containers: containers.port(),
    store: {
      ...fakeServices().store,
      images: partial<Images>('images', { list: async () => [], resolve: missing }),
      trees: partial<Trees>('trees', { get: missing }),
    },
    networks: partial<Networks>('networks', { list: async () => [], get: missing, create: async ({ name }) => missing(name) }),
    volumes: partial<Volumes>('volumes', {
      list: async () => [],
      get: missing,
      drivers: () => ['local'],
      create: async ({ name }) => missing(name ?? 'volume'),
    }),
    archives: partial<Archives>('archives', { load: missing, importRoot: missing }),
    builder: { build: async () => missing('Dockerfile') },
    registries: { login: async () => missing('registry') },
    jobs: { run: missing },
  });
  services.stop();
  const app = buildApp(services);
  const isReal = (status: number, code: string) =>
    status < 500 || [501, 503].includes(status) || ['NOT_FAKED', 'REGISTRY_UNSUPPORTED', 'REFERENCE_INVALID'].includes(code);
  await fc.assert(
    fc.asyncProperty(request, async ({ method, path, query, body, type, extra }) => {
      const payload = body === undefined ? {} : { payload: body };
      const heads = { ...(body === undefined ? {} : { 'content-type': type }), ...extra };
      // What leaves HTTP cannot be seen here; test/integration/api-streams.test.ts and api-websocket.test.ts do.
      if (/\/(attach|start)(\/ws)?$/.test(path) && path.includes('/web')) return;
      const answer = await app.inject({ method, url: `${path}?${query}`, headers: heads, ...payload });
      if (answer.statusCode < 400 || method === 'HEAD' || String(answer.headers['content-type']).startsWith('text/plain')) return;
      const told = JSON.parse(answer.body) as { message: string; code: string };
      assert.equal(typeof told.message, 'string');
      assert.ok(isReal(answer.statusCode, told.code), `${method} ${path}?${query}: ${answer.body}`);
    }),
    { numRuns: 2000, interruptAfterTimeLimit: 4500 },
  );
  await app.close();
});

test('create requests of any shape are read or refused by the name of a field, for every version', () => {
  fc.assert(
    fc.property(tree, fc.constantFrom('1.24', '1.39', '1.41', '1.43', '1.44', '1.47', '1.50'), (body, version) => {
      try {
        adaptCreate(createContainer(body, ''), { version, cgroupVersion: '1' });
        ignoredFields(body);
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        assert.ok(code !== undefined && /^[A-Z_]+$/.test(code), `${message}: ${JSON.stringify(body)}`);
      }
    }),
    { numRuns: 2000, interruptAfterTimeLimit: 2000 },
  );
  assert.equal(({} as Record<string, unknown>).Image, undefined);
});

test('times, durations, platforms, challenges and WebSocket frames of any text are read or refused', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.stringMatching(/^[0-9TZ:.+-]{0,40}$/),
    fc.stringMatching(/^[a-z0-9/{}":,= ]{0,80}$/),
  );
  const refuses = (run: () => unknown, codes: string[]) => {
    try {
      run();
    } catch (error) {
      assert.ok(codes.includes((error as { code: string }).code), String(error));
    }
  };
  fc.assert(
    fc.property(text, fc.uint8Array({ maxLength: 200 }), (given, bytes) => {
      refuses(() => new Query({ since: given }).timeNs('since'), ['PARAMETER_INVALID']);
      refuses(() => Filters.parse(new Query({ filters: given }), ['label']).labels({}), ['FILTER_INVALID', 'PARAMETER_INVALID']);
      refuses(() => parsePlatform(given), ['PLATFORM_INVALID']);
      refuses(() => decodePlatform(given), ['PLATFORM_INVALID']);
      parseChallenges(given);
      refuses(() => registryAddress(given), ['REGISTRY_ADDRESS_INVALID']);
      decodeRegistryAuth(given);
      matchesReference(given, 'docker.io/library/web:1');
      linearPattern(given)?.test('web');
      refuses(() => new WebSocketDecoder().push(Buffer.from(bytes)), ['FRAME_INVALID']);
    }),
    { numRuns: 2000, interruptAfterTimeLimit: 3000 },
  );
});

test('frames survive any cut, and garbage is refused or waits for more', () => {
  const pieces = fc.array(fc.tuple(fc.constantFrom<FrameStream>(0, 3), fc.uint8Array({ maxLength: 50 })));
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 20 }), (sent, size) => {
      const bytes = Buffer.concat(sent.map(([stream, payload]) => frame(stream, payload)));
      const decoder = new FrameDecoder(() => 50);
      const received: [number, number[]][] = [];
      for (let at = 0; at < bytes.length; at += size) {
        for (const { stream, payload } of decoder.push(bytes.subarray(at, at + size))) received.push([stream, [...payload]]);
      }
      assert.deepEqual(
        received,
        sent.map(([stream, payload]) => [stream, [...payload]]),
      );
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        new FrameDecoder((stream) => (stream === 0 || stream === 3 ? 100 : undefined)).push(Buffer.from(bytes));
      } catch (error) {
        assert.equal((error as { code: string }).code, 'FRAME_INVALID');
      }
    }),
    { numRuns: 300 },
  );
});
