import type { Agents } from './agents.ts';
import type { Challenge } from './challenge.ts';
import { basicHeader, type Credentials } from './credentials.ts';
import type { Timeouts } from './http.ts';
import { defaultRetries, Retries, type RetryPolicy } from './retry.ts';
import { fetchToken } from './tokens.ts';

/** A token is not used in the last part of its life: the request has to get there, and clocks differ. */
const usedPartOfLife = 0.9;
const maxTokens = 1000;
const loadEveryMs = 60_000;
const nobody: Credentials = { username: '', password: '', refreshToken: '', registryToken: '' };

type Held = { readonly header: string; readonly until: number };

/**
 * Who one is to one registry: turns what it asks for into an Authorization header. Tokens are kept until they end, for each set of scopes, and asked for by one
 * request at a time. Its credentials are told to the registry itself and to the token server that it names, to nobody else.
 */
export class Authorizer {
  #credentials: Credentials;
  readonly #load: (() => Promise<Credentials>) | undefined;
  #loaded: { at: number; done: Promise<void> } | undefined;
  readonly #net: { agents: Agents; timeouts: Timeouts };
  readonly #retries: RetryPolicy;
  readonly #tokens = new Map<string, Held>();
  readonly #asking = new Map<string, Promise<Held>>();
  /** What a registry wanted beyond what was asked for, by the scopes that were. */
  readonly #wanted = new Map<string, string>();

  /** `credentials` may be a way to load them: it is gone again now and then, since files change. */
  constructor(
    credentials: Credentials | (() => Promise<Credentials>),
    net: { agents: Agents; timeouts: Timeouts },
    retries: RetryPolicy = defaultRetries,
  ) {
    this.#credentials = typeof credentials === 'function' ? nobody : credentials;
    this.#load = typeof credentials === 'function' ? credentials : undefined;
    this.#net = net;
    this.#retries = retries;
  }

  /** Undefined when nothing is asked for, or nothing is known to answer. */
  async header(
    challenges: readonly Challenge[],
    registry: URL,
    scopes: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    if (challenges.length > 0) await this.#bringCredentials();
    if (this.#credentials.registryToken !== '') return `Bearer ${this.#credentials.registryToken}`;
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined) return this.#bearer(bearer, registry, scopes, signal);
    return challenges.some(({ scheme }) => scheme === 'basic') ? basicHeader(this.#credentials) : undefined;
  }

  /** After a 401: whether asking again with what `header` then gives may help. */
  refused(sent: string | undefined, challenges: readonly Challenge[], scopes: readonly string[]): boolean {
    if (this.#credentials.registryToken !== '') return false;
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined) {
      for (const [key, { header }] of this.#tokens) if (header === sent) this.#tokens.delete(key);
      const { scope } = bearer.parameters;
      if (scope !== undefined && this.#wanted.size < maxTokens) this.#wanted.set(scopes.join(' '), scope);
      return true;
    }
    const basic = challenges.some(({ scheme }) => scheme === 'basic') ? basicHeader(this.#credentials) : undefined;
    // The same password again may lock somebody out.
    return basic !== undefined && basic !== sent;
  }

  async #bringCredentials(): Promise<void> {
    const load = this.#load;
    if (load === undefined) return;
    const now = performance.now();
    if (this.#loaded === undefined || now - this.#loaded.at > loadEveryMs) {
      const bring = async () => {
        this.#credentials = await load();
      };
      this.#loaded = { at: now, done: bring() };
    }
    try {
      await this.#loaded.done;
    } catch (error) {
      this.#loaded = undefined;
      throw error;
    }
  }

  async #bearer(challenge: Challenge, registry: URL, asked: readonly string[], signal: AbortSignal | undefined): Promise<string> {
    const scopes = mergeScopes([...asked, ...(this.#wanted.get(asked.join(' '))?.split(' ') ?? [])]);
    const { realm = '', service = '' } = challenge.parameters;
    const key = JSON.stringify([realm, service, ...scopes]);
    const held = this.#tokens.get(key);
    if (held !== undefined && held.until > performance.now()) return held.header;
    let asking = this.#asking.get(key);
    if (asking === undefined) {
      asking = this.#ask(key, challenge, registry, scopes).finally(() => this.#asking.delete(key));
      this.#asking.set(key, asking);
    }
    return (await orAborted(asking, signal)).header;
  }

  /** Not ended by any one caller: others may wait for it. */
  async #ask(key: string, challenge: Challenge, registry: URL, scopes: readonly string[]): Promise<Held> {
    const retries = new Retries(this.#retries, undefined);
    for (;;) {
      try {
        const request = { challenge, registry, credentials: this.#credentials, scopes, offline: false };
        const { token, refreshToken, lifeMs } = await fetchToken(request, this.#net);
        // OAuth servers may give a new refresh token and forget the old one.
        if (this.#credentials.refreshToken !== '') this.#credentials = { ...this.#credentials, refreshToken };
        const held = { header: `Bearer ${token}`, until: performance.now() + lifeMs * usedPartOfLife };
        const [oldest] = this.#tokens.keys();
        if (this.#tokens.size >= maxTokens && oldest !== undefined) this.#tokens.delete(oldest);
        this.#tokens.set(key, held);
        return held;
      } catch (error) {
        await retries.wait(error);
      }
    }
  }
}

/** `repository:a:pull` and `repository:a:pull,push` are the latter; sorted. */
export function mergeScopes(scopes: readonly string[]): string[] {
  const actions = new Map<string, Set<string>>();
  for (const scope of scopes) {
    const colon = scope.lastIndexOf(':');
    if (colon <= 0) continue;
    const resource = scope.slice(0, colon);
    const known = actions.get(resource) ?? new Set();
    for (const action of scope.slice(colon + 1).split(',')) known.add(action);
    actions.set(resource, known);
  }
  return [...actions].map(([resource, set]) => `${resource}:${[...set].sort().join(',')}`).sort();
}

/** Leaves when the signal does; the promise goes on. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) {
      promise.catch(() => {});
      return abort();
    }
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
