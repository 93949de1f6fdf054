import type { IncomingMessage } from 'node:http';
import { EngineError } from '../base/errors.ts';
import { invalid } from './errors.ts';

export type JsonLimits = {
  /** Larger ones are refused with 413 before they are read whole. */
  maxBytes: number;
  /** One that is not there by then is refused with 408, and its connection closed. */
  timeoutMs: number;
};

/** A refusal with a status that no kind of error has. */
class BodyRefused extends EngineError {
  readonly statusCode: number;
  constructor(statusCode: 408 | 413, code: string, message: string) {
    super('InvalidArgument', code, message);
    this.statusCode = statusCode;
  }
}

/** Whether the connection can carry nothing more once this error is told. */
export function isTooSlow(error: unknown): boolean {
  return error instanceof BodyRefused && error.statusCode === 408;
}

/** Whether this error says that a body has more bytes than it may. */
export function isTooLarge(error: unknown): boolean {
  return error instanceof BodyRefused && error.statusCode === 413;
}

/** A request's body as JSON; undefined when it is empty. InvalidArgument `BODY_NOT_JSON`; `BODY_TOO_LARGE`; `BODY_TOO_SLOW`. */
export async function readJson(request: IncomingMessage, limits: JsonLimits): Promise<unknown> {
  return parseJson(await readBody(request, limits));
}

/** As `readJson`, of a body that has been read. */
export function parseJson(body: Buffer): unknown {
  const text = body.toString('utf8');
  if (text.trim() === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid('BODY_NOT_JSON', `invalid JSON: ${(cause as SyntaxError).message.slice(0, 300)}`);
  }
}

/** A request's body whole. `BODY_TOO_LARGE`; `BODY_TOO_SLOW`; Cancelled `BODY_CUT`. */
export function readBody(request: IncomingMessage, { maxBytes, timeoutMs }: JsonLimits): Promise<Buffer> {
  const tooLarge = () =>
    new BodyRefused(413, 'BODY_TOO_LARGE', `the request body is larger than ${maxBytes} bytes, the most that a JSON body may have`);
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = (settled: () => void) => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      request.pause();
      settled();
    };
    const onData = (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxBytes) settle(() => reject(tooLarge()));
      else chunks.push(chunk);
    };
    const onEnd = () => settle(() => resolve(Buffer.concat(chunks, bytes)));
    const onClose = () => settle(() => reject(new EngineError('Cancelled', 'BODY_CUT', 'the request body broke off before its end')));
    const timer = setTimeout(() => {
      settle(() => reject(new BodyRefused(408, 'BODY_TOO_SLOW', `the request body did not arrive within ${timeoutMs / 1000} seconds`)));
    }, timeoutMs);
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}
