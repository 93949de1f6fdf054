import type { BenchDocker } from './docker.ts';
import type { Measure } from './measure.ts';
import { benchBuild } from './suites/build.ts';
import { benchContainers } from './suites/containers.ts';
import { benchDeploy, benchLink } from './suites/deploy.ts';
import { benchIngest } from './suites/ingest.ts';
import { benchMemory } from './suites/memory.ts';
import { benchReleases } from './suites/releases.ts';
import { benchRun } from './suites/run.ts';
import { benchTrees } from './suites/trees.ts';

export type BenchOptions = {
  runs: number;
  docker: BenchDocker | undefined;
  /** Measure beside podman too, where that can be. */
  podman: boolean;
  /** Small input, to try a bench: its figures say nothing. */
  small: boolean;
  say: (text: string) => void;
};
export type Suite = { about: string; run: (options: BenchOptions) => Promise<Measure[]> };

/** Every bench by name. */
export const suites: Record<string, Suite> = {
  build: {
    about:
      'build of 107,000 files, of 20 stages, of 100 steps, of a file of 4 GB, with the memory for it (also by buildx; beside docker build, podman build)',
    run: benchBuild,
  },
  ingest: { about: 'a directory into the store: cold, unchanged; one file of 5 GB with its peak memory', run: benchIngest },
  trees: { about: 'tree diff; EROFS image of 112,000 inodes, written and mounted', run: benchTrees },
  run: { about: 'run --rm IMAGE true on each network, whole process, by our client and by docker’s (beside Docker)', run: benchRun },
  containers: { about: 'exec; start and stop of 50; ps with 500; stats of 100; logs of 1 GB (beside Docker)', run: benchContainers },
  deploy: {
    about: 'one line changed in 106,000 files: build, push, pull on another host, run; cold push and pull (beside Docker, Podman)',
    run: benchDeploy,
  },
  link: { about: 'the same with the registry behind a link of 100 Mbit/s and 20 ms', run: benchLink },
  releases: {
    about: 'bytes of a changed 200 MB binary and of ten releases of a package tree, against zstd --patch-from and xdelta3',
    run: benchReleases,
  },
  memory: { about: 'memory of the daemon and of monitors, idle and with 50 and 500 containers (beside Docker)', run: benchMemory },
};
