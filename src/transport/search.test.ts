import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { Agents } from './registry/agents.ts';
import { HostTable } from './registry/hosts.ts';
import { registrySearch } from './search.ts';

const search = registrySearch(new Agents(new HostTable({}), {}));

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a registry with the first API is searched, and what it answers is read with care', async (t) => {
  const asked: string[] = [];
  const address = await serve(t, (request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? ''}`);
    response.end(JSON.stringify({ results: [{ name: 'web', description: 7, star_count: 3, is_official: true }, null] }));
  });
  const found = await search(`${address}/we b`, { limit: 9, auth: { username: 'me', password: 'x' } });
  assert.deepEqual(found, [
    { name: 'web', description: '', stars: 3, official: true, automated: false },
    { name: '', description: '', stars: 0, official: false, automated: false },
  ]);
  assert.deepEqual(asked, [`/v1/search?q=we+b&n=9 Basic ${Buffer.from('me:x').toString('base64')}`]);
});

test('a registry without a search, and answers that are none, are said', async (t) => {
  let answer: [number, string] = [404, 'page not found'];
  const address = await serve(t, (_request, response) => response.writeHead(answer[0]).end(answer[1]));
  for (const [status, body, message] of [
    [404, 'page not found', /has no search/],
    [503, '', /answered 503 Service Unavailable to a search/],
    [200, '<html>', /something else than JSON/],
    [200, '{"rows": []}', /without results/],
  ] as const) {
    answer = [status, body];
    await assert.rejects(
      search(`${address}/x`, { limit: 5 }),
      (error) => error instanceof EngineError && error.code === 'SEARCH_UNSUPPORTED' && message.test(error.message),
    );
  }
  await assert.rejects(search('https://hub.example/x', { limit: 5 }), /should not have a scheme/);
});
