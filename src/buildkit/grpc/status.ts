import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { EngineError } from '../../base/errors.ts';
import { fromGrpcStatus } from './errors.ts';

/** Undefined when the peer ends the stream with OK; else what it says. */
export function statusOf(stream: ClientHttp2Stream, what: string): Promise<EngineError | undefined> {
  return new Promise((resolve) => {
    let told: EngineError | undefined | 'ok';
    const take = (headers: IncomingHttpHeaders) => {
      const status = headers['grpc-status'];
      if (status === undefined) return;
      const message = decodeMessage(String(headers['grpc-message'] ?? ''));
      told = Number(status) === 0 ? 'ok' : fromGrpcStatus(Number(status), message, what);
    };
    // A peer that refuses at once sends its status in place of headers.
    stream.on('response', (headers) => {
      take(headers);
      if (headers[':status'] !== 200) told ??= fromGrpcStatus(14, `HTTP status ${headers[':status']}`, what);
    });
    stream.on('trailers', take);
    stream.on('error', (error) => {
      told ??= new EngineError('Unavailable', 'SESSION_LOST', `${what}: the client's session broke off`, { cause: error });
    });
    stream.on('close', () => {
      told ??= new EngineError('Unavailable', 'SESSION_LOST', `${what}: the client's session broke off`);
      resolve(told === 'ok' ? undefined : told);
    });
  });
}

/** gRPC over HTTP/2, "Status-Message": percent-encoded. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
