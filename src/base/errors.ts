/** What went wrong, by what the caller can do about it. One table maps kinds to HTTP (api/errors.ts) and one to exit codes (cli). */
export type ErrorKind =
  | 'InvalidArgument' // the request is wrong; sending it again will not help
  | 'NotFound'
  | 'Conflict' // the thing exists, is in use, or is in the wrong state
  | 'NotModified' // already so: Docker's 304 on start and stop
  | 'Denied'
  | 'Unsupported' // a sound request that this engine or host does not do
  | 'Unavailable' // a helper, host feature or peer is missing or down
  | 'NoSpace'
  | 'DataLoss' // bytes on disk or on the wire are not what their digest says
  | 'Cancelled'
  | 'Internal';

export type EngineErrorOptions = { hint?: string | undefined; cause?: unknown; exitCode?: number | undefined };

/**
 * The one error class. `code` is stable and upper case (`IMAGE_NOT_FOUND`), `message` says what and which, `hint` what to do next.
 * `exitCode` is set only where Docker's command line has its own number: 125, 126, 127, and that of a build's step that failed.
 */
export class EngineError extends Error {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly hint: string | undefined;
  readonly exitCode: number | undefined;

  constructor(kind: ErrorKind, code: string, message: string, options: EngineErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'EngineError';
    this.kind = kind;
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode;
  }
}

/** The plain form in which an error crosses a worker boundary or the API. */
export type ErrorData = {
  kind: ErrorKind;
  code: string;
  message: string;
  hint?: string | undefined;
  exitCode?: number | undefined;
  stack?: string | undefined;
};

export function toErrorData(error: unknown): ErrorData {
  if (error instanceof EngineError) {
    return { kind: error.kind, code: error.code, message: error.message, hint: error.hint, exitCode: error.exitCode, stack: error.stack };
  }
  const errno = errnoOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? error.stack : undefined;
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return {
      kind: 'NoSpace',
      code: errno,
      message: `${errno === 'EDQUOT' ? 'the disk quota is used up' : 'the disk is full'}: ${message}`,
      hint: "Free space on the file system that holds the engine's root, or give another one with --root.",
      stack,
    };
  }
  if (error instanceof Error && error.name === 'AbortError') return { kind: 'Cancelled', code: 'CANCELLED', message, stack };
  return { kind: 'Internal', code: errno ?? 'INTERNAL', message, stack };
}

export function fromErrorData(data: ErrorData): EngineError {
  const error = new EngineError(data.kind, data.code, data.message, { hint: data.hint, exitCode: data.exitCode });
  if (data.stack !== undefined) error.stack = data.stack;
  return error;
}

/** The errno name (`ENOENT`) of a system error, else undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && /^E(AI_)?[A-Z0-9]+$/.test(error.code))
    return error.code;
  return undefined;
}

export function isErrno(error: unknown, ...names: string[]): boolean {
  const errno = errnoOf(error);
  return errno !== undefined && names.includes(errno);
}
