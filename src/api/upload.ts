import { randomUUID } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { EngineError } from '../base/errors.ts';

/** How long the rest of a refused body is read. */
const readOffMs = 5_000;

/** A sender of whom nothing has come for so long is gone, though its connection is not. */
const stallMs = 10 * 60_000;

/** A body on disk; disposing it removes it. */
export type Upload = AsyncDisposable & { readonly file: string; readonly sizeBytes: number };

/**
 * Streams a request body of any size into a temporary file. When it fails the file is removed. Rejects with `UPLOAD_CUT` when the client
 * breaks off, sends nothing for ten minutes, or the signal aborts; a body that cannot be written keeps its connection, so that the error can still be
 * answered.
 */
export async function receiveUpload(body: unknown, directory: string, signal: AbortSignal): Promise<Upload> {
  const file = join(directory, `upload-${randomUUID()}`);
  const remove = () => rm(file, { force: true });
  const source = body instanceof Readable ? body : Readable.from([]);
  const handle = await open(file, 'wx', 0o600);
  const target = handle.createWriteStream();
  try {
    await copy(source, target, signal);
  } catch (error) {
    await remove();
    throw error;
  }
  return { file, sizeBytes: target.bytesWritten, [Symbol.asyncDispose]: remove };
}

/** Not `pipeline`, which destroys its source when the target fails: that would be the connection. */
async function copy(source: Readable, target: Writable, signal: AbortSignal): Promise<void> {
  let cut = false;
  const stop = () => {
    if (source.readableEnded && !signal.aborted) return;
    cut = true;
    target.destroy();
  };
  const stalled = setTimeout(stop, stallMs);
  const onData = () => void stalled.refresh();
  source.on('data', onData);
  source.once('close', stop);
  signal.addEventListener('abort', stop, { once: true });
  if (source.destroyed || signal.aborted) stop();
  else source.pipe(target);
  try {
    await finished(target);
  } catch (cause) {
    if (cut) throw new EngineError('Cancelled', 'UPLOAD_CUT', 'the upload broke off before its end', { cause });
    throw cause;
  } finally {
    clearTimeout(stalled);
    source.off('data', onData);
    source.off('close', stop);
    signal.removeEventListener('abort', stop);
    source.unpipe(target);
  }
}

/**
 * Reads what is left of the body of a request that is to be refused, for a while. A client that is still sending when the connection closes
 * gets a broken pipe, and not the answer that says why.
 */
export async function readOff(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return;
  request.resume();
  await finished(request, { writable: false, signal: AbortSignal.timeout(readOffMs) }).catch(() => undefined);
}
