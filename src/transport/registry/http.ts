import { readdir, readFile } from 'node:fs/promises';
import { type ClientRequest, type IncomingMessage, Agent as PlainAgent, request as requestPlain } from 'node:http';
import { request as requestSecure, Agent as SecureAgent } from 'node:https';
import { join } from 'node:path';
import { getCACertificates } from 'node:tls';
import { EngineError, isErrno } from '../../base/errors.ts';

export type RegistryRequest = {
  method: 'GET' | 'POST';
  url: URL;
  headers?: Record<string, string>;
  body?: string;
  /** Whoever answers is taken for the registry. */
  insecure: boolean;
  signal?: AbortSignal | undefined;
};
export type RegistryAnswer = { status: number; reason: string; headers: IncomingMessage['headers']; body: string };

const timeoutMs = 15_000;
/** Tokens and errors are smaller; more is not read. */
const maxBodyBytes = 1024 * 1024;
const certificatesDirectory = '/etc/docker/certs.d';

/** One request and its whole answer, redirects not followed. Unavailable `REGISTRY_UNREACHABLE` names the address and why. Proxies are the environment's. */
export async function send(request: RegistryRequest): Promise<RegistryAnswer> {
  const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(request.signal === undefined ? [] : [request.signal])]);
  const sent = await open(request, signal);
  try {
    return await new Promise<RegistryAnswer>((resolve, reject) => {
      sent.on('error', reject);
      sent.on('response', (response) => readAll(response).then(resolve, reject));
      sent.end(request.body);
    });
  } catch (cause) {
    if (request.signal?.aborted) throw request.signal.reason;
    if (cause instanceof EngineError) throw cause;
    const why = signal.aborted ? `no answer within ${timeoutMs / 1000} seconds` : reasonOf(cause, request.url);
    throw new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', `Get "${request.url.href}": ${why}`, { cause });
  } finally {
    sent.destroy();
  }
}

async function open({ method, url, headers = {}, body, insecure }: RegistryRequest, signal: AbortSignal): Promise<ClientRequest> {
  const length = body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) };
  const options = { method, headers: { 'User-Agent': 'slipway', ...headers, ...length }, signal };
  if (url.protocol === 'http:') return requestPlain(url, { ...options, agent: new PlainAgent({ proxyEnv: process.env }) });
  const trust = insecure ? { rejectUnauthorized: false } : { ca: await authorities(url.host) };
  return requestSecure(url, { ...options, agent: new SecureAgent({ ...trust, proxyEnv: process.env }) });
}

/** The host's own authorities, and those that its administrator trusts for this registry, where Docker looks for them. */
async function authorities(host: string): Promise<string[]> {
  const folder = join(certificatesDirectory, host);
  const own = [...getCACertificates('default'), ...getCACertificates('system')];
  try {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.crt'));
    return [...own, ...(await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8'))))];
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return own;
    throw error;
  }
}

async function readAll(response: IncomingMessage): Promise<RegistryAnswer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes) {
      throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `a registry's answer has more than ${maxBodyBytes} bytes`);
    }
    chunks.push(chunk);
  }
  const { statusCode = 0, statusMessage = '', headers } = response;
  return { status: statusCode, reason: statusMessage, headers, body: Buffer.concat(chunks).toString('utf8') };
}

/** In the words of Go's network library, which people and clients know. An error of several addresses tried has its reasons inside. */
function reasonOf(cause: unknown, { host, hostname }: Pick<URL, 'host' | 'hostname'>): string {
  if (cause instanceof AggregateError) return [...new Set(cause.errors.map((each) => reasonOf(each, { host, hostname })))].join('; ');
  if (isErrno(cause, 'ECONNREFUSED')) return `dial tcp ${host}: connect: connection refused`;
  if (isErrno(cause, 'ENOTFOUND', 'EAI_AGAIN')) return `dial tcp: lookup ${hostname}: no such host`;
  if (isErrno(cause, 'ETIMEDOUT')) return `dial tcp ${host}: i/o timeout`;
  return cause instanceof Error ? cause.message : String(cause);
}
