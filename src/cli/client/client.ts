import type { Duplex } from 'node:stream';
import { apiVersion } from '../../api-types/system.ts';
import { EngineError, type ErrorKind, errnoOf } from '../../base/errors.ts';
import { type Exchange, exchange, type Response } from './connection.ts';
import type { Endpoint } from './endpoint.ts';

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;
export type CallOptions = {
  query?: Query | undefined;
  headers?: Record<string, string> | undefined;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  body?: Exchange['body'];
  signal?: AbortSignal | undefined;
};

const prefix = `v${apiVersion}`;

/** Names in a path keep `/` and `:`, as in Docker's `/images/ghcr.io/acme/web:2/json`. */
export function route(strings: TemplateStringsArray, ...names: readonly string[]): string {
  return strings
    .map(
      (part, at) =>
        part +
        encodeURIComponent(names[at] ?? '')
          .replace(/%2F/g, '/')
          .replace(/%3A/g, ':'),
    )
    .join('');
}

/** Calls the daemon. Answers of 400 and above are thrown as EngineError; paths get the API's version unless they are Slipway's own. */
export class EngineClient {
  readonly endpoint: Endpoint;

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
  }

  get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
    return this.json<T>('GET', path, { query, signal });
  }

  post<T>(path: string, options: CallOptions = {}): Promise<T> {
    return this.json<T>('POST', path, options);
  }

  delete<T>(path: string, query?: Query): Promise<T> {
    return this.json<T>('DELETE', path, { query });
  }

  /** The answer's JSON; undefined when there is no content. */
  async json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const body = await (await this.call(method, path, options)).text();
    return (body === '' ? undefined : JSON.parse(body)) as T;
  }

  /** The answer with its body unread. */
  async call(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    return this.check(await this.exchange(method, path, options));
  }

  /** Throws what an answer of 400 or above says. */
  async check(response: Response): Promise<Response> {
    if (response.status >= 400) throw await this.#failure(response);
    return response;
  }

  /** Like `call`, but leaves every status to the caller. */
  async exchange(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const { query, headers, json, body, signal } = options;
    const target = (path.startsWith('/slipway/') ? path : `/${prefix}${path}`) + queryText(query);
    const request: Exchange = { method, target, headers: { ...headers }, body, signal };
    if (json !== undefined) {
      request.body = JSON.stringify(json);
      request.headers = { 'Content-Type': 'application/json', ...headers };
    }
    try {
      return await exchange(this.endpoint, request);
    } catch (error) {
      throw asUnreachable(error, this.endpoint);
    }
  }

  /** Asks for another protocol on the connection (101) and hands it over. Answers other than 101 and 200 are errors. */
  async upgrade(
    path: string,
    protocol: string,
    options: CallOptions = {},
  ): Promise<{ socket: Duplex; headers: ReadonlyMap<string, string> }> {
    const headers = { Connection: 'Upgrade', Upgrade: protocol, ...options.headers };
    const response = await this.call('POST', path, { ...options, headers });
    return { socket: response.socket, headers: response.headers };
  }

  async #failure(response: Response): Promise<EngineError> {
    const text = await response.text();
    const body = parseErrorBody(text);
    const kind = kindOfStatus(response.status);
    return new EngineError(kind, body.code ?? `HTTP_${response.status}`, body.message ?? `the daemon answered ${response.status}`, {
      hint: body.hint,
      exitCode: body.exitCode,
    });
  }
}

/** An error of the connection in the words that people need; others as they are. */
export function asUnreachable(error: unknown, endpoint: Endpoint): unknown {
  // Other system errors come from what is being sent: a file that cannot be read.
  const errno = isConnectionError(error) ? errnoOf(error) : undefined;
  const where = endpoint.shown;
  if (errno === 'EACCES') {
    return new EngineError('Denied', 'DAEMON_DENIED', `You may not use the Slipway daemon at ${where}.`, {
      hint: 'Run the command as root, or have yourself put into the group "slipway" and log in again.',
      cause: error,
    });
  }
  if (errno === 'ENOENT' || errno === 'ECONNREFUSED' || errno === 'ENOTSOCK' || errno === 'ENOTDIR' || unreachable.has(errno ?? '')) {
    return new EngineError('Unavailable', 'DAEMON_UNREACHABLE', `Cannot connect to the Slipway daemon at ${where}. Is it running?`, {
      hint: 'Start it with "slipway daemon", or name another address with SLIPWAY_HOST or --host.',
      cause: error,
    });
  }
  const plainTcp = endpoint.kind === 'tcp' && endpoint.tls === undefined;
  if (errno === 'EPIPE' || errno === 'ECONNRESET' || (plainTcp && error instanceof EngineError && error.code === 'ANSWER_CUT')) {
    return new EngineError('Unavailable', 'DAEMON_GONE', `The Slipway daemon at ${where} closed the connection before it answered.`, {
      hint: plainTcp
        ? 'Over TCP it wants TLS: set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH.'
        : 'Look at its log ("journalctl -u slipway" when systemd runs it) and try again.',
      cause: error,
    });
  }
  return error;
}

/** Of the network and its names. */
const unreachable = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EADDRNOTAVAIL']);

function isConnectionError(error: unknown): boolean {
  return (
    error instanceof Error &&
    'syscall' in error &&
    (error.syscall === 'connect' ||
      error.syscall === 'getaddrinfo' ||
      (error.syscall !== 'open' && errnoOf(error) === 'EPIPE') ||
      errnoOf(error) === 'ECONNRESET')
  );
}

/** `?a=1&b=2`, or nothing. Lists repeat the name; undefined is left out. */
export function queryText(query: Query | undefined): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(String(one))}`);
  }
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

type ErrorBody = { message?: string; code?: string; hint?: string; exitCode?: number };

function parseErrorBody(text: string): ErrorBody {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as ErrorBody;
  } catch {
    // Not the daemon's own words (a proxy's page, perhaps): shown as they are.
  }
  return text.trim() === '' ? {} : { message: text.trim() };
}

function kindOfStatus(status: number): ErrorKind {
  const kinds: Record<number, ErrorKind> = {
    400: 'InvalidArgument',
    403: 'Denied',
    404: 'NotFound',
    409: 'Conflict',
    499: 'Cancelled',
    501: 'Unsupported',
    503: 'Unavailable',
    507: 'NoSpace',
  };
  return kinds[status] ?? 'Internal';
}
