import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteString } from '../base/bytes.ts';
import { type Hex, sha256 } from '../oci/digest.ts';
import { Graph } from '../store/collect/graph.ts';
import { type Entry, EntryType } from '../store/model.ts';
import { ByteWriter } from '../store/tree/byte-writer.ts';
import { encodeNode, encodeRoot } from '../store/tree/codec.ts';
import { Ledger } from './ledger.ts';
import { planCollection } from './plan.ts';
import { bytesOver, defaultPolicy, type GcPolicy } from './policy.ts';
import type { Item, View } from './view.ts';

const block = 4096;
const day = 86_400_000;
const meta = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 0, mtimeNsec: 0 };

/** Trees of two levels: each a list of directories, each a list of numbers of files. */
type Shape = number[][];

const shapes = fc.array(fc.array(fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 4 }), { maxLength: 3 }), {
  minLength: 1,
  maxLength: 8,
});

test('the ledger frees what the last holder frees', () => {
  fc.assert(
    fc.property(shapes, fc.infiniteStream(fc.nat()), (trees, choices) => {
      const { graph, tree } = graphOf(trees);
      const ledger = new Ledger(graph, new Float64Array(0), block);
      const held: number[] = [];
      const expected = () => bytesOf(held.map((index) => trees[index] ?? []));
      for (let step = 0; step < 30; step++) {
        const before = expected();
        const choice = choices.next().value ?? 0;
        const adding = held.length === 0 || choice % 2 === 0;
        const index = choice % trees.length;
        const holding = { trees: [tree(adding ? index : (held[choice % held.length] as number))], blobs: [], ownBytes: 0 };
        if (adding) {
          held.push(index);
          assert.equal(ledger.add(holding), expected() - before);
        } else {
          held.splice(choice % held.length, 1);
          assert.equal(ledger.remove(holding), before - expected());
        }
        assert.equal(ledger.unheld.bytes, bytesOf(trees) - expected());
      }
    }),
    { numRuns: 200 },
  );
});

