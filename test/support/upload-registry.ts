import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { digestOf, sha256 } from '../../src/oci/digest.ts';
import { json } from './fake-registry.ts';

/** A registry that keeps uploads as the specification has it: what came of a piece that was cut is there. */
export async function serveUploads(t: TestContext, fail: (request: IncomingMessage, had: number) => 'cut' | 'forget' | number | undefined) {
  const state = { had: Buffer.alloc(0), committed: undefined as Buffer | undefined, beginnings: 0, forgotten: false, log: [] as string[] };
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '', 'http://x');
    const { method = '', socket } = request;
    if (url.pathname === '/v2/') return response.end('{}');
    const failure = fail(request, state.had.length);
    state.log.push(`${method} ${request.headers['content-range'] ?? ''}`.trim());
    let room = failure === 'cut' ? 5_000_000 : Number.POSITIVE_INFINITY;
    const start = state.had.length;
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) {
      chunks.push(chunk.subarray(0, room));
      room -= chunk.length;
      if (room <= 0) break;
    }
    const range = /^(\d+)-/.exec(request.headers['content-range'] ?? '');
    if (method === 'PATCH' && typeof failure !== 'number') {
      if (range?.[1] !== undefined && Number(range[1]) !== start)
        return response.writeHead(416, { Range: `0-${start - 1}`, Location: '/upload' }).end();
      state.had = Buffer.concat([state.had, ...chunks]);
    }
    if (failure === 'cut') return socket.destroy();
    if (failure === 'forget') state.forgotten = true;
    if (state.forgotten && url.pathname === '/upload')
      return json(response, 404, { errors: [{ code: 'BLOB_UPLOAD_UNKNOWN', message: 'blob upload unknown to registry' }] });
    if (typeof failure === 'number') return response.writeHead(failure).end();
    const where = { Location: '/upload?state=a%2Bb', Range: `0-${Math.max(0, state.had.length - 1)}` };
    if (method === 'HEAD') return response.writeHead(state.committed === undefined ? 404 : 200).end();
    if (method === 'POST') {
      state.beginnings += 1;
      state.forgotten = false;
      state.had = Buffer.alloc(0);
      return response.writeHead(202, where).end();
    }
    if (url.searchParams.get('state') !== 'a+b') return response.writeHead(400).end();
    if (method === 'PATCH') return response.writeHead(202, where).end();
    if (method === 'DELETE') return response.writeHead(204).end();
    if (method === 'GET') return response.writeHead(204, where).end();
    const whole = Buffer.concat([state.had, ...chunks]);
    if (digestOf(sha256(whole)) !== url.searchParams.get('digest'))
      return json(response, 400, { errors: [{ code: 'DIGEST_INVALID', message: 'provided digest did not match' }] });
    state.committed = whole;
    return response.writeHead(201).end();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { state, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}
