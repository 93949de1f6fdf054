import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { messageData } from '../grpc/bytes-message.ts';
import { FrameReader } from '../grpc/frames.ts';
import { statusOf } from '../grpc/status.ts';
import type { Session } from './sessions.ts';

const method = '/moby.upload.v1.Upload/Pull';
/** Addresses of what a client serves to its own build, such as a tar on its standard input. */
const prefix = 'http://buildkit-session/';
const stalledMs = 300_000;

export function isUpload(address: string): boolean {
  return address.startsWith(prefix);
}

/** Fetches such a thing into a temporary file, removed on disposal. */
export async function fetchUpload(
  session: Session,
  address: string,
  options: { tmpDir: string; signal: AbortSignal },
): Promise<{ file: string } & AsyncDisposable> {
  const what = 'the build context';
  if (!session.serves(method))
    throw new EngineError('InvalidArgument', 'SESSION_UNSUPPORTED', `${what}: the client's session does not serve it`);
  const file = join(options.tmpDir, `upload-${randomUUID()}`);
  const remove = () => rm(file, { force: true });
  const path = address.slice(prefix.length - 1);
  // Before the stream: one that ends while nobody reads it loses what it had.
  const target = await open(file, 'wx', 0o600);
  const stream = session.channel.stream(method, { urlpath: [path], urlhost: ['buildkit-session'] });
  const status = statusOf(stream, what);
  stream.end();
  stream.setTimeout(stalledMs, () => stream.destroy(new EngineError('Unavailable', 'SESSION_SILENT', `${what}: the client sends nothing`)));
  const signal = AbortSignal.any([options.signal, session.channel.closed]);
  const abort = () => stream.destroy();
  signal.addEventListener('abort', abort, { once: true });
  try {
    const parts: Uint8Array[] = [];
    const frames = new FrameReader((message) => parts.push(messageData(message)));
    try {
      for await (const chunk of stream) {
        frames.push(chunk as Buffer);
        const ready = parts.splice(0);
        if (ready.length > 0) await target.writev(ready);
      }
      frames.end();
    } catch (error) {
      signal.throwIfAborted();
      throw (await status) ?? error;
    }
    const error = await status;
    signal.throwIfAborted();
    if (error !== undefined) throw error;
    return { file, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    await target.close();
    if (!stream.closed) stream.close();
  }
}
