import { EngineError, isErrno } from '../../base/errors.ts';
import type { Agents } from './agents.ts';
import type { HttpAnswer } from './answer.ts';
import { type Authorizer, orAborted } from './authorizer.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { type Asked, failureOf } from './failures.ts';
import type { HostTable, Place } from './hosts.ts';
import { exchange, type HttpBody, type HttpMethod, type Timeouts, unreachable } from './http.ts';
import { Limiter } from './limiter.ts';
import { isPassing, markLasting, mayPass, mirrorRetries, Retries, type RetryPolicy, strangerRetries } from './retry.ts';

export type Call = {
  readonly method: HttpMethod;
  /** Below `/v2/`, or a whole address that the registry gave. */
  readonly path: string | URL;
  readonly headers?: Record<string, string> | undefined;
  readonly body?: Buffer | HttpBody | undefined;
  readonly as: Authorizer;
  readonly scopes: readonly string[];
  readonly asked: Asked;
  /** `download`: a body that comes slowly, as fast as it is used. Counted apart, so that what waits for uploads cannot keep them waiting. */
  readonly kind?: 'download' | undefined;
  /** How long the answer may take, where the registry has work to do first. */
  readonly answerMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type Net = { readonly agents: Agents; readonly hosts: HostTable; readonly timeouts: Timeouts; readonly retries: RetryPolicy };

const maxRedirects = 5;
const redirects = new Set([301, 302, 303, 307, 308]);
const defaultMaxRequests = 8;
/** Answers to ranges, and to pieces of uploads, that say the registry does not do them are believed this long. */
const refusalMs = 10 * 60_000;
const maxDamaged = 1000;
const mirrorDownMs = 30_000;

/** One host that answers for repositories: a registry or a mirror. Finds out how it is spoken to, and keeps the number of requests at once. */
export class Endpoint {
  readonly host: string;
  readonly prefix: string;
  readonly insecure: boolean;
  readonly maxRequests: number;
  readonly net: Net;
  readonly retries: RetryPolicy;
  readonly #downloads: Limiter;
  readonly #others: Limiter;
  #base: Promise<URL> | undefined;
  #challenges: readonly Challenge[] = [];
  #hasAnswered = false;
  #noRangesUntil = 0;
  #noPiecesUntil = 0;
  #piecesLost = 0;
  #down: { error: unknown; until: number } | undefined;
  readonly #damaged = new Set<string>();

  readonly #isMirror: boolean;

  constructor(place: Place, net: Net, isMirror = false) {
    this.host = place.host;
    this.prefix = place.prefix;
    this.insecure = place.insecure;
    this.net = net;
    this.#isMirror = isMirror;
    this.retries = isMirror ? mirrorRetries : net.retries;
    this.maxRequests = net.hosts.of(place.host).maxRequests ?? defaultMaxRequests;
    this.#downloads = new Limiter(this.maxRequests);
    this.#others = new Limiter(this.maxRequests);
  }

  get takesRanges(): boolean {
    return performance.now() >= this.#noRangesUntil;
  }

  refusedRanges(): void {
    this.#noRangesUntil = performance.now() + refusalMs;
  }

  /** Whether large uploads may come in pieces; where not, they come whole. */
  get takesPieces(): boolean {
    return performance.now() >= this.#noPiecesUntil;
  }

  refusedPieces(): void {
    this.#noPiecesUntil = performance.now() + refusalMs;
  }

  /** How the first piece of an upload went. That a registry has lost an upload so early may happen; twice, it is how it says no. */
  firstPiece(result: 'taken' | 'lost'): void {
    this.#piecesLost = result === 'taken' ? 0 : this.#piecesLost + 1;
    if (this.#piecesLost >= 2) this.refusedPieces();
  }

  /** A blob that came wrong from here is asked for elsewhere the next time, where there is an elsewhere. */
  markDamaged(digest: string): void {
    if (this.#damaged.size < maxDamaged) this.#damaged.add(digest);
  }

  isDamaged(digest: string): boolean {
    return this.#damaged.has(digest);
  }

  /** Any answer that is not a passing failure; those are retried. The caller looks at its status and reads or discards it. */
  async call(call: Call, retries = new Retries(this.retries, call.signal)): Promise<HttpAnswer> {
    for (;;) {
      try {
        return await this.attempt(call);
      } catch (error) {
        await retries.wait(error);
      }
    }
  }

  /** As `call`, once. A 401 is answered with a new token, also once. */
  async attempt(call: Call): Promise<HttpAnswer> {
    for (let renewed = false; ; renewed = true) {
      const registry = await this.base(call.signal);
      const url = typeof call.path === 'string' ? new URL(`/v2/${this.prefix}${call.path}`, registry) : call.path;
      const isOwn = url.origin === registry.origin;
      const authorization = isOwn ? await call.as.header(this.#challenges, registry, call.scopes, call.signal) : undefined;
      const answer = await this.#send(call, url, authorization);
      this.#hasAnswered = true;
      if (answer.status === 401 && isOwn) {
        const challenges = parseChallenges(answer.headers['www-authenticate']);
        if (challenges.length > 0) this.#challenges = challenges;
        if (!renewed && call.as.refused(authorization, challenges, call.scopes)) {
          await answer.discard();
          continue;
        }
      }
      // A server that has HTTPS now says so to whoever still comes without.
      if (answer.status === 400 && registry.protocol === 'http:' && isOwn) this.#base = undefined;
      if (mayPass(answer.status)) throw await failureOf(answer, call.asked);
      return answer;
    }
  }

  async #send(call: Call, first: URL, authorization: string | undefined): Promise<HttpAnswer> {
    const release = await (call.kind === 'download' ? this.#downloads : this.#others).acquire(call.signal);
    try {
      const answer = await this.#follow(call, first, authorization);
      answer.onEnd = release;
      if (answer.isOver) release();
      return answer;
    } catch (error) {
      release();
      if (error instanceof EngineError && error.code === 'REGISTRY_UNREACHABLE') {
        // It may speak otherwise, or have another certificate, when it is back.
        if (isErrno(error.cause, 'ECONNREFUSED', 'EPROTO')) this.#base = undefined;
        if (!isPassing(error)) this.net.agents.forget(this.host);
      }
      throw error;
    }
  }

  /** Redirects are where registries keep blobs elsewhere. What tells them who asks stays behind. */
  async #follow(call: Call, first: URL, authorization: string | undefined): Promise<HttpAnswer> {
    const { method, body, signal } = call;
    const timeouts = { ...this.net.timeouts, ...(call.answerMs === undefined ? {} : { answerMs: call.answerMs }) };
    let url = first;
    for (let hops = 0; ; hops++) {
      const own = authorization !== undefined && url.origin === first.origin ? { Authorization: authorization } : {};
      const agent = await this.net.agents.of(url);
      const answer = await exchange({ method, url, headers: { ...call.headers, ...own }, body, agent, timeouts, signal });
      const { location } = answer.headers;
      answer.wasRedirected = hops > 0;
      if (!redirects.has(answer.status) || location === undefined || !(method === 'GET' || method === 'HEAD')) return answer;
      await answer.discard();
      const next = URL.parse(location, url);
      if (next === null || !['http:', 'https:'].includes(next.protocol) || next.username !== '' || next.password !== '') {
        throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `${this.host} redirects to what is no web address`);
      }
      if (hops === maxRedirects) {
        throw new EngineError('Unavailable', 'REGISTRY_ANSWER_INVALID', `${this.host} redirects more than ${maxRedirects} times`);
      }
      url = next;
    }
  }

  /** The registry's `/v2/`, found by asking for it: how it is spoken to, and what it wants to know of whoever asks. */
  async base(signal: AbortSignal | undefined): Promise<URL> {
    if (this.#down !== undefined && performance.now() < this.#down.until) throw this.#down.error;
    if (this.#base === undefined) {
      const base = this.#connect();
      this.#base = base;
      base.catch((error) => {
        if (this.#base === base) this.#base = undefined;
        // Each request would wait for it again, and there is another copy.
        if (this.#isMirror) this.#down = { error, until: performance.now() + mirrorDownMs };
      });
    }
    return orAborted(this.#base, signal);
  }

  /** Not ended by any one caller: others may wait for it. */
  async #connect(): Promise<URL> {
    const retries = new Retries(this.retries, undefined);
    const few = new Retries(strangerRetries(this.retries), undefined);
    for (;;) {
      try {
        return await this.#probe();
      } catch (error) {
        const isStranger = !this.#hasAnswered && error instanceof EngineError && error.code === 'REGISTRY_UNREACHABLE';
        if (!isStranger) await retries.wait(error);
        // Nobody was ever there: a wrong address, or no network, more likely than a restart. Whoever waits for this asks no more either.
        else if (isErrno(error.cause, 'ECONNREFUSED')) throw markLasting(error);
        else await few.wait(error).catch(() => Promise.reject(markLasting(error)));
      }
    }
  }

  async #probe(): Promise<URL> {
    const secure = new URL(`https://${this.host}/v2/`);
    if (!this.insecure) return this.#ping(secure);
    try {
      return await this.#ping(secure);
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'REGISTRY_UNREACHABLE') throw error;
      return this.#ping(new URL(`http://${this.host}/v2/`));
    }
  }

  async #ping(url: URL): Promise<URL> {
    const agent = await this.net.agents.of(url);
    await using answer = await exchange({ method: 'GET', url, agent, timeouts: this.net.timeouts });
    if (mayPass(answer.status)) {
      throw await failureOf(answer, { name: this.host, host: this.host, action: 'pull', subject: { kind: 'repository' } });
    }
    // A server of HTTPS says so to whoever comes without, when the first attempt was only cut off.
    if (url.protocol === 'http:' && answer.status === 400) throw unreachable('GET', url, 'the server wants HTTPS');
    this.#hasAnswered = true;
    this.#challenges = answer.status === 401 ? parseChallenges(answer.headers['www-authenticate']) : [];
    return url;
  }
}
