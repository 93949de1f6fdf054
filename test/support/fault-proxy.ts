import { once } from 'node:events';
import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

/** How often each thing goes wrong: 0 never, 1 always. */
export type Faults = {
  /** The connection is cut before the registry is asked. */
  refuse?: number;
  /** It is cut somewhere in the answer's body. */
  cut?: number;
  /** It is cut somewhere in the request's body. */
  cutUpload?: number;
  /** The registry did it, and the answer is lost. */
  loseAnswer?: number;
  /** The answer's body ends early as though it were whole, which Content-Length gives away. */
  truncate?: number;
  /** One bit of a blob's body is wrong. */
  flip?: number;
  /** Up to `delayMs` before the answer. */
  delay?: number;
  delayMs?: number;
  /** Instead of an answer: this status (401, 403, 404, 416, 429, 500, 502, 503, 504), as a registry words it. */
  status?: Partial<Record<number, number>>;
  /** Seconds, in the Retry-After of 429 and 503; none when not given. */
  retryAfter?: number;
  /** Requests that none of this happens to. */
  spare?: (method: string, path: string) => boolean;
};

export type FaultProxy = {
  /** `127.0.0.1:40124`. */
  readonly address: string;
  /** Bytes of bodies that clients sent, and that they were sent. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** `GET /v2/app/manifests/latest`, in order. */
  readonly requests: readonly string[];
  /** How often each fault was dealt. */
  readonly dealt: ReadonlyMap<string, number>;
  setFaults(faults: Faults): void;
  /** Forgets the counts. */
  reset(): void;
};

/** The faults that pass by themselves, each at this rate. */
export function transientFaults(rate: number): Faults {
  return {
    refuse: rate,
    cut: rate,
    cutUpload: rate,
    loseAnswer: rate,
    truncate: rate,
    delay: rate,
    delayMs: 50,
    status: { 429: rate, 500: rate, 503: rate },
    retryAfter: 0,
  };
}

/** An HTTP server before a registry at `target` (`127.0.0.1:5000`) in which things go wrong, in the same way for the same seed and requests. Ends with the test. */
export async function startFaultProxy(
  t: Pick<TestContext, 'after'>,
  options: { target: string | (() => string); seed?: number | undefined; faults?: Faults | undefined },
): Promise<FaultProxy> {
  const proxy = new Faulty(typeof options.target === 'string' ? () => options.target as string : options.target, options.seed ?? 1);
  proxy.setFaults(options.faults ?? {});
  await proxy.listen();
  t.after(() => proxy.close());
  return proxy;
}

