import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as tlsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { buildApp } from '../../src/api/app.ts';
import { createHttpServer } from '../../src/api/server.ts';
import { containerRecord, FakeContainers, fakeServices } from '../integration/api-fakes.ts';
import { Client, serve } from '../integration/api-serve.ts';
import { Certificates } from '../integration/daemon-certificates.ts';
import { authorizationScene, bodyOf, FakeAuthorizationPlugin } from './authorization-plugin.ts';

const statusOf = ({ received }: Client) => Number(/^HTTP\/1\.1 (\d+)/.exec(received.toString())?.[1]);

async function scene(t: TestContext, { deadlineMs = 5_000, containers = new FakeContainers() } = {}) {
  const { plugins, authorization, failures, sockets } = await authorizationScene(t, ['policy'], deadlineMs);
  const served = await serve(t, { containers: containers.port() }, { authorization });
  const call = async (line: string, headers: string[] = [], body: string | Buffer = '') => {
    const client = new Client(served.path);
    client.send([`${line} HTTP/1.1`, 'Host: x', 'Connection: close', ...headers], body);
    await client.ended;
    client.socket.destroy();
    const text = client.body.toString();
    return {
      status: statusOf(client),
      text,
      message: text.startsWith('{') ? (JSON.parse(text) as { message?: string }).message : undefined,
    };
  };
  const json = (line: string, body: string, more: string[] = []) =>
    call(line, ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`, ...more], body);
  return { ...served, call, json, plugin: plugins.policy, failures, containers, sockets };
}

test('a plugin is told method, address, headers and the very body that the route gets; credentials are left out', async (t) => {
  const { json, plugin, containers } = await scene(t);
  const body = '{ "Image": "a",\n "Labels": {"é": "\\u0000x"} }';
  const answer = await json('POST /v1.41/containers/create?name=web&x=%2Fa', body.replace('\\u0000', ''), [
    'X-Registry-Auth: c2VjcmV0',
    'authorization: Basic c2VjcmV0',
    'x-meta-custom-thing: 1',
  ]);
  assert.equal(answer.status, 201, answer.text);
  const [asked, told] = plugin.asked;
  assert.ok(asked && told);
  assert.equal(asked.phase, 'request');
  assert.equal(asked.RequestMethod, 'POST');
  assert.equal(asked.RequestUri, '/v1.41/containers/create?name=web&x=%2Fa');
  assert.equal(bodyOf(asked), body.replace('\\u0000', ''));
  assert.equal(containers.created[0]?.request.Image, 'a');
  assert.equal(asked.RequestHeaders['X-Meta-Custom-Thing'], '1');
  assert.equal(asked.RequestHeaders['Content-Type'], 'application/json');
  assert.doesNotMatch(JSON.stringify(plugin.asked), /c2VjcmV0/);
  assert.equal('User' in asked, false);
  assert.deepEqual([told.phase, told.ResponseStatusCode, told.RequestUri], ['response', 201, asked.RequestUri]);
  assert.match(Buffer.from(told.ResponseBody ?? '', 'base64').toString(), /"Id":/);
  assert.equal(told.ResponseHeaders?.['Api-Version'] !== undefined, true);
});

test('what a plugin denies is not done, and answered in Docker’s words', async (t) => {
  const { json, call, plugin, containers } = await scene(t);
  plugin.decide = ({ RequestUri }) => ({ Allow: RequestUri === '/_ping', Msg: 'not today' });
  const answer = await json('POST /containers/create', '{"Image":"a"}');
  assert.deepEqual([answer.status, answer.message], [403, 'authorization denied by plugin policy: not today']);
  assert.equal(containers.created.length, 0);
  assert.equal((await call('GET /_ping')).status, 200);
  // Also what has no route, and what is wrong.
  assert.equal((await call('GET /no/such')).status, 403);
  assert.equal((await call('DELETE /containers/none')).status, 403);
  assert.equal(plugin.asked.filter(({ phase }) => phase === 'response').length, 1);
});

test('only a plain yes is a yes', async (t) => {
  const { call, plugin, failures } = await scene(t);
  const verdicts: [Parameters<typeof Object.assign>[0], RegExp][] = [
    [{}, /^authorization denied by plugin policy: $/],
    [{ Allow: 'true' }, /policy: $/],
    [{ Allow: 1 }, /policy: $/],
    [{ Allow: true, Err: 'database is gone' }, /policy: database is gone$/],
    [{ allow: true }, /policy: $/],
  ];
  for (const [verdict, words] of verdicts) {
    plugin.decide = () => verdict;
    const answer = await call('GET /_ping');
    assert.equal(answer.status, 403, JSON.stringify(verdict));
    assert.match(answer.message ?? '', words);
  }
  assert.deepEqual(failures, []);
  const raw: [number, string][] = [
    [500, '{"Allow":true}'],
    [404, ''],
    [200, ''],
    [200, 'yes'],
    [200, '[true]'],
    [302, '{"Allow":true}'],
  ];
  for (const [status, text] of raw) {
    plugin.decide = (_asked, response) => {
      response.writeHead(status).end(text);
      return 'mine';
    };
    assert.equal((await call('GET /_ping')).status, 403, `${status} ${text}`);
  }
});

test('a plugin that is slow, dribbles, hangs up, is gone or is no authorization plugin denies', async (t) => {
  const { call, plugin, failures, sockets } = await scene(t, { deadlineMs: 150 });
  assert.equal((await call('GET /_ping')).status, 200);
  plugin.decide = () => 'mine';
  const slow = await call('GET /_ping');
  assert.deepEqual([slow.status, /^authorization denied by plugin policy: .*it takes too long/.test(slow.message ?? '')], [403, true]);
  plugin.decide = (_asked, response) => {
    const dribble = setInterval(() => response.write(' '), 20);
    response.on('close', () => clearInterval(dribble));
    return 'mine';
  };
  assert.equal((await call('GET /_ping')).status, 403);
  plugin.decide = (_asked, response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{"Allow":true}');
    setTimeout(() => response.destroy(), 20);
    return 'mine';
  };
  assert.equal((await call('GET /_ping')).status, 403);
  await plugin.close();
  assert.match((await call('GET /_ping')).message ?? '', /^authorization denied by plugin policy: /);
  assert.ok(failures.length >= 4);
  // Started anew, as something else, and then as itself.
  const other = new FakeAuthorizationPlugin();
  other.implements = ['VolumeDriver'];
  await other.listen(join(sockets, 'policy.sock'));
  t.after(() => other.close());
  assert.match((await call('GET /_ping')).message ?? '', /there is no such authorization plugin/);
  other.implements = ['VolumeDriver', 'authz'];
  assert.equal((await call('GET /_ping')).status, 200);
});

test('a plugin sees an address as the router does, however it is spelled', async (t) => {
  const { call, plugin } = await scene(t);
  const spelled: [string, string, number][] = [
    ['GET /v1.41/containers//web///json', 'GET /v1.41/containers/web/json', 200],
    ['GET //containers/web/json', 'GET /containers/web/json', 200],
    ['GET /v1.41/%63ontainers/%77eb/j%73on', 'GET /v1.41/containers/web/json', 200],
    ['GET /containers/web/json#?x', 'GET /containers/web/json??x', 200],
    ['GET http://elsewhere/containers/web/json?size=0', 'GET /containers/web/json?size=0', 200],
    ['GET /containers/a%2Fb/json', 'GET /containers/a%2Fb/json', 404],
    ['GET /images/library%2Fbase:1@sha256/json', 'GET /images/library/base:1@sha256/json', 0],
    // Without a route nothing is done: told as they came.
    ['GET /containers/web/json/', 'GET /containers/web/json/', 404],
    ['GET /containers/../containers/web/json', 'GET /containers/../containers/web/json', 404],
    ['GET //v1.41/containers/web/json', 'GET //v1.41/containers/web/json', 404],
    ['GET /v1.41/v1.41/containers/web/json', 'GET /v1.41/v1.41/containers/web/json', 404],
    ['GET /CONTAINERS/web/json', 'GET /CONTAINERS/web/json', 404],
  ];
  for (const [line, seen, status] of spelled) {
    plugin.asked.length = 0;
    const answer = await call(line);
    assert.deepEqual(plugin.lines, [seen], line);
    if (status !== 0) assert.equal(answer.status, status, line);
  }
});

test('several plugins are asked in order, and the first no ends it', async (t) => {
  const { plugins, authorization } = await authorizationScene(t, ['first', 'second']);
  const { path } = await serve(t, { containers: new FakeContainers().port() }, { authorization });
  const ping = async () => {
    const client = new Client(path);
    client.send(['GET /_ping HTTP/1.1', 'Host: x', 'Connection: close']);
    await client.ended;
    return statusOf(client);
  };
  assert.equal(await ping(), 200);
  assert.deepEqual([plugins.first.asked.length, plugins.second.asked.length], [2, 2]);
  plugins.first.decide = () => ({ Allow: false });
  assert.equal(await ping(), 403);
  assert.deepEqual([plugins.first.asked.length, plugins.second.asked.length], [3, 2]);
  plugins.first.decide = () => ({ Allow: true });
  plugins.second.decide = ({ phase }) => ({ Allow: phase === 'request', Msg: 'no answers' });
  assert.equal(await ping(), 403);
});

test('an answer that a plugin denies does not leave: JSON, streams, hijacked connections', async (t) => {
  const record = containerRecord({
    config: { Image: 'web:1', OpenStdin: true, Labels: { secret: 'hunter2' } },
    state: { status: 'running', pid: 7, startedAtMs: 1, paused: false },
  });
  const containers = new FakeContainers(record);
  const { call, path, plugin, services } = await scene(t, { containers });
  plugin.decide = ({ phase }) => ({ Allow: phase === 'request', Msg: 'too much' });
  const words = 'authorization denied by plugin policy: too much';
  const inspected = await call('GET /containers/web/json');
  assert.deepEqual([inspected.status, inspected.message], [403, words]);
  assert.doesNotMatch(inspected.text, /hunter2/);
  const events = await call('GET /events');
  assert.deepEqual([events.status, events.text.includes(words)], [403, true]);
  const attached = new Client(path);
  attached.send(
    ['POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp'],
    'whoami\n',
  );
  await attached.ended;
  assert.equal(statusOf(attached), 403);
  assert.match(attached.received.toString(), /too much/);
  assert.doesNotMatch(attached.received.toString(), /whoami|101/);
  attached.socket.destroy();
  plugin.decide = () => ({ Allow: true });
  const allowed = new Client(path);
  allowed.send(['POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp']);
  await allowed.until('101 UPGRADED');
  assert.equal(plugin.asked.at(-1)?.ResponseStatusCode, 101);
  allowed.socket.destroy();
  const following = new Client(path);
  following.send(['GET /events HTTP/1.1', 'Host: x']);
  await following.until('200 OK');
  following.socket.destroy();
  services.stop();
});

test('a hijacking request is judged before its process starts', async (t) => {
  const { path, plugin, containers, json } = await scene(t);
  await json('POST /containers/web/exec', '{"Cmd":["sh"],"AttachStdin":true}');
  plugin.decide = ({ RequestUri }) => ({ Allow: !RequestUri.endsWith('/start'), Msg: 'no exec' });
  const body = '{"Detach":false,"Tty":true}';
  const start = new Client(path);
  start.send(
    [
      `POST /exec/${containers.exec?.id}/start HTTP/1.1`,
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: tcp',
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ],
    body,
  );
  await start.ended;
  assert.equal(statusOf(start), 403);
  assert.equal(bodyOf(plugin.asked.at(-1) ?? assert.fail()), body);
  assert.equal(containers.exec?.state.status, 'created');
  start.socket.destroy();
});

test('one request that does the work of several is judged as each of them', async (t) => {
  const { path, plugin, containers } = await scene(t);
  const body = JSON.stringify({ create: { Image: 'a', HostConfig: { Privileged: true } }, name: 'x' });
  const run = async () => {
    const client = new Client(path);
    client.send(
      [
        'POST /slipway/run HTTP/1.1',
        'Host: x',
        'Connection: Upgrade',
        'Upgrade: slipway-run',
        'Content-Type: application/json',
        `Content-Length: ${body.length}`,
      ],
      body,
    );
    await client.ended;
    client.socket.destroy();
    return client;
  };
  plugin.decide = (asked) => {
    const create = asked.RequestUri.startsWith('/containers/create') && asked.phase === 'request';
    return { Allow: !create || !JSON.parse(bodyOf(asked)).HostConfig.Privileged, Msg: 'privileged' };
  };
  const refused = await run();
  assert.equal(statusOf(refused), 403);
  assert.equal(containers.created.length, 0);
  assert.deepEqual(plugin.lines, ['POST /slipway/run', 'POST /containers/create?name=x']);
});

test('a body that plugins cannot be shown is denied: too large, and what is no JSON never gets to a route', async (t) => {
  const { json, call, plugin, containers } = await scene(t);
  const large = `{"Image":"a","Labels":{"x":"${'y'.repeat(1024 * 1024)}"}}`;
  const announced = await json('POST /containers/create', large);
  assert.equal(announced.status, 403);
  assert.match(announced.message ?? '', /^authorization denied: the request body is larger than 1048576 bytes/);
  const chunked = await call(
    'POST /containers/create',
    ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
    `${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`,
  );
  assert.equal(chunked.status, 403);
  assert.equal(plugin.asked.length, 0);
  const broken = await json('POST /containers/create', '{"Image":"a"} {"Image":"b"}');
  assert.equal(broken.status, 400);
  assert.equal(bodyOf(plugin.asked[0] ?? assert.fail()), '{"Image":"a"} {"Image":"b"}');
  // A type that is not JSON's has no body for a route that wants JSON.
  for (const type of ['text/plain', 'application/jsonx', 'application/x-tar', 'application/json2; application/json']) {
    const answer = await call('POST /containers/create', [`Content-Type: ${type}`, 'Content-Length: 13'], '{"Image":"a"}');
    assert.equal(answer.status, 400, type);
  }
  // Go's parser would see an unprivileged one.
  const twice = await json('POST /containers/create', '{"Image":"a","HostConfig":{"Privileged":true,"privileged":false}}');
  assert.equal(twice.status, 403);
  assert.match(twice.message ?? '', /^authorization denied: the request body says "privileged" twice/);
  assert.equal(containers.created.length, 0);
  // The exact limit still passes.
  const exact = `{"Image":"a","Labels":{"x":"${'y'.repeat(1024 * 1024 - 31)}"}}`;
  assert.equal(exact.length, 1024 * 1024);
  assert.equal((await json('POST /containers/create', exact)).status, 201);
});

test('over TLS the plugin learns who asks', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-authz-tls-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const certificates = new Certificates(folder);
  const read = (name: string) => readFileSync(certificates.file(name));
  const { plugins, authorization } = await authorizationScene(t, ['policy']);
  const app = buildApp(fakeServices({ containers: new FakeContainers().port() }), { authorization });
  await app.ready();
  const server = createHttpServer(app, { tls: { ca: read('ca.pem'), cert: read('server.pem'), key: read('server-key.pem') } });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await app.close();
  });
  plugins.policy.decide = ({ User }) => ({ Allow: User === 'client' });
  const client = { ca: read('ca.pem'), cert: read('client.pem'), key: read('client-key.pem'), agent: false };
  const sent = tlsRequest({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, path: '/containers/web/json', ...client });
  sent.end();
  const [response] = await once(sent, 'response');
  response.resume();
  assert.equal(response.statusCode, 200);
  const [asked] = plugins.policy.asked;
  assert.deepEqual([asked?.User, asked?.UserAuthNMethod], ['client', 'TLS']);
  const pem = Buffer.from(asked?.RequestPeerCertificates?.[0] ?? '', 'base64').toString();
  assert.equal(new X509Certificate(pem).subject, 'CN=client');
});
