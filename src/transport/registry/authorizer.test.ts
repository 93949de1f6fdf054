import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { digestOf, sha256 } from '../../oci/digest.ts';
import { mergeScopes } from './authorizer.ts';
import { RegistryClient } from './client.ts';

async function serve(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse, body: string) => unknown,
): Promise<string> {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    handle(request, response, body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const digest = digestOf(sha256('blob'));

/** A registry that takes the tokens in `good`, and its token server, which makes `t1`, `t2` … and is asked with `asked`. */
async function startTokens(t: TestContext, options: { life?: number; refresh?: string; scope?: string } = {}) {
  const asked: string[] = [];
  const good = new Set<string>();
  const realm = await serve(t, (request, response, body) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ''} ${body}`.trim());
    const token = `t${asked.length}`;
    good.add(`Bearer ${token}`);
    const { life = 300, refresh } = options;
    setTimeout(
      () => response.end(JSON.stringify({ token, expires_in: life, ...(refresh === undefined ? {} : { refresh_token: refresh }) })),
      20,
    );
  });
  const seen: (string | undefined)[] = [];
  const address = await serve(t, (request, response) => {
    seen.push(request.headers.authorization);
    const scope = options.scope === undefined ? '' : `,scope="${options.scope}"`;
    if (good.has(request.headers.authorization ?? '')) response.writeHead(200).end();
    else response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="http://${realm}/token",service="reg"${scope}` }).end();
  });
  return { address, asked, good, seen };
}

test('a token is asked for once by many, kept until it ends, and renewed when it is refused', async (t) => {
  const { address, asked, good, seen } = await startTokens(t);
  const repository = new RegistryClient().repository({ domain: address, path: 'team/web' });
  const all = await Promise.all(Array.from({ length: 20 }, () => repository.hasBlob(digest)));
  assert.deepEqual(new Set(all), new Set([true]));
  assert.deepEqual(asked, ['GET /token?service=reg&scope=repository%3Ateam%2Fweb%3Apull&client_id=slipway']);
  assert.deepEqual(
    seen.slice(1),
    Array.from({ length: 20 }, () => 'Bearer t1'),
  );
  good.clear();
  assert.equal(await repository.hasBlob(digest), true);
  assert.equal(asked.length, 2);
  good.clear();
  assert.deepEqual([await repository.hasBlob(digest), asked.length], [true, 3]);
});

test('a token that has ended is not used', async (t) => {
  const { address, asked } = await startTokens(t, { life: 0.05 });
  const repository = new RegistryClient().repository({ domain: address, path: 'web' });
  await repository.hasBlob(digest);
  await repository.hasBlob(digest);
  assert.equal(asked.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 60));
  await repository.hasBlob(digest);
  assert.equal(asked.length, 2);
});

test('a refused token is renewed once, and then the refusal stands', async (t) => {
  let tokens = 0;
  const realm = await serve(t, (_, response) => response.end(JSON.stringify({ token: `t${++tokens}` })));
  const address = await serve(t, (_, response) =>
    response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="http://${realm}/token",service="reg",error="insufficient_scope"` }).end(),
  );
  const repository = new RegistryClient().repository({ domain: address, path: 'web' }, { auth: { username: 'me', password: 'se-cret' } });
  const error = await repository.manifest('latest').then(
    () => undefined,
    (caught) => caught,
  );
  assert.deepEqual([error.code, tokens], ['UNAUTHORIZED', 2]);
  assert.doesNotMatch(`${error.message} ${error.stack} ${JSON.stringify(error)}`, /se-cret|bWU6/);
});

test('an identity token is turned into tokens, and followed when the server gives a new one', async (t) => {
  const { address, asked, good } = await startTokens(t, { refresh: 'second' });
  const repository = new RegistryClient().repository({ domain: address, path: 'web' }, { auth: { identitytoken: 'first' } });
  await repository.hasBlob(digest);
  good.clear();
  await repository.hasBlob(digest);
  const form = (token: string) =>
    `POST /token  service=reg&client_id=slipway&grant_type=refresh_token&refresh_token=${token}&scope=repository%3Aweb%3Apull`;
  assert.deepEqual(asked, [form('first'), form('second')]);
});

test('what a registry wants beyond what was asked for is asked for', async (t) => {
  const { address, asked, good } = await startTokens(t, { scope: 'repository:web:pull repository:base:pull' });
  const repository = new RegistryClient().repository({ domain: address, path: 'web' }, { actions: 'pull,push' });
  await repository.hasBlob(digest);
  good.clear();
  await repository.hasBlob(digest);
  assert.match(asked[1] ?? '', /scope=repository%3Abase%3Apull&scope=repository%3Aweb%3Apull%2Cpush/);
});

test('a token server that fails for a while is asked again, one that refuses is not', async (t) => {
  let asked = 0;
  const realm = await serve(t, (_, response) => {
    if (++asked < 4) response.writeHead(503).end();
    else response.end(JSON.stringify({ access_token: 'good' }));
  });
  const address = await serve(t, (request, response) => {
    if (request.headers.authorization === 'Bearer good') response.end();
    else response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="http://${realm}/token"` }).end();
  });
  const repository = () => new RegistryClient({ retries: { baseMs: 1 } }).repository({ domain: address, path: 'web' });
  assert.equal(await repository().hasBlob(digest), true);
  assert.equal(asked, 4);
  const refusing = await serve(t, (_, response) => {
    asked += 1;
    response.writeHead(401).end(JSON.stringify({ details: 'no such user' }));
  });
  const other = await serve(t, (_, response) =>
    response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="http://${refusing}/token"` }).end(),
  );
  await assert.rejects(new RegistryClient().repository({ domain: other, path: 'web' }).hasBlob(digest), {
    kind: 'Denied',
    code: 'UNAUTHORIZED',
    message: `Get "http://${other}/v2/": unauthorized: no such user`,
  });
  assert.equal(asked, 5);
});

test('two users of one client are not taken for each other', async (t) => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  const address = await serve(t, (request, response) => {
    if (request.headers.authorization === basic('me:right')) response.end();
    else response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="x"' }).end();
  });
  const client = new RegistryClient();
  const at = (password: string) => client.repository({ domain: address, path: 'web' }, { auth: { username: 'me', password } });
  assert.equal(await at('right').hasBlob(digest), true);
  await assert.rejects(at('wrong').hasBlob(digest), { code: 'UNAUTHORIZED' });
  await assert.rejects(client.repository({ domain: address, path: 'web' }).hasBlob(digest), { code: 'UNAUTHORIZED' });
  assert.equal(await at('right').hasBlob(digest), true);
});

test('scopes of one repository become one', () => {
  assert.deepEqual(
    mergeScopes(['repository:b:pull', 'repository:a:pull,push', 'repository:a:pull', 'registry:catalog:*', '', 'nonsense']),
    ['registry:catalog:*', 'repository:a:pull,push', 'repository:b:pull'],
  );
});