class Faulty implements FaultProxy {
  readonly #target: () => string;
  readonly #random: () => number;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #server = createServer((request, response) => {
    this.#serve(request, response).catch(() => response.destroy());
  });
  #faults: Faults = {};
  readonly requests: string[] = [];
  readonly dealt = new Map<string, number>();
  address = '';
  bytesIn = 0;
  bytesOut = 0;

  constructor(target: () => string, seed: number) {
    this.#target = target;
    this.#random = randomOf(seed);
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.address = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
  }

  setFaults(faults: Faults): void {
    this.#faults = faults;
  }

  reset(): void {
    this.bytesIn = 0;
    this.bytesOut = 0;
    this.requests.length = 0;
    this.dealt.clear();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The request lets go of it when it ends.
    const { method = 'GET', url = '/', socket } = request;
    this.requests.push(`${method} ${url}`);
    const faults = this.#faults.spare?.(method, url) === true ? {} : this.#faults;
    // Every dice is thrown for every request, so that one rate does not shift what the others do.
    const dice = Array.from({ length: 12 }, this.#random);
    const happens = (index: number, rate: number | undefined, name: string) => {
      const does = (dice[index] ?? 1) < (rate ?? 0);
      if (does) this.dealt.set(name, (this.dealt.get(name) ?? 0) + 1);
      return does;
    };
    const at = dice[11] ?? 0;
    if (happens(0, faults.delay, 'delay')) await sleep(at * (faults.delayMs ?? 100));
    if (happens(1, faults.refuse, 'refuse')) return void socket.destroy();
    const status = pickStatus(faults.status ?? {}, dice[2] ?? 1);
    if (status !== undefined) {
      this.dealt.set(String(status), (this.dealt.get(String(status)) ?? 0) + 1);
      return this.#refuse(request, response, status, faults.retryAfter);
    }
    const upstream = httpRequest(`http://${this.#target()}${url}`, {
      method,
      agent: this.#agent,
      // Host stays the client's: the registry makes its Locations of it, and they must lead here again.
      headers: request.headers,
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    const hasBody = request.headers['content-length'] !== '0' && !['GET', 'HEAD', 'DELETE'].includes(method);
    const cutUploadAt = hasBody && happens(3, faults.cutUpload, 'cutUpload') ? this.#placeIn(request, at) : undefined;
    const answered = once(upstream, 'response') as Promise<[IncomingMessage]>;
    answered.catch(() => {});
    pipeline(
      request,
      new Counter((bytes) => {
        this.bytesIn += bytes;
      }, cutUploadAt),
      upstream,
    ).catch(() => {
      socket.destroy();
      upstream.destroy();
    });
    const [answer] = await answered;
    if (happens(4, faults.loseAnswer, 'loseAnswer')) {
      answer.resume();
      return void socket.destroy();
    }
    await this.#answer(request, response, answer, happens, faults, at);
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    answer: IncomingMessage,
    happens: (index: number, rate: number | undefined, name: string) => boolean,
    faults: Faults,
    at: number,
  ): Promise<void> {
    const { method = 'GET', url = '/', socket } = request;
    const hasBody = method !== 'HEAD' && answer.headers['content-length'] !== '0';
    const isBlob = method === 'GET' && url.includes('/blobs/sha256:');
    const cutAt = hasBody && happens(5, faults.cut, 'cut') ? this.#placeIn(answer, at) : undefined;
    const truncateAt = hasBody && cutAt === undefined && happens(6, faults.truncate, 'truncate') ? this.#placeIn(answer, at) : undefined;
    const flipAt = isBlob && happens(7, faults.flip, 'flip') ? this.#placeIn(answer, at) : undefined;
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
    const counter = new Counter(
      (bytes) => {
        this.bytesOut += bytes;
      },
      cutAt ?? truncateAt,
      flipAt,
      // A cut is a reset; what is truncated is closed in order.
      () => (truncateAt === undefined ? socket.resetAndDestroy() : socket.end()),
    );
    await pipeline(answer, counter, response);
  }

  /** Somewhere in a body. */
  #placeIn(message: IncomingMessage, at: number): number {
    const length = Number(message.headers['content-length'] ?? Number.NaN);
    return Math.floor(at * (Number.isFinite(length) ? length : 1_000_000));
  }

  #refuse(request: IncomingMessage, response: ServerResponse, status: number, retryAfter: number | undefined): void {
    const [code, message] = words[status] ?? ['UNKNOWN', 'unknown error'];
    const headers: Record<string, string> = { 'Content-Type': 'application/json' };
    if ((status === 429 || status === 503) && retryAfter !== undefined) headers['Retry-After'] = String(retryAfter);
    if (status === 401) headers['WWW-Authenticate'] = 'Basic realm="test"';
    request.resume();
    response.writeHead(status, headers).end(JSON.stringify({ errors: [{ code, message }] }));
  }
}

const words: Record<number, [string, string]> = {
  401: ['UNAUTHORIZED', 'authentication required'],
  403: ['DENIED', 'requested access to the resource is denied'],
  404: ['NAME_UNKNOWN', 'repository name not known to registry'],
  416: ['RANGE_INVALID', 'invalid content range'],
  429: ['TOOMANYREQUESTS', 'too many requests'],
};

function pickStatus(rates: Partial<Record<number, number>>, die: number): number | undefined {
  let below = 0;
  for (const [status, rate = 0] of Object.entries(rates)) {
    below += rate;
    if (die < below) return Number(status);
  }
  return undefined;
}

/** Passes bytes on and counts them; ends with an error at `cutAt`, turns a bit at `flipAt`. */
class Counter extends Transform {
  readonly #count: (bytes: number) => void;
  readonly #cutAt: number | undefined;
  readonly #flipAt: number | undefined;
  readonly #onCut: () => void;
  #seen = 0;

  constructor(count: (bytes: number) => void, cutAt?: number, flipAt?: number, onCut = () => {}) {
    super();
    this.#onCut = onCut;
    this.#count = count;
    this.#cutAt = cutAt;
    this.#flipAt = flipAt;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const start = this.#seen;
    this.#seen += chunk.length;
    let bytes = chunk;
    if (this.#flipAt !== undefined && this.#flipAt >= start && this.#flipAt < this.#seen) {
      bytes = Buffer.from(chunk);
      bytes[this.#flipAt - start] = (bytes[this.#flipAt - start] ?? 0) ^ 1;
    }
    if (this.#cutAt === undefined || this.#seen <= this.#cutAt) {
      this.#count(bytes.length);
      done(null, bytes);
      return;
    }
    const kept = bytes.subarray(0, Math.max(0, this.#cutAt - start));
    this.#count(kept.length);
    this.push(kept);
    // What came before is let out first.
    setImmediate(() => {
      this.#onCut();
      done(new Error('cut by the test'));
    });
  }
}

/** Mulberry32: the same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
