import type { Measure } from './measure.ts';
import { benchBuild } from './suites/build.ts';
import { benchIngest } from './suites/ingest.ts';
import { benchMemory } from './suites/memory.ts';
import { benchRun } from './suites/run.ts';
import { benchTrees } from './suites/trees.ts';

export type BenchOptions = { runs: number; docker: string | undefined; say: (text: string) => void };
export type Suite = { about: string; run: (options: BenchOptions) => Promise<Measure[]> };

/** Every bench by name. */
export const suites: Record<string, Suite> = {
  build: { about: 'build of 107,000 files: cold, nothing changed, one line changed (beside docker build)', run: benchBuild },
  ingest: { about: 'a directory into the store: cold, unchanged; one file of 5 GB with its peak memory', run: benchIngest },
  trees: { about: 'tree diff; EROFS image of 112,000 inodes, written and mounted', run: benchTrees },
  run: { about: 'run --rm IMAGE true, host and bridge network, whole process (beside docker run)', run: benchRun },
  memory: { about: 'resident memory of the daemon, idle and for each running container', run: benchMemory },
};
