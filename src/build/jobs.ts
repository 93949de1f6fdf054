import type { Job } from '../store/port.ts';
import { filterContext } from './context/filter.ts';
import { clampTimes } from './steps/clamp.ts';
import { copySources } from './steps/copy-sources.ts';

/** The build's heavy work, for worker threads. */
export const buildJobs: Record<string, Job> = {
  'build.copySources': copySources,
  'build.clampTimes': clampTimes,
  'build.filterContext': filterContext,
};
