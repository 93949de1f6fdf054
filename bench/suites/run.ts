import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BenchEngine, launcher } from '../engine.ts';
import { type Measure, time } from '../measure.ts';
import type { BenchOptions } from '../suites.ts';

const run = promisify(execFile);

/** From the launcher's start to its exit, the container removed. Interleaving is left to the reader: quote medians of one call. */
export async function benchRun({ runs, docker }: BenchOptions): Promise<Measure[]> {
  const counted = Math.max(runs, 10);
  await using engine = await BenchEngine.start();
  const image = await engine.importBusybox();
  const measures: Measure[] = [];
  for (const [network, aim] of [
    ['host', 0.14],
    ['none', 0.14],
    ['bridge', 0.15],
  ] as const) {
    const words = ['run', '--rm', '--network', network, image, 'true'];
    measures.push(
      await time(`slipway run --network ${network}`, counted, () => run(launcher, words, { env: engine.environment }), { aim }),
    );
  }
  if (docker !== undefined) {
    const archive = `${engine.directory}/busybox.tar`;
    await engine.cli('save', '-o', archive, image);
    await run('docker', ['-H', docker, 'load', '-i', archive]);
    for (const network of ['host', 'none', 'bridge']) {
      const words = ['-H', docker, 'run', '--rm', '--network', network, image, 'true'];
      measures.push(await time(`docker run --network ${network}`, counted, () => run('docker', words)));
    }
  }
  return measures;
}
