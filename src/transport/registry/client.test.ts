import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { RegistryClient } from './client.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** A registry on this host; answers its address and what it was asked. */
async function serve(t: TestContext, handle: Handler): Promise<{ address: string; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''} ${body}`.trim());
    handle(request, response, body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
const json = (response: ServerResponse, status: number, value: unknown) => response.writeHead(status).end(JSON.stringify(value));
const client = new RegistryClient();

test('a registry with basic authentication is asked with the password, once it has said so', async (t) => {
  const { address, asked } = await serve(t, (request, response) => {
    if (request.headers.authorization === basic('me:right')) response.end('{}');
    else response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="here"' }).end();
  });
  assert.deepEqual(await client.login({ username: 'me', password: 'right', serveraddress: address }), { identityToken: '' });
  assert.deepEqual(asked, ['GET /v2/', `GET /v2/ ${basic('me:right')}`]);
  assert.deepEqual(await client.login({ auth: Buffer.from('me:right').toString('base64'), serveraddress: `http://${address}/v2/` }), {
    identityToken: '',
  });
  await assert.rejects(client.login({ username: 'me', password: 'wrong', serveraddress: address }), {
    code: 'UNAUTHORIZED',
    message: `login attempt to http://${address}/v2/ failed with status: 401 Unauthorized`,
  });
  await assert.rejects(client.login({ serveraddress: address }), { code: 'UNAUTHORIZED', message: /no basic auth credentials$/ });
});

test('a registry that asks for nothing lets everybody in', async (t) => {
  const { address } = await serve(t, (_request, response) => response.end('{}'));
  assert.deepEqual(await client.login({ username: 'x', password: 'y', serveraddress: address }), { identityToken: '' });
});

test('a token server turns the password into a token, and gives one to keep', async (t) => {
  const tokens = await serve(t, (request, response, body) => {
    const refresh = new URLSearchParams(body).get('refresh_token');
    const { authorization } = request.headers;
    if (authorization === basic('me:right')) json(response, 200, { token: 'good', refresh_token: 'keep' });
    else if (refresh === 'keep') json(response, 200, { access_token: 'good' });
    else json(response, 401, { errors: [{ code: 'UNAUTHORIZED', message: 'incorrect username or password' }] });
  });
  const { address, asked } = await serve(t, (request, response) => {
    const challenge = `Bearer realm="http://${tokens.address}/token?x=1",service="reg"`;
    if (request.headers.authorization === 'Bearer good') response.end('{}');
    else response.writeHead(401, { 'WWW-Authenticate': challenge }).end();
  });
  assert.deepEqual(await client.login({ username: 'me', password: 'right', serveraddress: address }), { identityToken: 'keep' });
  assert.deepEqual(asked, ['GET /v2/', 'GET /v2/ Bearer good']);
  assert.equal(tokens.asked[0], `GET /token?x=1&service=reg&offline_token=true&client_id=slipway&account=me ${basic('me:right')}`);
  assert.deepEqual(await client.login({ identitytoken: 'keep', serveraddress: address }), { identityToken: 'keep' });
  assert.match(tokens.asked[1] ?? '', /^POST \/token\?x=1 +service=reg&client_id=slipway&grant_type=refresh_token&refresh_token=keep$/);
  await assert.rejects(client.login({ username: 'me', password: 'wrong', serveraddress: address }), {
    code: 'UNAUTHORIZED',
    message: `Get "http://${address}/v2/": unauthorized: incorrect username or password`,
  });
});

test('a token server that is none, and answers that make no sense, are told of', async (t) => {
  const replies: [challenge: string, message: RegExp][] = [
    ['Bearer realm="ftp://x/"', /a token server that is no web address: "ftp:/],
    ['Bearer service="x"', /a token server that is no web address: ""/],
    ['Bearer realm="http://HOST/token"', /the token server gave no token$/],
    ['Bearer realm="http://HOST/broken"', /the token server answered 500 Internal Server Error$/],
    ['Bearer realm="http://HOST/large"', /more than 1048576 bytes/],
  ];
  for (const [challenge, message] of replies) {
    const { address } = await serve(t, (request, response) => {
      if (request.url?.startsWith('/token')) json(response, 200, { token: 5 });
      else if (request.url?.startsWith('/broken')) response.writeHead(500).end('no');
      else if (request.url?.startsWith('/large')) response.end(Buffer.alloc(2 * 1024 * 1024));
      else response.writeHead(401, { 'WWW-Authenticate': challenge.replace('HOST', request.headers.host ?? '') }).end();
    });
    await assert.rejects(client.login({ username: 'a', password: 'b', serveraddress: address }), { kind: 'Unavailable', message });
  }
});

test('a registry that cannot be reached, and a caller that does not wait', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  await assert.rejects(client.login({ serveraddress: `127.0.0.1:${port}` }), {
    code: 'REGISTRY_UNREACHABLE',
    message: `Get "http://127.0.0.1:${port}/v2/": dial tcp 127.0.0.1:${port}: connect: connection refused`,
  });
  await assert.rejects(client.login({ serveraddress: 'registry.invalid' }), {
    message: 'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid: no such host',
  });
  const silent = await serve(t, () => {});
  const controller = new AbortController();
  const waiting = client.login({ serveraddress: silent.address }, { signal: controller.signal });
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(waiting, { name: 'AbortError' });
});
