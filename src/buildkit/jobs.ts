import type { Job } from '../store/port.ts';
import { receiveFiles } from './filesync/receive-job.ts';
import { sendFiles } from './filesync/send-job.ts';

/** The heavy work of this room. Parameters and results are the types of the functions named here. */
export const buildkitJobs: Record<string, Job> = {
  'buildkit.receive': receiveFiles,
  'buildkit.send': sendFiles,
};
