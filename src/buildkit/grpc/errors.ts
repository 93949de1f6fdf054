import { Code, ConnectError } from '@connectrpc/connect';
import { EngineError, type ErrorKind, toErrorData } from '../../base/errors.ts';

/** The one table from what went wrong to a gRPC status. Clients put a status before the message, except Unknown, which is what BuildKit has for builds that fail. */
const codeOfKind: Record<ErrorKind, Code> = {
  InvalidArgument: Code.Unknown,
  Denied: Code.Unknown,
  NotFound: Code.NotFound,
  Conflict: Code.Unknown,
  NotModified: Code.AlreadyExists,
  Unsupported: Code.Unknown,
  Unavailable: Code.Unavailable,
  NoSpace: Code.Unknown,
  DataLoss: Code.Unknown,
  Cancelled: Code.Canceled,
  Internal: Code.Unknown,
};

/** Clients show the message alone, so the hint goes into it. */
export function toGrpcError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  const { kind, message, hint } = toErrorData(error);
  return new ConnectError(hint === undefined ? message : `${message}\n${hint}`, codeOfKind[kind], undefined, undefined, error);
}

/** What a call to the client's session met, as an error of the engine. `what` says what was asked for. */
export function fromGrpcError(error: unknown, what: string): EngineError {
  if (error instanceof EngineError) return error;
  const { code, rawMessage } = ConnectError.from(error);
  return fromGrpcStatus(code, rawMessage, what, error);
}

export function fromGrpcStatus(code: number, message: string, what?: string, cause?: unknown): EngineError {
  const told = message === '' ? `the client answered with the gRPC status ${code}` : message;
  const text = what === undefined ? told : `${what}: ${told}`;
  switch (code) {
    case Code.NotFound:
      return new EngineError('NotFound', 'SESSION_NOT_FOUND', text, { cause });
    case Code.Canceled:
      return new EngineError('Cancelled', 'CANCELLED', text, { cause });
    case Code.PermissionDenied:
    case Code.Unauthenticated:
      return new EngineError('Denied', 'SESSION_DENIED', text, { cause });
    case Code.Unimplemented:
      return new EngineError('Unsupported', 'SESSION_UNSUPPORTED', text, { cause });
    case Code.Unavailable:
      return new EngineError('Unavailable', 'SESSION_LOST', text, { cause });
    default:
      return new EngineError('InvalidArgument', 'SESSION_FAILED', text, { cause });
  }
}
