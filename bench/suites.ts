import type { BenchDocker } from './docker.ts';
import type { Measure } from './measure.ts';
import { benchBuild } from './suites/build.ts';
import { benchContainers } from './suites/containers.ts';
import { benchIngest } from './suites/ingest.ts';
import { benchMemory } from './suites/memory.ts';
import { benchRun } from './suites/run.ts';
import { benchTrees } from './suites/trees.ts';

export type BenchOptions = { runs: number; docker: BenchDocker | undefined; say: (text: string) => void };
export type Suite = { about: string; run: (options: BenchOptions) => Promise<Measure[]> };

/** Every bench by name. */
export const suites: Record<string, Suite> = {
  build: { about: 'build of 107,000 files: cold, nothing changed, one line changed (beside docker build)', run: benchBuild },
  ingest: { about: 'a directory into the store: cold, unchanged; one file of 5 GB with its peak memory', run: benchIngest },
  trees: { about: 'tree diff; EROFS image of 112,000 inodes, written and mounted', run: benchTrees },
  run: { about: 'run --rm IMAGE true on each network, whole process, by our client and by docker’s (beside Docker)', run: benchRun },
  containers: { about: 'exec; start and stop of 50; ps with 500; stats of 100; logs of 1 GB (beside Docker)', run: benchContainers },
  memory: { about: 'memory of the daemon and of monitors, idle and with 50 and 500 containers (beside Docker)', run: benchMemory },
};
