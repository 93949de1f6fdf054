import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sha256 } from '../../src/oci/digest.ts';
import { EntryType } from '../../src/store/model.ts';
import { storePaths } from '../../src/store/paths.ts';
import { decodeNode, decodeRoot } from '../../src/store/tree/codec.ts';
import { kill, startProgram } from '../support/child.ts';
import { temporaryFolder } from '../support/filesystem.ts';
import { openStoreForTest } from '../support/store.ts';

const rounds = 20;

/** Runs a process that ingests, edits and tags in a loop, and kills it some rounds and a moment later. */
async function runAndKill(root: string, source: string): Promise<void> {
  const child = await startProgram('ingest-for-ever.ts', root, source);
  let finished = 0;
  child.stdout?.on('data', (dots: Buffer) => {
    finished += dots.length;
  });
  const rounds = Math.floor(Math.random() * 5);
  while (finished < rounds && child.exitCode === null) await sleep(5);
  await sleep(Math.random() * 100);
  await kill(child);
}

/** Follows every reference of the metadata, down to the bytes of the objects. Gives how many trees there are. */
function verify(root: string): { trees: number; images: number } {
  const paths = storePaths(root);
  const database = new DatabaseSync(paths.database, { readOnly: true });
  const node = database.prepare('SELECT bytes FROM nodes WHERE full = ?');
  const seen = new Set<string>();
  const visit = (full: string) => {
    if (seen.has(full)) return;
    seen.add(full);
    const bytes = node.get(Buffer.from(full, 'hex'))?.bytes as Uint8Array | undefined;
    assert.ok(bytes, `node ${full} is missing`);
    assert.equal(sha256(bytes), full);
    for (const entry of decodeNode(bytes)) {
      if (entry.type === EntryType.directory) visit(entry.full);
      if (entry.type !== EntryType.file || seen.has(entry.object)) continue;
      seen.add(entry.object);
      const path = join(paths.objects, entry.object.slice(0, 2), entry.object.slice(2));
      assert.equal(statSync(path).size, entry.size);
      assert.equal(createHash('sha256').update(readFileSync(path)).digest('hex'), entry.object);
    }
  };
  const trees = database.prepare('SELECT id, bytes FROM trees').all() as { id: Uint8Array; bytes: Uint8Array }[];
  for (const { id, bytes } of trees) {
    assert.equal(sha256(bytes), Buffer.from(id).toString('hex'));
    visit(decodeRoot(bytes).full);
  }
  const known = new Set(trees.map(({ id }) => Buffer.from(id).toString('hex')));
  const images = database.prepare('SELECT id, record FROM images').all() as { id: string; record: string }[];
  for (const { record } of images) assert.ok(known.has((JSON.parse(record) as { tree: string }).tree));
  const tags = database.prepare('SELECT image FROM tags').all() as { image: string }[];
  for (const { image } of tags) assert.ok(images.some(({ id }) => id === image));
  database.close();
  return { trees: trees.length, images: images.length };
}

test(`nothing dangles after ${rounds} kills at random moments`, async () => {
  using source = temporaryFolder();
  using folder = temporaryFolder();
  const root = join(folder.path, 'root');
  let found = { trees: 0, images: 0 };
  for (let round = 0; round < rounds; round++) {
    await runAndKill(root, source.path);
    const store = await openStoreForTest({ root });
    const now = verify(root);
    assert.ok(now.trees >= found.trees && now.images >= found.images, 'what was there before is still there');
    found = now;
    await store.close();
  }
  assert.ok(found.trees > rounds, `only ${found.trees} trees were made`);
});
