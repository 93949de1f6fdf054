import { EngineError } from '../../base/errors.ts';
import { isLoopback } from './address.ts';
import type { Agents } from './agents.ts';
import type { Challenge } from './challenge.ts';
import { basicHeader, type Credentials } from './credentials.ts';
import { exchange, type HttpRequest, type Timeouts } from './http.ts';
import { markPassing, mayPass, noteRetryAfter } from './retry.ts';

/** What token servers know this client as. */
const clientId = 'slipway';
/** Tokens are smaller; more is not read. */
const maxTokenAnswerBytes = 1024 * 1024;
/** What a token lives that does not say (distribution's token specification). */
const defaultLifeSeconds = 60;

export type Token = { readonly token: string; readonly refreshToken: string; readonly lifeMs: number };

export type TokenRequest = {
  readonly challenge: Challenge;
  /** The registry's `/v2/`, for errors, and to know whether it is spoken to in secret. */
  readonly registry: URL;
  readonly credentials: Credentials;
  readonly scopes: readonly string[];
  /** Ask for a refresh token too. */
  readonly offline: boolean;
  readonly signal?: AbortSignal | undefined;
};

/** Docker's token authentication: GET with the password, or, with a refresh token, OAuth 2's POST. Denied `UNAUTHORIZED`, Unavailable `REGISTRY_ANSWER_INVALID`. */
export async function fetchToken(request: TokenRequest, net: { agents: Agents; timeouts: Timeouts }): Promise<Token> {
  const { challenge, registry, credentials, scopes, offline, signal } = request;
  const realm = checkRealm(challenge.parameters.realm, registry);
  const { service = '' } = challenge.parameters;
  const agent = await net.agents.of(realm);
  const common = { agent, timeouts: net.timeouts, signal };
  if (credentials.refreshToken !== '') {
    const fields = { service, client_id: clientId, grant_type: 'refresh_token', refresh_token: credentials.refreshToken };
    const form = new URLSearchParams(fields);
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
    return ask({ ...common, method: 'POST', url: realm, headers, body: Buffer.from(form.toString()) }, request);
  }
  if (service !== '') realm.searchParams.set('service', service);
  for (const scope of scopes) realm.searchParams.append('scope', scope);
  if (offline) realm.searchParams.set('offline_token', 'true');
  realm.searchParams.set('client_id', clientId);
  const authorization = basicHeader(credentials);
  if (authorization !== undefined) realm.searchParams.set('account', credentials.username);
  return ask({ ...common, method: 'GET', url: realm, headers: authorization === undefined ? {} : { authorization } }, request);
}

/** A registry that is spoken to in secret must not have the password sent elsewhere in the clear. */
function checkRealm(realm: string | undefined, registry: URL): URL {
  const url = URL.parse(realm ?? '');
  const wrong = (why: string) =>
    new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `the registry ${registry.host} sends to a token server that ${why}`);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) throw wrong(`is no web address: "${(realm ?? '').slice(0, 200)}"`);
  if (registry.protocol === 'https:' && url.protocol === 'http:' && !isLoopback(url.hostname))
    throw wrong(`is not encrypted: ${url.origin}`);
  return url;
}

async function ask(http: HttpRequest, { registry, credentials }: TokenRequest): Promise<Token> {
  await using answer = await exchange(http);
  const json = parseObject((await answer.read(maxTokenAnswerBytes)).toString('utf8'));
  const { status, reason } = answer;
  if (status === 401 || status === 403) {
    throw unauthorized(
      `Get "${registry.href}": unauthorized: ${detailOf(json) ?? 'incorrect username or password'}`,
      `Check the user name and the password or token: "slipway login ${registry.host}".`,
    );
  }
  if (mayPass(status)) {
    const code = status === 429 ? 'RATE_LIMITED' : 'REGISTRY_FAILED';
    const error = new EngineError('Unavailable', code, `Get "${registry.href}": the token server answered ${status} ${reason}`);
    noteRetryAfter(error, answer.headers['retry-after']);
    throw markPassing(error);
  }
  const token = json?.access_token ?? json?.token;
  if (status !== 200 || typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    const why = status === 200 ? 'gave no token' : `answered ${status} ${reason}`;
    throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `Get "${registry.href}": the token server ${why}`);
  }
  const refresh = json?.refresh_token;
  const life = typeof json?.expires_in === 'number' && json.expires_in > 0 ? Math.min(json.expires_in, 86_400) : defaultLifeSeconds;
  return { token, refreshToken: typeof refresh === 'string' ? refresh : credentials.refreshToken, lifeMs: life * 1000 };
}

/** `{"errors": [{"message": "…"}]}` or `{"details": "…"}`. */
function detailOf(json: Record<string, unknown> | undefined): string | undefined {
  const first: unknown = Array.isArray(json?.errors) ? json.errors[0] : undefined;
  const message = typeof first === 'object' && first !== null && 'message' in first ? first.message : json?.details;
  return typeof message === 'string' && message !== '' ? message.slice(0, 500) : undefined;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

export function unauthorized(message: string, hint = 'Check the user name and the password or token.'): EngineError {
  return new EngineError('Denied', 'UNAUTHORIZED', message, { hint });
}
