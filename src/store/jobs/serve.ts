import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { EngineError, toErrorData } from '../../base/errors.ts';
import { fromSqliteError } from '../database/connection.ts';
import { isWriterThreadData, serveWriter, WriterThread } from '../objects/writer-thread.ts';
import type { Job } from '../port.ts';
import { CancelFlag } from './cancel-flag.ts';
import { JobContext } from './context.ts';
import { NodeSource } from './node-source.ts';
import type { JobMessage, JobRequest, JobThreadData } from './protocol.ts';
import { Witness } from './witness.ts';

/**
 * Called by the worker entry, once, with every job of the engine: runs the jobs that the pool sends, one at a time. The same entry serves
 * as the thread that writes objects for a job.
 */
export function serveJobs(jobs: Record<string, Job>): void {
  if (isWriterThreadData(workerData)) {
    serveWriter(workerData);
    return;
  }
  const port = parentPort;
  if (port === null) throw new Error('serveJobs is for worker threads');
  const { paths, entry } = workerData as JobThreadData;
  const source = new NodeSource(paths.database);
  const send = (message: JobMessage, transfer: Transferable[] = []) => port.postMessage(message, transfer);
  const startWriter = (folder: string) => new WriterThread(new URL(entry), folder);

  const run = async ({ name, params, tmpDir, cancel, witness: notes }: JobRequest): Promise<void> => {
    const flag = new CancelFlag(cancel);
    const report = (progress: unknown) => send({ kind: 'progress', progress });
    const witness = new Witness(notes);
    source.witness = witness;
    const context = new JobContext({ paths, tmpDir, source, cancel: flag, report, startWriter, witness });
    try {
      const job = jobs[name];
      if (job === undefined) throw new EngineError('Internal', 'JOB_UNKNOWN', `there is no job ${name}`);
      const result = await job(context, params);
      flag.check();
      const commit = context.prepareCommit();
      send({ kind: 'done', result, commit, roots: context.rootIds() }, commit === undefined ? [] : [commit.nodes.buffer]);
    } finally {
      context.objects.end();
    }
  };

  port.on('message', (request: JobRequest) => {
    run(request).catch((error: unknown) => send({ kind: 'failed', error: toErrorData(fromSqliteError(error, paths.database)) }));
  });
}
