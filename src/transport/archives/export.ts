import { join } from 'node:path';
import { pipedJob } from '../../store/jobs/piped.ts';
import type { Store } from '../../store/port.ts';
import { makeWorkspace } from './workspace.ts';

/** A tree as a tar while a job makes it. */
export async function* exportTree(
  store: Store,
  tree: string,
  { signal }: { signal?: AbortSignal | undefined },
): AsyncGenerator<Uint8Array> {
  await using workspace = await makeWorkspace(store.paths.tmp, 'export');
  const pipe = join(workspace.path, 'pipe');
  yield* pipedJob(pipe, (stop) => store.jobs.run('transport.export', { tree, pipe }, { signal: stop, lane: 'stream' }), signal);
}
