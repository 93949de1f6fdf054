import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, errnoOf } from '../../base/errors.ts';

/** What is tried again, how often and after how long. */
export type RetryPolicy = {
  /** In a row without progress, the first among them. */
  readonly attempts: number;
  /** The pause before the second attempt is anything up to this (full jitter), and up to twice as much each time. */
  readonly baseMs: number;
  readonly capMs: number;
  /** No longer than this is waited in a row, whatever Retry-After says. */
  readonly totalMs: number;
};

export const defaultRetries: RetryPolicy = { attempts: 8, baseMs: 200, capMs: 15_000, totalMs: 120_000 };
/** Somewhere else there is another copy. */
export const mirrorRetries: RetryPolicy = { attempts: 2, baseMs: 200, capMs: 1000, totalMs: 5000 };

/** Nobody has answered there yet: a lookup or a connection may fail by chance, but who is told of a wrong name waits for it. */
export function strangerRetries(policy: RetryPolicy): RetryPolicy {
  return { ...policy, attempts: Math.min(policy.attempts, 3), capMs: Math.min(policy.capMs, 1000) };
}

/** Statuses that the same request may not get the next time. */
const passing = new Set([408, 425, 429, 500, 502, 503, 504]);
export function mayPass(status: number): boolean {
  return passing.has(status);
}

/** As much as a Retry-After is heeded. */
const maxRetryAfterMs = 60_000;
/** Progress that counts: a server that gives a byte a connection is not asked for ever. */
const progressBytes = 64 * 1024;

const retryAfter = new WeakMap<EngineError, number>();

/** Notes when the registry wants to be asked again, from its Retry-After (RFC 9110, 10.2.3): seconds, or a date. */
export function noteRetryAfter(error: EngineError, header: string | undefined, nowMs = Date.now()): void {
  const text = header?.trim() ?? '';
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  if (Number.isFinite(ms)) retryAfter.set(error, Math.min(Math.max(ms, 0), maxRetryAfterMs));
}

/** Causes that the next attempt meets again. */
const lasting =
  /^(ENOTFOUND|EPROTO|HPE_HEADER_OVERFLOW|CERT_.*|UNABLE_TO_.*|DEPTH_ZERO_.*|SELF_SIGNED_.*|ERR_TLS_.*|HOSTNAME_MISMATCH|ERR_SSL_.*)$/;

export function isPassing(error: unknown): error is EngineError {
  if (!(error instanceof EngineError) || hopeless.has(error)) return false;
  if (error.code === 'RATE_LIMITED') return true;
  if (error.code === 'REGISTRY_FAILED') return retryable.has(error);
  return error.code === 'REGISTRY_UNREACHABLE' && !lasting.test(causeCode(error.cause));
}

const hopeless = new WeakSet<EngineError>();
/** For an error that no caller shall try again, whatever its cause. */
export function markLasting(error: EngineError): EngineError {
  hopeless.add(error);
  return error;
}

const retryable = new WeakSet<EngineError>();
/** For an answer whose status `mayPass`. */
export function markPassing(error: EngineError): EngineError {
  retryable.add(error);
  return error;
}

function causeCode(cause: unknown): string {
  if (cause instanceof AggregateError) return causeCode(cause.errors[0]);
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return errnoOf(cause) ?? '';
}

/** The attempts of one call. */
export class Retries {
  readonly #policy: RetryPolicy;
  readonly #signal: AbortSignal | undefined;
  #attempts = 1;
  #waitedMs = 0;
  #progress = 0;

  constructor(policy: RetryPolicy, signal: AbortSignal | undefined) {
    this.#policy = policy;
    this.#signal = signal;
  }

  /** Waits as long as it should before the next attempt. Throws the error when it will not pass or has been waited for long enough, the signal's reason when aborted. */
  async wait(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted();
    const { attempts, baseMs, capMs, totalMs } = this.#policy;
    if (!isPassing(error) || this.#attempts >= attempts) throw error;
    const jitter = Math.random() * Math.min(capMs, baseMs * 2 ** (this.#attempts - 1));
    const pauseMs = Math.max(jitter, retryAfter.get(error) ?? 0);
    if (this.#waitedMs + pauseMs > totalMs) throw error;
    this.#attempts += 1;
    this.#waitedMs += pauseMs;
    try {
      await sleep(pauseMs, undefined, { signal: this.#signal });
    } catch (cause) {
      this.#signal?.throwIfAborted();
      throw cause;
    }
  }

  /** Bytes came or went that need not go again. */
  advance(bytes: number): void {
    this.#progress += bytes;
    if (this.#progress < progressBytes) return;
    this.#progress = 0;
    this.#attempts = 1;
    this.#waitedMs = 0;
  }
}
