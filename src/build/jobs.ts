import type { Job } from '../store/port.ts';
import { sbom } from './attest/sbom-job.ts';
import { subjects } from './attest/subjects-job.ts';
import { filterContext } from './context/filter.ts';
import { readContextList, takeContents } from './context/list-jobs.ts';
import { changeModes } from './steps/change-modes.ts';
import { clampTimes } from './steps/clamp.ts';
import { copySources } from './steps/copy-sources.ts';
import { differenceOfTrees } from './steps/difference.ts';

/** The build's heavy work, for worker threads. */
export const buildJobs: Record<string, Job> = {
  'build.contextList': readContextList,
  'build.copySources': copySources,
  'build.changeModes': changeModes,
  'build.clampTimes': clampTimes,
  'build.difference': differenceOfTrees,
  'build.filterContext': filterContext,
  'build.sbom': sbom,
  'build.subjects': subjects,
  'build.takeContents': takeContents,
};
