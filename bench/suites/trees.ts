import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ErofsOverlaySnapshotter } from '../../src/snapshot/drivers/erofs-overlay.ts';
import { changeOneLine, prepareApplication } from '../application.ts';
import { type Measure, time } from '../measure.ts';
import { withStore } from '../store.ts';
import type { BenchOptions } from '../suites.ts';

export async function benchTrees({ runs, say }: BenchOptions): Promise<Measure[]> {
  const application = prepareApplication(say);
  const runDirectory = mkdtempSync(join(tmpdir(), 'slipway-bench-run-'));
  try {
    return await withStore(async (store) => {
      const params = { path: application, statCache: application };
      const before = await store.trees.ingest(params);
      changeOneLine(application);
      const after = await store.trees.ingest(params);
      const snapshotter = new ErofsOverlaySnapshotter({ store, runDirectory });
      const measures = [
        await time('diff of two trees, one line apart', runs, () => store.trees.diff(before.id, after.id)),
        await time('diff of the tree with nothing', runs, () => store.trees.diff(store.trees.empty.id, after.id)),
        await time('EROFS image of 112,000 inodes, written', runs, () => snapshotter.project(after.id), {
          before: () => snapshotter.discardProjection(after.id),
          aim: 0.5,
        }),
      ];
      let count = 0;
      const mount = async () => {
        const id = `bench-${count++}`;
        await snapshotter.create(id, after.id);
        await snapshotter.remove(id);
      };
      measures.push(await time('snapshot made, mounted and removed', runs, mount));
      await snapshotter.discardProjection(after.id);
      return measures;
    });
  } finally {
    rmSync(runDirectory, { recursive: true, force: true });
  }
}
