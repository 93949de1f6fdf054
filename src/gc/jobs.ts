import type { JobContext } from '../store/jobs/context.ts';
import type { Job } from '../store/port.ts';
import { type PlanParams, planJob } from './plan-job.ts';

/** Heavy work of the collector. */
export const gcJobs: Record<string, Job> = {
  'gc.plan': (context, params: PlanParams) => planJob(context as JobContext, params),
};
