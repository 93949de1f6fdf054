import { EngineError } from '../../base/errors.ts';

/** Answers that a kind of error has no status for. */
export class RegistryError extends EngineError {
  readonly statusCode: number;
  constructor(statusCode: number, message: string, cause: EngineError) {
    super(cause.kind, cause.code, message, { hint: cause.hint, cause });
    this.statusCode = statusCode;
  }
}

/** Docker: 401 for wrong credentials, 500 for a registry that cannot be asked. */
export function loginFailure(error: unknown): unknown {
  if (!(error instanceof EngineError) || !['Denied', 'Unavailable'].includes(error.kind)) return error;
  return new RegistryError(error.kind === 'Denied' ? 401 : 500, error.message, error);
}

/**
 * The statuses with which Docker's pull fails (moby distribution/errors.go, translatePullError): what is not there and what may not be seen are both 404, which clients take for an image that
 * nobody has; wrong credentials and a registry that cannot be asked are 500.
 */
export function pullFailure(error: unknown, options: { credentials: boolean }): unknown {
  if (!(error instanceof EngineError)) return error;
  const { code, kind, message } = error;
  if (code === 'DENIED') return new RegistryError(404, message, error);
  if (code === 'UNAUTHORIZED') return new RegistryError(options.credentials ? 500 : 404, message, error);
  return kind === 'Unavailable' ? new RegistryError(500, message, error) : error;
}

/** What GET /distribution says: 401 and 403 where they are (moby: errdefs of the registry's own), 404 for what is not there. */
export function inspectFailure(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  if (error.code === 'UNAUTHORIZED') return new RegistryError(401, error.message, error);
  if (error.code === 'DENIED') return new RegistryError(403, error.message, error);
  return error.kind === 'Unavailable' ? new RegistryError(500, error.message, error) : error;
}
