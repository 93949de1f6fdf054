import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import type { Builder } from '../../src/build/port.ts';
import type { Containers } from '../../src/runtime/port.ts';
import type { Transfers } from '../../src/transport/port.ts';
import { client } from './api-client.ts';
import { FakeContainers, partial } from './api-fakes.ts';
import { Client, serve } from './api-serve.ts';

const create = ['POST /containers/create HTTP/1.1', 'Host: x', 'Content-Type: application/json'];
const statusOf = ({ received }: Client) => Number(/^HTTP\/1\.1 (\d+)/.exec(received.toString())?.[1]);
const told = (reader: Client) => JSON.parse(reader.body.toString()) as { message: string; code: string };

test('a body that comes too slowly is refused, and its connection closed', async (t) => {
  const { path } = await serve(t, {}, { json: { timeoutMs: 1_000 } });
  const slow = new Client(path);
  slow.send([...create, 'Content-Length: 100'], '{"Image"');
  // Not beyond the time that it has: what is written to a closed connection takes the answer with it.
  const started = performance.now();
  const dribble = setInterval(() => performance.now() - started < 250 && slow.socket.write(' '), 50);
  t.after(() => clearInterval(dribble));
  await slow.ended;
  assert.deepEqual([statusOf(slow), told(slow).code], [408, 'BODY_TOO_SLOW']);
  assert.match(slow.received.toString(), /\r\nconnection: close\r\n/i);
  slow.socket.destroy();
});

test('a body that is larger than allowed is refused before it is sent, or while it is', async (t) => {
  const { path } = await serve(t, {}, { json: { maxBytes: 1000 } });
  const announced = new Client(path);
  announced.send([...create, 'Content-Length: 1001', 'Connection: close'], Buffer.alloc(1001, ' '));
  await announced.ended;
  assert.deepEqual([statusOf(announced), told(announced).code], [413, 'BODY_TOO_LARGE']);
  const chunked = new Client(path);
  chunked.send([...create, 'Transfer-Encoding: chunked', 'Connection: close'], `7d0\r\n${' '.repeat(2000)}\r\n0\r\n\r\n`);
  await chunked.ended;
  assert.equal(statusOf(chunked), 413);
});

test('a client that breaks off in its body leaves the daemon serving others', async (t) => {
  const { path } = await serve(t, { containers: new FakeContainers().port() });
  const cut = new Client(path);
  cut.send([...create, 'Content-Length: 100'], '{"Image"');
  await new Promise((resolve) => setTimeout(resolve, 50));
  cut.socket.destroy();
  await once(cut.socket, 'close');
  const next = new Client(path);
  next.send(['GET /containers/web/json HTTP/1.1', 'Host: x', 'Connection: close']);
  await next.ended;
  assert.equal(statusOf(next), 200);
});

test('what a body repeats counts as it was said last; nesting has no bottom that it could break through', async (t) => {
  const containers = new FakeContainers();
  const call = client(t, { containers: containers.port() });
  assert.equal((await call('POST', '/containers/create', '{"Image": "a", "image": "b", "Image": "c"}')).status, 201);
  assert.equal(containers.created[0]?.request.Image, 'c');
  const deep = `{"Image":"a","Labels":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`;
  assert.match((await call('POST', '/containers/create', deep)).json().message, /^Labels\.a must be a string/);
  const wide = await call('POST', '/containers/create', {
    Image: 'a',
    ...Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`F${i}`, 1])),
  });
  assert.equal(wide.json().Warnings.length, 1000);
  const proto = await call('POST', '/containers/create', '{"Image":"a","__proto__":{"Tty":true},"constructor":{}}');
  assert.equal(proto.status, 201);
  assert.equal(containers.created.at(-1)?.request.Tty, undefined);
});

test('wrong types are refused by the name of their field', async (t) => {
  const call = client(t, { containers: new FakeContainers().port() });
  const wrong: [string, unknown][] = [
    ['Env', 'A=b'],
    ['Cmd', [1]],
    ['ExposedPorts', ['80/tcp']],
    ['Healthcheck.Interval', { Healthcheck: { Interval: '5s' } }],
    ['HostConfig.Memory', { HostConfig: { Memory: '1g' } }],
    ['HostConfig.Memory', { HostConfig: { Memory: 1.5 } }],
    ['HostConfig.BlkioWeight', { HostConfig: { BlkioWeight: -1 } }],
    ['HostConfig.BlkioDeviceReadBps[0].Path', { HostConfig: { BlkioDeviceReadBps: [{ Rate: 5 }] } }],
    ['HostConfig.DeviceRequests[0].Capabilities[0]', { HostConfig: { DeviceRequests: [{ Capabilities: ['gpu'] }] } }],
    ['HostConfig.PortBindings.80/tcp[0].HostPort', { HostConfig: { PortBindings: { '80/tcp': [{ HostPort: true }] } } }],
    ['HostConfig.Ulimits[0].Name', { HostConfig: { Ulimits: [{ Soft: 1 }] } }],
    ['HostConfig.Mounts[0].Type', { HostConfig: { Mounts: [{ Type: 'npipe', Target: '/x' }] } }],
    ['HostConfig.Annotations.a', { HostConfig: { Annotations: { a: 1 } } }],
    ['NetworkingConfig.EndpointsConfig.a.IPAMConfig', { NetworkingConfig: { EndpointsConfig: { a: { IPAMConfig: 'x' } } } }],
    ['NetworkingConfig.EndpointsConfig.a.GwPriority', { NetworkingConfig: { EndpointsConfig: { a: { GwPriority: 'high' } } } }],
  ];
  for (const [field, value] of wrong) {
    const body = field.includes('.') ? value : { [field]: value };
    const answer = await call('POST', '/containers/create', { Image: 'a', ...(body as object) });
    assert.equal(answer.status, 400, field);
    assert.ok(answer.json().message.startsWith(field), answer.json().message);
  }
});

