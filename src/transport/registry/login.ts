import { EngineError } from '../../base/errors.ts';
import { registryAddress } from './address.ts';
import { parseChallenges } from './challenge.ts';
import { basicHeader, type Credentials } from './credentials.ts';
import type { Net } from './endpoint.ts';
import { exchange } from './http.ts';
import { fetchToken, unauthorized } from './tokens.ts';

/** A person waits for it. */
const loginTimeoutMs = 15_000;
const maxAnswerBytes = 1024 * 1024;

/** Checks credentials by asking for `/v2/` with them. Never tried again: a password that is wrong twice may lock its owner out. */
export async function login(
  serverAddress: string,
  credentials: Credentials,
  net: Net,
  signal: AbortSignal | undefined,
): Promise<{ identityToken: string }> {
  const address = registryAddress(serverAddress);
  const isInsecure = address.insecure || net.hosts.isInsecure(address.host);
  const timeouts = { connectMs: loginTimeoutMs, answerMs: loginTimeoutMs, stallMs: loginTimeoutMs };
  const at = (scheme: string) => loginAt(`${scheme}://${address.host}`, credentials, { ...net, timeouts }, signal);
  if (!isInsecure) return at('https');
  try {
    return await at('https');
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== 'REGISTRY_UNREACHABLE') throw error;
    return at('http');
  }
}

async function loginAt(
  base: string,
  credentials: Credentials,
  net: Net,
  signal: AbortSignal | undefined,
): Promise<{ identityToken: string }> {
  const url = new URL('/v2/', base);
  const ping = await ask(url, {}, net, signal);
  const challenges = parseChallenges(ping.challenge);
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  const basic = challenges.find(({ scheme }) => scheme === 'basic');
  let authorization: string | undefined;
  let identityToken = credentials.refreshToken;
  if (bearer !== undefined) {
    const scopes = bearer.parameters.scope === undefined ? [] : [bearer.parameters.scope];
    const token = await fetchToken({ challenge: bearer, registry: url, credentials, scopes, offline: true, signal }, net);
    authorization = `Bearer ${token.token}`;
    identityToken = token.refreshToken;
  } else if (basic !== undefined) {
    authorization = basicHeader(credentials);
    if (authorization === undefined) throw unauthorized(`Get "${url.href}": no basic auth credentials`);
  }
  const answer = authorization === undefined ? ping : await ask(url, { authorization }, net, signal);
  if (answer.status === 200) return { identityToken };
  const message = `login attempt to ${url.href} failed with status: ${answer.status} ${answer.reason}`;
  if (answer.status === 401 || answer.status === 403) throw unauthorized(message);
  throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', message);
}

async function ask(url: URL, headers: Record<string, string>, net: Net, signal: AbortSignal | undefined) {
  const agent = await net.agents.of(url);
  await using answer = await exchange({ method: 'GET', url, headers, agent, timeouts: net.timeouts, signal });
  await answer.read(maxAnswerBytes);
  return { status: answer.status, reason: answer.reason, challenge: answer.headers['www-authenticate'] };
}
