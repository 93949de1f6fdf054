import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toBytes } from '../../src/base/bytes.ts';
import { openStoreForTest } from './store.ts';

/** Says "ready", then stores one changed folder after another, with a dot for each, until it is killed. */
const [root = '', source = ''] = process.argv.slice(2);
const store = await openStoreForTest({ root });
// A first job, so that its thread is up.
await store.trees.edit(store.trees.empty.id, []);
process.stdout.write('ready\n');
for (let round = 0; ; round++) {
  const folder = join(source, `d${round % 7}`);
  mkdirSync(folder, { recursive: true });
  // Now and then many files, so that both ways of writing and syncing are met.
  const files = round % 4 === 3 ? 700 : 12;
  for (let i = 0; i < files; i++) writeFileSync(join(folder, `f${i}`), `${process.pid} ${round} ${i} `.repeat(1 + (i % 300)));
  const tree = await store.trees.ingest({ path: source, statCache: 'source' });
  const copied = await store.trees.edit(store.trees.empty.id, [
    { op: 'copy', from: tree.id, source: toBytes(''), dest: toBytes(`copy-${round}`), contents: true, chown: { uid: round, gid: 0 } },
  ]);
  const image = await store.images.create({
    config: { architecture: 'amd64', os: 'linux', author: `${process.pid} ${round}` },
    tree: copied,
  });
  await store.images.tag(`crash:${round % 3}`, image.id);
  process.stdout.write('.');
}
