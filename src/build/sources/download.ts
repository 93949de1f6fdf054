import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout } from 'node:timers/promises';
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

/**
 * Gets an http(s) URL into a file, redirects followed. Tries again when the connection fails or the server is overloaded. Throws EngineError: Unavailable
 * `SOURCE_UNREACHABLE`, NotFound or Denied by the server's answer, InvalidArgument `SOURCE_TOO_LARGE`, DataLoss `SOURCE_TRUNCATED`.
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
  const idle = new AbortController();
  let timer = globalThis.setTimeout(() => idle.abort(), idleMs);
  const alive = () => {
    clearTimeout(timer);
    timer = globalThis.setTimeout(() => idle.abort(), idleMs);
  };
  try {
    const response = await request(url, options, AbortSignal.any([options.signal, idle.signal]));
    if (response.status === 304 && options.known !== undefined) return { kind: 'unchanged' };
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      throw refusal(shown, response);
    }
    return await receive(response, response.body, file, shown, options, alive);
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    options.signal.throwIfAborted();
    if (idle.signal.aborted) {
      throw new EngineError('Unavailable', 'SOURCE_UNREACHABLE', `${shown} has sent nothing for ${idleMs / 1000} seconds`, { cause });
    }
    throw new EngineError('Unavailable', 'SOURCE_UNREACHABLE', `${shown} cannot be fetched: ${reason(cause)}`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

function request(url: string, { known }: DownloadOptions, signal: AbortSignal): Promise<Response> {
  const target = new URL(url);
  // As it is, since its digest is that of what the server keeps.
  const headers: Record<string, string> = { 'accept-encoding': 'identity', 'user-agent': 'slipway' };
  if (target.username !== '' || target.password !== '') {
    const pair = `${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`;
    headers.authorization = `Basic ${Buffer.from(pair).toString('base64')}`;
    target.username = '';
    target.password = '';
  }
  if (known?.etag !== undefined) headers['if-none-match'] = known.etag;
  else if (known?.lastModified !== undefined) headers['if-modified-since'] = known.lastModified;
  return fetch(target, { headers, signal, redirect: 'follow' });
}

function refusal(shown: string, { status, statusText }: Response): EngineError {
  const message = `${shown} cannot be fetched: the server answered ${status}${statusText === '' ? '' : ` ${statusText}`}`;
  if (status === 404 || status === 410) return new EngineError('NotFound', 'SOURCE_NOT_FOUND', message);
  if (status === 401 || status === 403) return new EngineError('Denied', 'SOURCE_DENIED', message);
  const overloaded = status === 429 || status >= 500;
  return new EngineError(overloaded ? 'Unavailable' : 'InvalidArgument', 'SOURCE_REFUSED', message);
}

async function receive(
  response: Response,
  body: NonNullable<Response['body']>,
  file: string,
  shown: string,
  { signal, limitBytes, algorithms }: DownloadOptions,
  alive: () => void,
): Promise<Download> {
  const length = response.headers.get('content-length');
  const promised = length !== null && response.headers.get('content-encoding') === null ? Number(length) : undefined;
  const tooLarge = () => new EngineError('InvalidArgument', 'SOURCE_TOO_LARGE', `${shown} has more than ${limitBytes} bytes`);
  if (promised !== undefined && promised > limitBytes) throw tooLarge();
  const hashes = ['sha256', ...algorithms].map((algorithm) => [algorithm, createHash(algorithm)] as const);
  let sizeBytes = 0;
  const counted = async function* (chunks: AsyncIterable<Uint8Array>) {
    for await (const chunk of chunks) {
      alive();
      sizeBytes += chunk.length;
      if (sizeBytes > limitBytes) throw tooLarge();
      for (const [, hash] of hashes) hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]), counted, createWriteStream(file, { mode: 0o600 }), {
    signal,
  });
  if (promised !== undefined && sizeBytes !== promised) {
    throw new EngineError('DataLoss', 'SOURCE_TRUNCATED', `${shown} promised ${promised} bytes and sent ${sizeBytes}`);
  }
  return {
    kind: 'downloaded',
    sizeBytes,
    digests: new Map(hashes.map(([algorithm, hash]) => [algorithm, `${algorithm}:${hash.digest('hex')}`])),
    validators: { etag: response.headers.get('etag') ?? undefined, lastModified: response.headers.get('last-modified') ?? undefined },
  };
}

/** fetch() says only "fetch failed" and keeps the reason as a cause. */
function reason(error: unknown): string {
  const inner = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return inner instanceof Error ? inner.message : String(inner);
}

/** Without credentials and query, which may hold tokens. */
export function shownUrl(url: string): string {
  return url.replace(/^([a-z0-9+]+:\/\/)[^/?#@]*@/i, '$1').replace(/[?#][\s\S]*$/, '');
}
