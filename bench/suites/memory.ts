import { BenchEngine, proportionalMegabytes, residentMegabytes, sleep } from '../engine.ts';
import { type Measure, median } from '../measure.ts';
import type { BenchOptions } from '../suites.ts';

const counts = [50, 500];
const settleMs = 5_000;

/**
 * Memory idle and with containers that run: of the daemon what is resident, of monitors and shims their proportional set size, so that shared pages count
 * once. Median of three readings.
 */
export async function benchMemory({ docker, say }: BenchOptions): Promise<Measure[]> {
  await using engine = await BenchEngine.start();
  const image = await engine.importBusybox();
  await docker?.take(engine, image);
  const measures: Measure[] = [];
  const engineParts = { daemons: () => [engine.pid], helpers: () => engine.monitors() };
  measures.push(...(await measureSide('slipway', engineParts, (words) => engine.cli(...words), image, say, { idle: 120, container: 3 })));
  if (docker !== undefined) {
    const parts = { daemons: () => docker.processes().daemons, helpers: () => docker.processes().shims };
    measures.push(...(await measureSide('docker', parts, (words) => docker.cli(...words), image, say)));
    for (const measure of measures) if (measure.name.endsWith('slipway')) measure.peer = measure.name.replace(/slipway$/, 'docker');
  }
  return measures;
}

type Parts = { daemons: () => number[]; helpers: () => number[] };

async function measureSide(
  side: string,
  { daemons, helpers }: Parts,
  cli: (words: string[]) => Promise<string>,
  image: string,
  say: (text: string) => void,
  aims: { idle?: number; container?: number } = {},
): Promise<Measure[]> {
  const resident = () => daemons().reduce((sum, pid) => sum + residentMegabytes(pid), 0);
  await sleep(settleMs);
  const idle = await readings(resident);
  const measures: Measure[] = [{ name: `daemon idle: ${side}`, unit: 'MB', values: idle, aim: aims.idle }];
  let running = 0;
  for (const count of counts) {
    say(`${side}: ${count} containers`);
    while (running < count) {
      const some = Math.min(10, count - running);
      await Promise.all(Array.from({ length: some }, () => cli(['run', '-d', '--network', 'none', image, 'sleep', '3600'])));
      running += some;
    }
    await sleep(settleMs);
    const daemon = await readings(resident);
    const held = await readings(() => helpers().reduce((sum, pid) => sum + proportionalMegabytes(pid), 0));
    const each = daemon.map((value, index) => (value - median(idle) + (held[index] ?? 0)) / count);
    measures.push(
      { name: `daemon with ${count}: ${side}`, unit: 'MB', values: daemon },
      { name: `monitors of ${count}: ${side}`, unit: 'MB', values: held },
      { name: `a container in all, of ${count}: ${side}`, unit: 'MB', values: each, aim: aims.container },
    );
  }
  return measures;
}

async function readings(read: () => number): Promise<number[]> {
  const values: number[] = [];
  for (let reading = 0; reading < 3; reading++) {
    if (reading > 0) await sleep(500);
    values.push(read());
  }
  return values;
}
