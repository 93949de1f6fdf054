import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { mkfifo } from '../../kernel/files.ts';

/**
 * What a job writes into a pipe, while it writes it. When the caller does not read, the pipe fills up and the job waits in its write, so nothing piles up in memory; when the
 * caller stops, the job is cancelled and its next write fails. `pipe` is a path of nothing yet, in a folder that the caller removes; `run` starts the job, which opens it for writing only.
 */
export async function* pipedJob(
  pipe: string,
  run: (signal: AbortSignal) => Promise<unknown>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  mkfifo(pipe, 0o600);
  const readEnd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  // Until the job's own end is open, and while it closes it, this one keeps the reader from taking a pipe without writers for the end.
  const writeEnd = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
  const reader = new Socket({ fd: readEnd, readable: true, writable: false });
  const cancel = new AbortController();
  const job = run(signal === undefined ? cancel.signal : AbortSignal.any([signal, cancel.signal]))
    .catch((error: unknown) => void reader.destroy(error instanceof Error ? error : new Error(String(error))))
    .finally(() => closeSync(writeEnd));
  try {
    for await (const chunk of reader) yield chunk as Buffer;
  } finally {
    cancel.abort();
    reader.destroy();
    await job;
  }
}