test('a plan frees what it says, takes no more than it must, and says who holds the rest', () => {
  const ages = fc.array(fc.tuple(fc.integer({ min: 0, max: 60 }), fc.boolean()), { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(shapes, ages, fc.integer({ min: 0, max: 200_000 }), (trees, uses, wantedBytes) => {
      const nowMs = 1000 * day;
      const { graph, tree } = graphOf(trees);
      const items = trees.map((_, index) => {
        const [days = 0, held = false] = uses[index] ?? [];
        return result({
          id: `r${index}`,
          trees: [tree(index)],
          lastUsedAtMs: nowMs - days * day,
          held: held ? 'a test holds it' : undefined,
        });
      });
      const view: View = { graph, items, held: [], blobs: { digests: [], bytes: new Float64Array(0) } };
      const disk = { totalBytes: 1e9, freeBytes: 5e8 };
      const plan = planCollection(view, { policy: defaultPolicy, disk, nowMs, id: 'p', block, wantedBytes });
      const gone = new Set(plan.items.map(({ id }) => id));
      const left = trees.filter((_, index) => !gone.has(`r${index}`));
      assert.equal(plan.bytes, bytesOf(trees) - bytesOf(left), 'what it says');
      for (const { id } of plan.items) assert.ok(canGo(uses[Number(id.slice(1))]), `${id} is held or was used of late`);
      assert.equal(plan.missingBytes, Math.max(0, wantedBytes - plan.bytes));
      if (plan.missingBytes > 0) {
        // Everything that may go has gone, or frees nothing.
        for (let i = 0; i < trees.length; i++) {
          if (gone.has(`r${i}`) || !canGo(uses[i])) continue;
          assert.equal(bytesOf(left), bytesOf(trees.filter((_, other) => other !== i && !gone.has(`r${other}`))));
        }
      }
    }),
    { numRuns: 200 },
  );
});

function canGo(use: [number, boolean] | undefined): boolean {
  const [days = 0, held = false] = use ?? [];
  return !held && days >= 1;
}

test('policies keep images by number, use, name and label, and say which rule it was', () => {
  const nowMs = 1000 * day;
  const { graph, tree } = graphOf([[[1]], [[2]], [[3]], [[4]], [[5]]]);
  const image = (index: number, more: Partial<Item>): Item => ({
    ...result({ id: `i${index}`, trees: [tree(index)], lastUsedAtMs: nowMs - (50 + index) * day }),
    kind: 'image',
    labels: {},
    ...more,
  });
  const items = [
    image(0, { references: ['docker.io/library/web:5'] }),
    image(1, { references: ['docker.io/library/web:4'] }),
    image(2, { references: ['docker.io/library/base:stable'] }),
    image(3, { references: ['docker.io/team/tool:1'], labels: { keep: 'yes' } }),
    image(4, { references: ['docker.io/library/web:3'], lastUsedAtMs: nowMs - day }),
  ];
  const view: View = { graph, items, held: [], blobs: { digests: [], bytes: new Float64Array(0) } };
  const images = { keepLast: 1, keepUsedWithinMs: 7 * day, keep: ['base:*'], keepLabels: ['keep=yes'] };
  const policy: GcPolicy = { ...defaultPolicy, images };
  const disk = { totalBytes: 100_000, freeBytes: 0 };
  const plan = planCollection(view, { policy, disk, nowMs, id: 'p', block });
  assert.deepEqual(plan.items.map(({ id }) => id).sort(), ['i0', 'i1']);
  assert.deepEqual(Object.fromEntries(plan.kept.map(({ id, reason }) => [id, reason.replace(/.*\(|\)|has.*/g, '').trim()])), {
    i2: 'gc.images.keep',
    i3: 'gc.images.keep-labels',
    i4: 'gc.images.keep-used-within',
  });
  assert.ok(plan.missingBytes > 0);
});

test('below the high mark nothing goes but what nothing refers to', () => {
  const nowMs = 1000 * day;
  const { graph, tree } = graphOf([[[1, 2]], [[2, 3]]]);
  const view: View = {
    graph,
    items: [result({ id: 'r', trees: [tree(0)], lastUsedAtMs: 0 })],
    held: [],
    blobs: { digests: ['sha256:b'], bytes: Float64Array.of(5000) },
  };
  const plan = planCollection(view, { policy: defaultPolicy, disk: { totalBytes: 100, freeBytes: 50 }, nowMs, id: 'p', block });
  assert.deepEqual(
    plan.items.map(({ kind, bytes, name }) => ({ kind, bytes, name })),
    [{ kind: 'unused', bytes: block + 2 * block, name: '1 trees, 1 files and 1 blobs' }],
  );
});

test('marks are shares, bytes, or both', () => {
  const disk = { totalBytes: 1000, freeBytes: 100 };
  assert.equal(bytesOver(disk, { share: 0.8, freeBytes: 0 }), 100);
  assert.equal(bytesOver(disk, { share: 0.95, freeBytes: 0 }), 0);
  assert.equal(bytesOver(disk, { share: 1, freeBytes: 300 }), 200);
});

function result(given: { id: string; trees: number[]; lastUsedAtMs: number; held?: string | undefined }): Item {
  return { kind: 'result', name: given.id, blobs: [], ownBytes: 0, createdAtMs: 0, sizeBytes: 10_000, remake: '', ...given };
}

/** File number n has n * 1000 bytes. */
function bytesOf(trees: readonly Shape[]): number {
  const files = new Set(trees.flat(2));
  return [...files].reduce((sum, file) => sum + Math.ceil((file * 1000) / block) * block, 0);
}

function graphOf(trees: readonly Shape[]): { graph: Graph; tree: (index: number) => number } {
  const database = new DatabaseSync(':memory:');
  database.exec('CREATE TABLE nodes (full BLOB PRIMARY KEY, bytes BLOB); CREATE TABLE trees (id BLOB PRIMARY KEY, bytes BLOB)');
  const node = (entries: Entry[]) => {
    const writer = new ByteWriter();
    const { start, end, full, content } = encodeNode(writer, entries);
    database.prepare('INSERT OR IGNORE INTO nodes VALUES (?, ?)').run(Buffer.from(full, 'hex'), Buffer.from(writer.view(start, end)));
    return { full, content };
  };
  const ids = trees.map((directories, index) => {
    const entries = directories.map((files, number): Entry => {
      const names = [...new Set(files)];
      const digests = node(
        names.map((file) => ({
          type: EntryType.file,
          name: `f${file}` as ByteString,
          ...meta,
          size: file * 1000,
          object: sha256(`object ${file}`) as Hex,
        })),
      );
      return { type: EntryType.directory, name: `d${number}` as ByteString, ...meta, ...digests };
    });
    const writer = new ByteWriter();
    // The time tells trees apart that hold the same.
    const root = encodeRoot(writer, { ...meta, mode: 0o755, mtimeSec: index, ...node(entries), hardlinks: [] });
    database.prepare('INSERT INTO trees VALUES (?, ?)').run(Buffer.from(root.id, 'hex'), Buffer.from(writer.view(root.start, root.end)));
    return root.id;
  });
  const graph = Graph.read(database);
  database.close();
  return { graph, tree: (index) => graph.trees.indexOf(Buffer.from(ids[index] ?? '', 'hex')) };
}
