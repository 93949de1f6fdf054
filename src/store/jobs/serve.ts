import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { EngineError, toErrorData } from '../../base/errors.ts';
import { fromSqliteError } from '../database/connection.ts';
import type { Job } from '../port.ts';
import { CancelFlag } from './cancel-flag.ts';
import { JobContext } from './context.ts';
import { NodeSource } from './node-source.ts';
import type { JobMessage, JobRequest, JobThreadData } from './protocol.ts';

/** Called by the worker entry, once, with every job of the engine: runs the jobs that the pool sends, one at a time. */
export function serveJobs(jobs: Record<string, Job>): void {
  const port = parentPort;
  if (port === null) throw new Error('serveJobs is for worker threads');
  const { paths } = workerData as JobThreadData;
  const source = new NodeSource(paths.database);
  const send = (message: JobMessage, transfer: Transferable[] = []) => port.postMessage(message, transfer);

  port.on('message', async (request: JobRequest) => {
    const cancel = new CancelFlag(request.cancel);
    const report = (progress: unknown) => send({ kind: 'progress', progress });
    try {
      const job = jobs[request.name];
      if (job === undefined) throw new EngineError('Internal', 'JOB_UNKNOWN', `there is no job ${request.name}`);
      const context = new JobContext({ paths, tmpDir: request.tmpDir, source, cancel, report });
      const result = await job(context, request.params);
      cancel.check();
      const commit = context.prepareCommit();
      send({ kind: 'done', result, commit, roots: context.rootIds() }, commit === undefined ? [] : [commit.nodes.buffer]);
    } catch (error) {
      send({ kind: 'failed', error: toErrorData(fromSqliteError(error, paths.database)) });
    }
  });
}
