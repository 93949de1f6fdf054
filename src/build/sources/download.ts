import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { pipeline } from 'node:stream/promises';
import { setTimeout } from 'node:timers/promises';
import { getCACertificates } from 'node:tls';
import { EngineError } from '../../base/errors.ts';

export type Validators = { readonly etag?: string | undefined; readonly lastModified?: string | undefined };
export type Download =
  | { readonly kind: 'unchanged' }
  | {
      readonly kind: 'downloaded';
      readonly digests: ReadonlyMap<string, string>;
      readonly sizeBytes: number;
      readonly validators: Validators;
    };

export type DownloadOptions = {
  readonly signal: AbortSignal;
  /** The server may answer that nothing changed since. */
  readonly known?: Validators | undefined;
  /** Algorithms beside sha256. */
  readonly algorithms: readonly string[];
  readonly limitBytes: number;
};

const attempts = 3;
const firstPauseMs = 300;
/** Sockets that say nothing for this long. */
const idleMs = 60_000;
const redirectLimit = 10;

/**
 * Gets an http(s) URL into a file, redirects followed. Tries again when the connection fails or the server is overloaded. Throws EngineError: Unavailable
 * `SOURCE_UNREACHABLE`, NotFound or Denied by the server's answer, InvalidArgument `SOURCE_TOO_LARGE`.
 */
export async function download(url: string, file: string, options: DownloadOptions): Promise<Download> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await attemptDownload(url, file, options);
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof EngineError) || error.kind !== 'Unavailable' || attempt === attempts) throw error;
      await setTimeout(firstPauseMs * 2 ** (attempt - 1), undefined, { signal: options.signal });
    }
  }
}

async function attemptDownload(url: string, file: string, options: DownloadOptions): Promise<Download> {
  const shown = shownUrl(url);
  try {
    const response = await follow(url, options);
    try {
      const { statusCode: status = 0 } = response;
      if (status === 304 && options.known !== undefined) return { kind: 'unchanged' };
      if (status < 200 || status > 299) throw refusal(shown, status, response.statusMessage ?? '');
      return await receive(response, file, shown, options);
    } finally {
      response.destroy();
    }
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    options.signal.throwIfAborted();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new EngineError('Unavailable', 'SOURCE_UNREACHABLE', `${shown} cannot be fetched: ${reason}`, { cause });
  }
}

/** The first answer that is no redirect. Proxies are those of the daemon's environment. */
async function follow(url: string, options: DownloadOptions): Promise<IncomingMessage> {
  let target = new URL(url);
  let authorization = credentials(target);
  for (let redirects = 0; ; redirects++) {
    const response = await request(target, authorization, options);
    const { location } = response.headers;
    if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined) return response;
    response.destroy();
    if (redirects === redirectLimit) throw new Error(`it redirects more than ${redirectLimit} times`);
    if (!URL.canParse(location, target)) throw new Error('it redirects to what is no URL');
    const next = new URL(location, target);
    if (!/^https?:$/.test(next.protocol)) throw new Error(`it redirects to ${next.protocol}`);
    // A password is for the server that it was written for.
    authorization = credentials(next) ?? (next.origin === target.origin ? authorization : undefined);
    target = next;
  }
}

function credentials({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

function request(target: URL, authorization: string | undefined, { known, signal }: DownloadOptions): Promise<IncomingMessage> {
  const headers: Record<string, string> = {
    // As it is, since its digest is that of what the server keeps.
    'accept-encoding': 'identity',
    'user-agent': 'slipway',
    ...(authorization === undefined ? {} : { authorization }),
  };
  if (known?.etag !== undefined) headers['if-none-match'] = known.etag;
  else if (known?.lastModified !== undefined) headers['if-modified-since'] = known.lastModified;
  // No proxy can reach this host's loopback.
  const proxy = isLoopback(target.hostname) ? {} : { proxyEnv: process.env };
  const { href } = Object.assign(new URL(target), { username: '', password: '' });
  const options = { headers, signal, timeout: idleMs };
  return new Promise((resolve, reject) => {
    const sent =
      target.protocol === 'https:'
        ? https.get(href, { ...options, agent: new https.Agent({ ...proxy, ca: authorities() }) })
        : http.get(href, { ...options, agent: new http.Agent(proxy) });
    sent.once('response', resolve);
    sent.once('error', reject);
    sent.once('timeout', () => sent.destroy(new Error(`it has sent nothing for ${idleMs / 1000} seconds`)));
  });
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

let knownAuthorities: string[] | undefined;
/** Node's own and those of the host, where a company's is. Read once. */
function authorities(): string[] {
  knownAuthorities ??= [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
  return knownAuthorities;
}

function refusal(shown: string, status: number, text: string): EngineError {
  const message = `${shown} cannot be fetched: the server answered ${status}${text === '' ? '' : ` ${text}`}`;
  if (status === 404 || status === 410) return new EngineError('NotFound', 'SOURCE_NOT_FOUND', message);
  if (status === 401 || status === 403) return new EngineError('Denied', 'SOURCE_DENIED', message);
  const overloaded = status === 429 || status >= 500;
  return new EngineError(overloaded ? 'Unavailable' : 'InvalidArgument', 'SOURCE_REFUSED', message);
}

async function receive(
  response: IncomingMessage,
  file: string,
  shown: string,
  { signal, limitBytes, algorithms }: DownloadOptions,
): Promise<Download> {
  const { etag, 'last-modified': lastModified, 'content-length': length } = response.headers;
  const tooLarge = () => new EngineError('InvalidArgument', 'SOURCE_TOO_LARGE', `${shown} has more than ${limitBytes} bytes`);
  if (Number(length ?? 0) > limitBytes) throw tooLarge();
  const hashes = ['sha256', ...algorithms].map((algorithm) => [algorithm, createHash(algorithm)] as const);
  let sizeBytes = 0;
  const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      sizeBytes += chunk.length;
      if (sizeBytes > limitBytes) throw tooLarge();
      for (const [, hash] of hashes) hash.update(chunk);
      yield chunk;
    }
  };
  // A body that ends before its length is an error of the stream.
  await pipeline(response, counted, createWriteStream(file, { mode: 0o600 }), { signal });
  return {
    kind: 'downloaded',
    sizeBytes,
    digests: new Map(hashes.map(([algorithm, hash]) => [algorithm, `${algorithm}:${hash.digest('hex')}`])),
    validators: { etag, lastModified },
  };
}

/** Without credentials and query, which may hold tokens. */
export function shownUrl(url: string): string {
  return url.replace(/^([a-z0-9+]+:\/\/)[^/?#@]*@/i, '$1').replace(/[?#][\s\S]*$/, '');
}
