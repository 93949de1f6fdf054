import { once } from 'node:events';
import { create, toBinary } from '@bufbuild/protobuf';
import { EngineError } from '../../base/errors.ts';
import { BytesMessageSchema } from '../gen/filesync_pb.ts';
import { frame } from '../grpc/frames.ts';
import { statusOf } from '../grpc/status.ts';
import type { Session } from '../session/sessions.ts';

const method = '/moby.filesync.v1.FileSend/DiffCopy';
/** Clients built before messages could be larger take four megabytes. */
const maxPieceBytes = 1024 * 1024;
/** A client that takes nothing for that long has the build fail. */
const stalledMs = 300_000;

/** Sends a file into what the client opened for its exporter of that number, and waits until the client has it whole. */
export async function sendStream(
  session: Session,
  source: AsyncIterable<Uint8Array>,
  options: { exporter: number; metadata: Readonly<Record<string, string>>; signal: AbortSignal; onProgress: (bytes: number) => void },
): Promise<void> {
  const what = 'sending the result to the client';
  if (!session.serves(method)) throw new EngineError('InvalidArgument', 'SESSION_UNSUPPORTED', `${what}: its session takes no files`);
  const headers: Record<string, string[]> = { 'buildkit-attachable-exporter-id': [String(options.exporter)] };
  for (const [name, value] of Object.entries(options.metadata)) headers[`exporter-md-${name}`] = [value];
  const stream = session.channel.stream(method, headers);
  const signal = AbortSignal.any([options.signal, session.channel.closed]);
  const status = statusOf(stream, what);
  stream.setTimeout(stalledMs, () =>
    stream.destroy(new EngineError('Unavailable', 'SESSION_SILENT', `${what}: the client does not take it`)),
  );
  const abort = () => stream.destroy();
  signal.addEventListener('abort', abort, { once: true });
  stream.resume();
  let sent = 0;
  try {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.length; at += maxPieceBytes) {
        if (stream.destroyed || stream.closed) break;
        const message = toBinary(BytesMessageSchema, create(BytesMessageSchema, { data: chunk.subarray(at, at + maxPieceBytes) }));
        if (!stream.write(frame(message))) await Promise.race([once(stream, 'drain').catch(() => undefined), status]);
      }
      if (stream.destroyed || stream.closed) break;
      sent += chunk.length;
      options.onProgress(sent);
    }
    if (!stream.destroyed) stream.end();
    const error = await status;
    signal.throwIfAborted();
    if (error !== undefined) throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    if (!stream.closed) stream.close();
  }
}
