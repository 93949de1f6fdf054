import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { type Digest, digestOf, sha256 } from '../../src/oci/digest.ts';
import { RegistryClient, type RegistryClientOptions } from '../../src/transport/registry/client.ts';
import type { Repository } from '../../src/transport/registry/port.ts';

export type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => unknown;
export type Served = { address: string; asked: string[] };

/** A server on this host; answers its address and what it was asked. `/v2/` is answered unless `all` says that the handler does. */
export async function serve(t: TestContext, handle: Handler, all = false): Promise<Served> {
  const asked: string[] = [];
  const server = createServer({ maxHeaderSize: 64 * 1024 }, async (request, response) => {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk);
      if (!all && request.url === '/v2/') return response.end('{}');
      asked.push([request.method, request.url, request.headers.range, request.headers.authorization].filter(Boolean).join(' '));
      await handle(request, response, Buffer.concat(chunks));
    } catch {
      response.destroy();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

export const quick: RegistryClientOptions = { retries: { baseMs: 1, capMs: 5 } };
export function repositoryAt({ address }: Pick<Served, 'address'>, options: RegistryClientOptions = quick): Repository {
  return new RegistryClient(options).repository({ domain: address, path: 'team/web' }, { actions: 'pull,push' });
}

export async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export const blobOf = (bytes: Buffer): { digest: Digest; size: number } => ({ digest: digestOf(sha256(bytes)), size: bytes.length });
export const sourceOf = (bytes: Buffer) => ({
  async *read(offset: number) {
    for (let at = offset; at < bytes.length; at += 300_000) yield bytes.subarray(at, at + 300_000);
  },
});
export const json = (response: ServerResponse, status: number, value: unknown, headers = {}) =>
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
export const noisy = (length: number) => Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 2_654_435_761) >>> 13));

/** Answers a range as asked, as S3 and docker-registry do. */
export function sendRange(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const [, from = '', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  if (from === '') return void response.writeHead(200, { 'Content-Length': bytes.length }).end(bytes);
  const end = to === '' ? bytes.length : Number(to) + 1;
  const range = `bytes ${from}-${end - 1}/${bytes.length}`;
  response.writeHead(206, { 'Content-Range': range, 'Content-Length': end - Number(from) }).end(bytes.subarray(Number(from), end));
}
