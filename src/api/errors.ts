import type { ErrorBody, ErrorObject } from '../api-types/own.ts';
import { EngineError, type ErrorKind, toErrorData } from '../base/errors.ts';

/** The one table from what went wrong to a status of the Docker Engine API. Exhaustive: a new kind does not compile without a row. */
export const statusOfKind: Record<ErrorKind, number> = {
  InvalidArgument: 400,
  Denied: 403,
  NotFound: 404,
  Conflict: 409,
  NotModified: 304,
  Unsupported: 501,
  Unavailable: 503,
  NoSpace: 507,
  DataLoss: 500,
  // Nobody reads it: the client went away. nginx's number keeps it apart in logs.
  Cancelled: 499,
  Internal: 500,
};

/** The answer to a request that failed. An error with a `statusCode` of its own (Fastify's; CONTEXT_NOT_SHARED) keeps it. */
export function toHttpError(error: unknown): { status: number; body: ErrorBody } {
  const own = statusCodeOf(error);
  if (own !== undefined && !(error instanceof EngineError)) {
    const { message, code } = error as Error & { code?: unknown };
    return { status: own, body: { message, code: typeof code === 'string' ? code.replace(/^FST_ERR_/, '') : 'BAD_REQUEST' } };
  }
  const data = toErrorData(error);
  // A command that cannot be run is the client's mistake, whatever found it (Docker: 400 with the exit code in its message).
  const status = own ?? (data.exitCode === 126 || data.exitCode === 127 ? 400 : statusOfKind[data.kind]);
  return { status, body: { message: data.message, code: data.code, hint: data.hint, exitCode: data.exitCode } };
}

function statusCodeOf(error: unknown): number | undefined {
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : undefined;
}

/** The form of an error inside a stream that has already begun. */
export function toErrorObject(error: unknown): ErrorObject {
  const { kind, code, message, hint, exitCode } = toErrorData(error);
  return { kind, code, message, hint, exitCode };
}

export function invalid(code: string, message: string, hint?: string): EngineError {
  return new EngineError('InvalidArgument', code, message, { hint });
}

export function unsupported(code: string, message: string, hint?: string): EngineError {
  return new EngineError('Unsupported', code, message, { hint });
}

/** True for failures that are the client's own doing or its going away: not worth a line at level error. */
export function isExpected(error: unknown): boolean {
  const { status } = toHttpError(error);
  return status < 500 || status === 501;
}
