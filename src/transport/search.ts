import type { AuthConfig } from '../api-types/registry.ts';
import { EngineError } from '../base/errors.ts';
import type { FoundRepository, SearchImages } from './port.ts';
import { registryAddress } from './registry/address.ts';
import type { Agents } from './registry/agents.ts';
import { defaultTimeouts, exchange } from './registry/http.ts';

const maxResults = 100;
const maxAnswerBytes = 1024 * 1024;

/** Over connections of its own kind: `agents` know the certificates and proxies of hosts. */
export function registrySearch(agents: Agents): SearchImages {
  return async (given, { limit, auth, signal }) => {
    const { server, term } = split(given);
    const { host, insecure } = registryAddress(server);
    const url = new URL('/v1/search', `https://${server === '' ? 'index.docker.io' : host}`);
    url.searchParams.set('q', term);
    url.searchParams.set('n', String(limit));
    const headers: Record<string, string> = { Accept: 'application/json', ...authorization(auth) };
    const ask = async (at: URL) =>
      exchange({ method: 'GET', url: at, headers, agent: await agents.of(at), timeouts: defaultTimeouts, signal });
    await using answer = await ask(url).catch((error: unknown) => {
      if (!insecure || !(error instanceof EngineError) || error.code !== 'REGISTRY_UNREACHABLE') throw error;
      return ask(new URL(url.href.replace('https:', 'http:')));
    });
    if (answer.status === 404) throw unsupported(`${url.host} has no search`);
    if (answer.status !== 200) throw unsupported(`${url.host} answered ${answer.status} ${answer.reason} to a search`);
    return parse((await answer.read(maxAnswerBytes)).toString('utf8'), url.host);
  };
}

/** `registry.example:5000/web`: the host is told from a path as in image names. */
function split(given: string): { server: string; term: string } {
  if (given.includes('://')) {
    throw new EngineError(
      'InvalidArgument',
      'SEARCH_INVALID',
      `invalid repository name: repository name (${given.slice(0, 200)}) should not have a scheme`,
    );
  }
  const slash = given.indexOf('/');
  const first = slash < 0 ? '' : given.slice(0, slash);
  if (!/[.:]/.test(first) && first !== 'localhost') return { server: '', term: given };
  if (first === 'docker.io' || first === 'index.docker.io') return { server: '', term: given.slice(slash + 1) };
  return { server: first, term: given.slice(slash + 1) };
}

function authorization(auth: AuthConfig | undefined): Record<string, string> {
  if (auth?.username === undefined || auth.username === '' || auth.password === undefined || auth.password === '') return {};
  return { authorization: `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString('base64')}` };
}

function parse(body: string, host: string): FoundRepository[] {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw unsupported(`${host} answered a search with something else than JSON`);
  }
  const results = typeof json === 'object' && json !== null && 'results' in json ? json.results : undefined;
  if (!Array.isArray(results)) throw unsupported(`${host} answered a search without results`);
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return results.slice(0, maxResults).map((row: Record<string, unknown>) => ({
    name: text(row?.name),
    description: text(row?.description),
    stars: typeof row?.star_count === 'number' ? row.star_count : 0,
    official: row?.is_official === true,
    automated: row?.is_automated === true,
  }));
}

function unsupported(message: string): EngineError {
  return new EngineError('Unavailable', 'SEARCH_UNSUPPORTED', message, {
    hint: 'Only Docker Hub and registries that speak its first API search; "slipway tags" lists the tags of a repository.',
  });
}
