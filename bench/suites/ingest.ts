import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { changeOneLine, prepareApplication } from '../application.ts';
import { type Measure, time } from '../measure.ts';
import { warmPageCache, withStore } from '../store.ts';
import type { BenchOptions } from '../suites.ts';

const largeMegabytes = 5_000;

export async function benchIngest({ runs, say }: BenchOptions): Promise<Measure[]> {
  const application = prepareApplication(say);
  const params = { path: application, statCache: application, owner: { uid: 0, gid: 0 } };
  const cold: Measure = { name: 'ingest of 107,000 files, cold', unit: 's', values: [] };
  const measures = [cold];
  for (let index = 0; index < Math.min(runs, 3); index++) {
    warmPageCache(application);
    await withStore(async (store) => {
      const start = performance.now();
      await store.trees.ingest(params);
      cold.values.push((performance.now() - start) / 1000);
      if (index > 0) return;
      measures.push(await time('ingest, nothing changed', runs, () => store.trees.ingest(params)));
      measures.push(
        await time('ingest, one line changed', runs, () => store.trees.ingest(params), { before: () => changeOneLine(application) }),
      );
    });
  }
  measures.push(...(await benchLargeFile(say)));
  return measures;
}

/** In a process of its own, so that its peak memory is the ingest's. */
async function benchLargeFile(say: (text: string) => void): Promise<Measure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'slipway-large-'));
  try {
    say(`writing a file of ${largeMegabytes / 1000} GB`);
    execFileSync('dd', ['if=/dev/urandom', `of=${directory}/large`, 'bs=1M', `count=${largeMegabytes}`], { stdio: 'ignore' });
    const script = join(directory, 'ingest.mjs');
    const helper = new URL('../store.ts', import.meta.url).href;
    writeFileSync(
      script,
      `const { withStore } = await import(${JSON.stringify(helper)});
       await withStore((store) => store.trees.ingest({ path: ${JSON.stringify(directory)} }));
       console.log(process.resourceUsage().maxRSS);`,
    );
    const start = performance.now();
    const peakKilobytes = Number(execFileSync(process.execPath, [script], { encoding: 'utf8' }));
    const seconds = (performance.now() - start) / 1000;
    return [
      { name: 'ingest of one file of 5 GB', unit: 's', values: [seconds] },
      { name: 'its process, peak resident', unit: 'MB', values: [peakKilobytes / 1024], aim: 200 },
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
