import { readdirSync, readFileSync } from 'node:fs';
import { proportionalMegabytes } from './engine.ts';

const sampleMs = 200;

/**
 * The most memory that some processes and all their descendants had at once while `work` ran, in MB: what is theirs, and their share of pages that they have in
 * common (Pss), looked at five times a second.
 */
export async function withPeakMemory<T>(roots: () => number[], work: () => Promise<T>): Promise<{ result: T; peakMegabytes: number }> {
  let peakMegabytes = 0;
  const sample = () => {
    peakMegabytes = Math.max(peakMegabytes, totalMegabytes(roots()));
  };
  sample();
  const timer = setInterval(sample, sampleMs);
  try {
    const result = await work();
    sample();
    return { result, peakMegabytes };
  } finally {
    clearInterval(timer);
  }
}

function totalMegabytes(roots: readonly number[]): number {
  let sum = 0;
  const open = [...roots];
  const seen = new Set<number>();
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    if (seen.has(pid)) continue;
    seen.add(pid);
    try {
      open.push(...children(pid));
      sum += proportionalMegabytes(pid) || 0;
    } catch {
      // It has ended since.
    }
  }
  return sum;
}

function children(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}
