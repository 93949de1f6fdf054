import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { BenchEngine, residentMegabytes, sleep } from '../engine.ts';
import type { Measure } from '../measure.ts';
import type { BenchOptions } from '../suites.ts';

const containers = 20;

/** The daemon's memory, and what each running container adds to it and in monitors (proportional set size, so that shared pages count once). */
export async function benchMemory({ say }: BenchOptions): Promise<Measure[]> {
  await using engine = await BenchEngine.start();
  const image = await engine.importBusybox();
  await sleep(5_000);
  const idle = residentMegabytes(engine.pid);
  for (let index = 0; index < containers; index++) await engine.cli('run', '-d', '--network', 'host', image, 'sleep', '600');
  await sleep(5_000);
  const daemon = (residentMegabytes(engine.pid) - idle) / containers;
  const monitors = monitorsOf(engine.directory).reduce((sum, pid) => sum + proportionalMegabytes(pid), 0) / containers;
  say(`${containers} containers`);
  return [
    { name: 'daemon, idle', unit: 'MB', values: [idle], aim: 120 },
    { name: 'daemon, more a container', unit: 'MB', values: [daemon] },
    { name: 'monitor of a container', unit: 'MB', values: [monitors] },
    { name: 'a container in all', unit: 'MB', values: [daemon + monitors], aim: 3 },
  ];
}

function monitorsOf(directory: string): number[] {
  return execFileSync('pgrep', ['-x', 'conmon'], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map(Number)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory));
}

function proportionalMegabytes(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024;
}
