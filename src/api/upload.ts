import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EngineError } from '../base/errors.ts';

/** A body on disk; disposing it removes it. */
export type Upload = AsyncDisposable & { readonly file: string; readonly sizeBytes: number };

/**
 * Streams a request body of any size into a temporary file. When the client breaks off, or the signal aborts, the file is removed
 * and the promise rejects with `UPLOAD_CUT`.
 */
export async function receiveUpload(body: unknown, directory: string, signal: AbortSignal): Promise<Upload> {
  const file = join(directory, `upload-${randomUUID()}`);
  const remove = () => rm(file, { force: true });
  const source = body instanceof Readable ? body : Readable.from([]);
  const target = createWriteStream(file, { flags: 'wx', mode: 0o600 });
  try {
    await pipeline(source, target, { signal });
  } catch (cause) {
    await remove();
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOSPC' || cause.code === 'EDQUOT')) throw cause;
    throw new EngineError('Cancelled', 'UPLOAD_CUT', 'the upload broke off before its end', { cause });
  }
  return { file, sizeBytes: target.bytesWritten, [Symbol.asyncDispose]: remove };
}
