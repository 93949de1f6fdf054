import type { Job } from '../store/port.ts';
import { extractIntoRoot } from './archive/extract.ts';
import { packFromRoot, statInRoot } from './archive/pack.ts';
import { sharedSizes } from './shared-sizes.ts';

/** The heavy work of the routes. */
export const apiJobs: Record<string, Job> = {
  'api.stat': statInRoot,
  'api.pack': packFromRoot,
  'api.extract': extractIntoRoot,
  'api.sharedSizes': sharedSizes,
};