test('names with NULs, dots and slashes name nothing', async (t) => {
  const call = client(t, { containers: new FakeContainers().port() });
  for (const [path, status] of [
    ['/containers/a%00b/json', 400],
    ['/containers/web/archive?path=a%00b', 400],
    ['/containers/../web/json', 404],
    ['/containers/%2e%2e/json', 404],
    ['/containers/..%2fweb/json', 404],
    ['/containers//web/json', 200],
    ['/%', 400],
    [`/containers/${'x'.repeat(5000)}/json`, 414],
  ] as const) {
    const answer = await call('GET', path);
    assert.equal(answer.status, status, `${path.slice(0, 60)}: ${answer.body.slice(0, 200)}`);
    if (status !== 200) assert.equal(typeof answer.json().message, 'string');
  }
});

test('dots in an address lead nowhere', async (t) => {
  const { path } = await serve(t, { containers: new FakeContainers().port() });
  for (const address of ['/v1.41/../containers/web/json', '/containers/web/../web/json', '/../../etc/passwd', '/v1.41/../v1.41/_ping']) {
    const reader = new Client(path);
    reader.send([`GET ${address} HTTP/1.1`, 'Host: x', 'Connection: close']);
    await reader.ended;
    assert.deepEqual([statusOf(reader), told(reader).message], [404, 'page not found'], address);
  }
});

test('a POST needs a type for a body that it has, and none for one that it has not', async (t) => {
  const { path } = await serve(t, { containers: new FakeContainers().port() });
  const post = async (line: string, heads: string[], body = '') => {
    const reader = new Client(path);
    reader.send([line, 'Host: x', 'Connection: close', ...heads], body);
    await reader.ended;
    return reader;
  };
  const untyped = await post('POST /containers/create HTTP/1.1', ['Content-Length: 13'], '{"Image":"a"}');
  assert.deepEqual([statusOf(untyped), told(untyped).message], [400, "unsupported Content-Type header (): must be 'application/json'"]);
  assert.equal(statusOf(await post('POST /containers/web/start HTTP/1.1', [])), 204);
  assert.equal(statusOf(await post('POST /containers/web/kill HTTP/1.1', ['Content-Type: text/plain', 'Content-Length: 0'])), 204);
  const charset = await post(
    'POST /containers/create HTTP/1.1',
    ['Content-Type: Application/JSON; charset=utf-8', 'Content-Length: 13'],
    '{"Image":"a"}',
  );
  assert.equal(statusOf(charset), 201);
});

test('credentials that cannot be read are as good as none', async (t) => {
  const builder: Builder = { build: async () => Promise.reject(new EngineError('InvalidArgument', 'X', 'no Dockerfile')) };
  const given: unknown[] = [];
  const transfers = partial<Transfers>('transfers', {
    pull: async ({ auth }) => {
      given.push(auth);
      throw new EngineError('NotFound', 'MANIFEST_UNKNOWN', 'manifest unknown');
    },
  });
  const call = client(t, { builder, transfers });
  for (const value of ['%%%', 'bnVsbA==', 'e30', Buffer.from('[1').toString('base64'), 'A'.repeat(10_000)]) {
    assert.equal((await call('POST', '/images/create?fromImage=x&tag=1', undefined, { 'x-registry-auth': value })).status, 404);
    assert.equal(
      (await call('POST', '/build', '', { 'x-registry-config': value, 'content-type': 'application/x-tar' })).json().message,
      'no Dockerfile',
    );
  }
  assert.deepEqual(new Set(given.map((auth) => JSON.stringify(auth ?? {}))), new Set(['{}']));
});

test('a failure inside the engine is told without what is inside', async (t) => {
  const containers = partial<Containers>('containers', { list: () => Promise.reject(new TypeError('x is not a function')) });
  const answer = await client(t, { containers })('GET', '/containers/json');
  assert.deepEqual([answer.status, answer.json()], [500, { message: 'x is not a function', code: 'INTERNAL' }]);
});
