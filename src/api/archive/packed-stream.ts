import { randomUUID } from 'node:crypto';
import { closeSync, constants, openSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { mkfifo } from '../../kernel/files.ts';
import type { Jobs } from '../../store/port.ts';
import type { LiveRoot } from './live-root.ts';
import type { PackParams } from './pack.ts';

/**
 * A path of a container as a tar while a job makes it, through a pipe whose limit is the back-pressure (docs/adr/0033): nothing piles up in memory or on
 * disk, however large it is. Fails with the job's error. When the caller stops, the job's next write fails and it ends.
 */
export async function* packedStream(
  jobs: Jobs,
  { root, path, tmpDir, signal }: { root: LiveRoot; path: string; tmpDir: string; signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  const output = join(tmpDir, `archive-${randomUUID()}`);
  mkfifo(output, 0o600);
  const readEnd = openSync(output, constants.O_RDONLY | constants.O_NONBLOCK);
  // Until the job's own end is open, and while it closes it, this one keeps the reader from taking a pipe without writers for the end.
  const writeEnd = openSync(output, constants.O_WRONLY | constants.O_NONBLOCK);
  const reader = new Socket({ fd: readEnd, readable: true, writable: false });
  const cancel = new AbortController();
  const job = jobs
    .run('api.pack', { root, path, output } satisfies PackParams, { signal: AbortSignal.any([signal, cancel.signal]), lane: 'stream' })
    .catch((error: unknown) => void reader.destroy(error instanceof Error ? error : new Error(String(error))))
    .finally(() => closeSync(writeEnd));
  try {
    for await (const chunk of reader) yield chunk as Buffer;
  } finally {
    cancel.abort();
    reader.destroy();
    await job;
    await rm(output, { force: true });
  }
}
