import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipedJob } from '../../store/jobs/piped.ts';
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
  const run = (stop: AbortSignal) => jobs.run('api.pack', { root, path, output } satisfies PackParams, { signal: stop, lane: 'stream' });
  try {
    yield* pipedJob(output, run, signal);
  } finally {
    await rm(output, { force: true });
  }
}
