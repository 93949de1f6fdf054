import { execFileSync } from 'node:child_process';
import { changeOneLine, prepareApplication } from '../application.ts';
import { BenchEngine } from '../engine.ts';
import { type Measure, time } from '../measure.ts';
import { warmPageCache } from '../store.ts';
import type { BenchOptions } from '../suites.ts';

/** Whole process, from the command line's start to its exit. */
export async function benchBuild({ runs, docker, say }: BenchOptions): Promise<Measure[]> {
  const application = prepareApplication(say);
  const measures: Measure[] = [];

  const cold: Measure = { name: 'slipway build, cold', unit: 's', values: [], aim: 15 };
  for (let index = 0; index < Math.min(runs, 3); index++) {
    await using engine = await BenchEngine.start();
    warmPageCache(application);
    const start = performance.now();
    await engine.cli('build', '-t', 'application', application);
    cold.values.push((performance.now() - start) / 1000);
    if (index < Math.min(runs, 3) - 1) continue;
    measures.push(cold);
    measures.push(
      await time('slipway build, nothing changed', runs, () => engine.cli('build', '-t', 'application', application), { aim: 0.9 }),
    );
    measures.push(
      await time('slipway build, one line changed', runs, () => engine.cli('build', '-t', 'application', application), {
        aim: 1.3,
        before: () => changeOneLine(application),
      }),
    );
  }
  if (docker !== undefined) {
    const build = () =>
      execFileSync('docker', ['-H', docker.host, 'build', '-q', '-t', 'application', application], {
        env: { ...process.env, DOCKER_BUILDKIT: '1' },
        stdio: 'pipe',
      });
    measures.push(await time('docker build, cold', 1, build, { warmUp: false, before: () => warmPageCache(application) }));
    measures.push(await time('docker build, nothing changed', Math.min(runs, 3), build));
    measures.push(await time('docker build, one line changed', 1, build, { before: () => changeOneLine(application), warmUp: false }));
  }
  return measures;
}
