import type { AuthConfig } from '../../api-types/registry.ts';
import { EngineError } from '../../base/errors.ts';
import { isLoopback, type RegistryAddress, registryAddress } from './address.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { type RegistryAnswer, send } from './http.ts';
import type { Registries } from './port.ts';

/** What token servers know this client as. */
const clientId = 'slipway';

type Credentials = { username: string; password: string; refreshToken: string };
type Token = { token: string; refreshToken: string };

/** Registries over HTTP. Holds nothing between calls. */
export class RegistryClient implements Pick<Registries, 'login'> {
  async login(auth: AuthConfig, { signal }: { signal?: AbortSignal } = {}): Promise<{ identityToken: string }> {
    const address = registryAddress(auth.serveraddress ?? '');
    const credentials = credentialsOf(auth);
    if (!address.insecure) return loginAt(`https://${address.host}`, address, credentials, signal);
    try {
      return await loginAt(`https://${address.host}`, address, credentials, signal);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'REGISTRY_UNREACHABLE') throw error;
      return loginAt(`http://${address.host}`, address, credentials, signal);
    }
  }
}

async function loginAt(
  base: string,
  { insecure }: RegistryAddress,
  credentials: Credentials,
  signal: AbortSignal | undefined,
): Promise<{ identityToken: string }> {
  const url = new URL('/v2/', base);
  const ping = await send({ method: 'GET', url, insecure, signal });
  const challenges = parseChallenges(ping.headers['www-authenticate']);
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  const basic = challenges.find(({ scheme }) => scheme === 'basic');
  let authorization: string | undefined;
  let identityToken = credentials.refreshToken;
  if (bearer !== undefined) {
    const { token, refreshToken } = await fetchToken(bearer, url, credentials, { insecure, signal });
    authorization = `Bearer ${token}`;
    identityToken = refreshToken;
  } else if (basic !== undefined) {
    authorization = basicHeader(credentials);
    if (authorization === undefined) throw unauthorized(`Get "${url.href}": no basic auth credentials`);
  }
  const answer = authorization === undefined ? ping : await send({ method: 'GET', url, insecure, signal, headers: { authorization } });
  if (answer.status === 200) return { identityToken };
  const message = `login attempt to ${url.href} failed with status: ${answer.status} ${answer.reason}`;
  if (answer.status === 401 || answer.status === 403) throw unauthorized(message);
  throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', message);
}

/** Docker's token authentication: GET with the password, or, with a refresh token, OAuth 2's POST. */
async function fetchToken(
  { parameters }: Challenge,
  registry: URL,
  credentials: Credentials,
  options: { insecure: boolean; signal: AbortSignal | undefined },
): Promise<Token> {
  const realm = checkRealm(parameters.realm, registry);
  const insecure = options.insecure && isLoopback(realm.hostname);
  const { service = '', scope } = parameters;
  if (credentials.refreshToken !== '') {
    const form = new URLSearchParams({
      service,
      client_id: clientId,
      grant_type: 'refresh_token',
      refresh_token: credentials.refreshToken,
    });
    if (scope !== undefined) form.set('scope', scope);
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
    const answer = await send({ method: 'POST', url: realm, headers, body: form.toString(), insecure, signal: options.signal });
    return readToken(answer, registry, credentials);
  }
  if (service !== '') realm.searchParams.set('service', service);
  if (scope !== undefined) realm.searchParams.set('scope', scope);
  realm.searchParams.set('offline_token', 'true');
  realm.searchParams.set('client_id', clientId);
  const authorization = basicHeader(credentials);
  if (authorization !== undefined) realm.searchParams.set('account', credentials.username);
  const headers = authorization === undefined ? {} : { authorization };
  return readToken(await send({ method: 'GET', url: realm, headers, insecure, signal: options.signal }), registry, credentials);
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

function readToken({ status, reason, body }: RegistryAnswer, registry: URL, credentials: Credentials): Token {
  const json = parseObject(body);
  if (status === 401 || status === 403) {
    throw unauthorized(`Get "${registry.href}": unauthorized: ${detailOf(json) ?? 'incorrect username or password'}`);
  }
  const token = json?.access_token ?? json?.token;
  if (status !== 200 || typeof token !== 'string' || token === '') {
    const why = status === 200 ? 'gave no token' : `answered ${status} ${reason}`;
    throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `Get "${registry.href}": the token server ${why}`);
  }
  const refresh = json?.refresh_token;
  return { token, refreshToken: typeof refresh === 'string' ? refresh : credentials.refreshToken };
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

function credentialsOf({ username = '', password = '', auth = '', identitytoken = '' }: AuthConfig): Credentials {
  if (username !== '' || auth === '') return { username, password, refreshToken: identitytoken };
  const text = Buffer.from(auth, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return { username, password, refreshToken: identitytoken };
  return { username: text.slice(0, colon), password: text.slice(colon + 1), refreshToken: identitytoken };
}

function basicHeader({ username, password }: Credentials): string | undefined {
  if (username === '' || password === '') return undefined;
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function unauthorized(message: string): EngineError {
  return new EngineError('Denied', 'UNAUTHORIZED', message, { hint: 'Check the user name and the password or token.' });
}
