import { type ClientRequest, type IncomingMessage, type Agent as PlainAgent, request as requestPlain } from 'node:http';
import { request as requestSecure, type Agent as SecureAgent } from 'node:https';
import { EngineError, isErrno } from '../../base/errors.ts';
import { HttpAnswer } from './answer.ts';

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A body of known length. `chunks` is asked for once a request; more than `length` is not sent. */
export type HttpBody = {
  readonly length: number;
  readonly chunks: () => AsyncIterable<Uint8Array>;
  readonly onSent?: (bytes: number) => void;
};

export type Timeouts = {
  /** Until the connection stands, TLS included. */
  readonly connectMs: number;
  /** From the last byte of the request to the answer's status. */
  readonly answerMs: number;
  /** Between two bytes, in either direction. */
  readonly stallMs: number;
};

export const defaultTimeouts: Timeouts = { connectMs: 15_000, answerMs: 60_000, stallMs: 60_000 };

export type HttpRequest = {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers?: Record<string, string> | undefined;
  readonly body?: Buffer | HttpBody | undefined;
  readonly agent: PlainAgent | SecureAgent;
  readonly timeouts: Timeouts;
  readonly signal?: AbortSignal | undefined;
};

/**
 * Sends one request and gives the answer as soon as its status is there; redirects are not followed. The caller reads the answer's body or discards it.
 * Unavailable `REGISTRY_UNREACHABLE` names the address and why. What the body's source throws comes through as it is.
 */
export async function exchange(request: HttpRequest): Promise<HttpAnswer> {
  const { url, signal, timeouts } = request;
  signal?.throwIfAborted();
  const sent = open(request);
  const source: { error?: unknown } = {};
  try {
    const response = await answerTo(sent, request, source);
    return new HttpAnswer(response, { url, stallMs: timeouts.stallMs, signal });
  } catch (cause) {
    sent.destroy();
    signal?.throwIfAborted();
    if ('error' in source) throw source.error;
    throw cause instanceof EngineError ? cause : unreachable(request.method, url, reasonOf(cause, url), cause);
  }
}

function open({ method, url, headers, body, agent, signal }: HttpRequest): ClientRequest {
  const length = body === undefined && ['GET', 'HEAD', 'DELETE'].includes(method) ? {} : { 'Content-Length': String(body?.length ?? 0) };
  const options = {
    method,
    agent,
    headers: { 'User-Agent': 'slipway', ...headers, ...length },
    ...(signal === undefined ? {} : { signal }),
  };
  return url.protocol === 'https:' ? requestSecure(url, options) : requestPlain(url, options);
}

function answerTo(sent: ClientRequest, { url, body, timeouts }: HttpRequest, source: { error?: unknown }): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const within = (ms: number, what: string) => {
      clearTimeout(timer);
      timer = setTimeout(() => sent.destroy(new TimedOut(`${what} within ${ms / 1000} seconds`)), ms);
    };
    const settled = () => clearTimeout(timer);
    sent.on('error', (error) => {
      settled();
      reject(error);
    });
    // Without an answer and without an error, as after a destroy.
    sent.on('close', () => {
      settled();
      reject(new Error('the connection was closed'));
    });
    sent.on('response', (response) => {
      settled();
      resolve(response);
    });
    within(timeouts.connectMs, 'no connection');
    sent.once('socket', (socket) => {
      if (!socket.connecting && !('secureConnecting' in socket && socket.secureConnecting)) return settled();
      socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', settled);
    });
    sent.once('finish', () => within(timeouts.answerMs, 'no answer'));
    if (body === undefined || Buffer.isBuffer(body)) {
      sent.end(body);
      return;
    }
    pump(sent, body, timeouts.stallMs).catch((error) => {
      source.error = error;
      sent.destroy();
    });
  });
}

class TimedOut extends Error {
  readonly code = 'ETIMEDOUT';
}

/** Writes a body as fast as it is taken. Ends early when the registry has answered, or is gone. */
async function pump(sent: ClientRequest, body: HttpBody, stallMs: number): Promise<void> {
  let answered: IncomingMessage | undefined;
  sent.once('response', (response) => {
    answered = response;
  });
  // What has been asked for by half keeps its connection from being used again.
  const giveUp = () => answered?.once('close', () => sent.destroy());
  let left = body.length;
  for await (const chunk of body.chunks()) {
    if (sent.destroyed || answered !== undefined) return void giveUp();
    const part = chunk.length > left ? chunk.subarray(0, left) : chunk;
    left -= part.length;
    await written(sent, part, stallMs);
    if (sent.destroyed) return;
    body.onSent?.(part.length);
    if (left === 0) break;
  }
  if (answered !== undefined) return void giveUp();
  if (left > 0 && !sent.destroyed) {
    throw new EngineError('DataLoss', 'BLOB_SOURCE_SHORT', `what is uploaded ends ${left} bytes before its size`);
  }
  sent.end();
}

/** Waits until the part has gone: its memory is used again for the next one. */
function written(sent: ClientRequest, part: Uint8Array, stallMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => sent.destroy(new TimedOut(`nothing was taken within ${stallMs / 1000} seconds`)), stallMs);
    const go = () => {
      clearTimeout(timer);
      sent.off('close', go).off('response', go);
      resolve();
    };
    sent.on('close', go).on('response', go);
    sent.write(part, go);
  });
}

/** The address as errors show it: what follows the `?` may be a signature that lets anybody in. */
export function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

export function unreachable(method: HttpMethod, url: URL, why: string, cause?: unknown): EngineError {
  const verb = `${method[0]}${method.slice(1).toLowerCase()}`;
  return new EngineError('Unavailable', 'REGISTRY_UNREACHABLE', `${verb} "${shown(url)}": ${why}`, { cause });
}

/** In the words of Go's network library, which people and clients know. An error of several addresses tried has its reasons inside. */
function reasonOf(cause: unknown, { host, hostname }: Pick<URL, 'host' | 'hostname'>): string {
  if (cause instanceof TimedOut) return cause.message;
  if (cause instanceof AggregateError) return [...new Set(cause.errors.map((each) => reasonOf(each, { host, hostname })))].join('; ');
  if (isErrno(cause, 'ECONNREFUSED')) return `dial tcp ${host}: connect: connection refused`;
  if (isErrno(cause, 'ENOTFOUND', 'EAI_AGAIN')) return `dial tcp: lookup ${hostname}: no such host`;
  if (isPlainAnswer(cause)) return 'http: server gave HTTP response to HTTPS client';
  if (isErrno(cause, 'ETIMEDOUT')) return `dial tcp ${host}: i/o timeout`;
  return cause instanceof Error ? cause.message : String(cause);
}

/** OpenSSL takes the "HTTP/" of an answer for the version of a TLS record. */
function isPlainAnswer(cause: unknown): boolean {
  return cause instanceof Error && /wrong version number|packet length too long/.test(cause.message);
}
