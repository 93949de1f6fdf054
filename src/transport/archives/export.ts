import { closeSync, constants, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { mkfifo } from '../../kernel/files.ts';
import type { Store } from '../../store/port.ts';
import { makeWorkspace } from './workspace.ts';

/**
 * A tree as a tar while a job makes it. Between the two is a pipe: when the caller does not read, the pipe fills up and the job waits in its
 * write, so nothing piles up in memory. When the caller stops, the job's next write fails and it ends.
 */
export async function* exportTree(
  store: Store,
  tree: string,
  { signal }: { signal?: AbortSignal | undefined },
): AsyncGenerator<Uint8Array> {
  await using workspace = await makeWorkspace(store.paths.tmp, 'export');
  const pipe = join(workspace.path, 'pipe');
  mkfifo(pipe, 0o600);
  const readEnd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  // Until the job's own end is open, and while it closes it, this one keeps the reader from taking a pipe without writers for the end.
  const writeEnd = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
  const reader = new Socket({ fd: readEnd, readable: true, writable: false });
  const cancel = new AbortController();
  const stop = signal === undefined ? cancel.signal : AbortSignal.any([signal, cancel.signal]);
  const job = store.jobs
    .run('transport.export', { tree, pipe }, { signal: stop, lane: 'stream' })
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
