import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { TreeContext } from '../../src/store/port.ts';
import { ByteWriter } from '../../src/store/tree/byte-writer.ts';
import { encodeRoot } from '../../src/store/tree/codec.ts';
import { adoptTree } from '../../src/store/trees/adopt.ts';
import { applyLayers } from '../../src/transport/apply/job.ts';
import { layerGroups } from '../../src/transport/layers/groups-job.ts';
import { layerTree, layerWeights } from '../../src/transport/layers/layer-tree-job.ts';
import { tarToFile } from '../../src/transport/tar/job.ts';
import { untar } from '../../src/transport/untar/job.ts';
import { unlayer } from '../../src/transport/untar/layer-job.ts';
import { describeTree, entryAt, jobContext } from './archives-support.ts';
import { changeSpec, putSpec, random, randomSpec, type Spec } from './layers-trees.ts';

const runs = 300;

function file(content: string, over: Partial<Spec extends Map<string, infer N> ? N : never> = {}) {
  return { kind: 'file' as const, content, mode: 0o644, time: 1, ...over };
}
function dir(time = 1) {
  return { kind: 'dir' as const, content: '', mode: 0o755, time };
}

function spec(nodes: Record<string, ReturnType<typeof file> | ReturnType<typeof dir>>): Spec {
  return new Map(Object.entries(nodes));
}

/** Paths of a layer's tree; what is not a directory without its mode and owner. */
function names(context: TreeContext, tree: TreeId): string[] {
  return describeTree(context, tree).map((line) => (line.startsWith('=') ? line : line.split(' ').slice(0, 2).join(' ')));
}

function contentOf(context: TreeContext, tree: TreeId): string {
  return encodeRoot(new ByteWriter(), context.root(tree)).content;
}

test('a layer over the tree before it gives the tree after it, in everything, by either way of unpacking', async () => {
  using job = jobContext();
  const { context } = job;
  let deletions = 0;
  for (let seed = 0; seed < runs; seed++) {
    const pick = random(seed);
    const first = randomSpec(pick);
    const [before, after] = [putSpec(context, first), putSpec(context, seed % 4 === 0 ? randomSpec(pick) : changeSpec(first, pick))];
    const layer = layerTree(context, { before, after });
    const applied = applyLayers(context, { base: before, layers: [{ tree: layer.tree.id, implied: [] }] });
    assert.deepEqual(describeTree(context, applied.id), describeTree(context, after), `seed ${seed}`);
    assert.equal(applied.id, after, `seed ${seed}`);
    if (names(context, layer.tree.id).some((line) => line.includes('.wh.'))) deletions++;
    assert.equal(layer.empty, before === after, `seed ${seed}`);
    assert.equal(layer.entries, describeTree(context, layer.tree.id).filter((line) => !line.startsWith('=')).length, `seed ${seed}`);
    // With the times of what was there before, less has to be said; and that, too, gives the tree.
    const adopted = adoptTree(context, { tree: after, earlier: before });
    assert.equal(adopted.content, contentOf(context, after), `seed ${seed}`);
    const less = layerTree(context, { before, after: adopted.id });
    assert.equal(applyLayers(context, { base: before, layers: [{ tree: less.tree.id, implied: [] }] }).id, adopted.id, `seed ${seed}`);
    const weight = { entries: less.entries, bytes: less.bytes, empty: less.empty };
    assert.deepEqual(layerWeights(context, { befores: [before], after }), [weight], `seed ${seed}`);
    if (seed % 5 !== 0) continue;
    // The tar of the layer's tree, over the tree before; and read back, it is the same layer.
    const tar = join(job.folder, `${seed}.tar`);
    await tarToFile(context, { tree: layer.tree.id, output: tar, compression: 'none', kind: 'plain' });
    const unpacked = await untar(context, { base: before, sources: [{ file: tar, what: 'the layer' }], kind: 'layer' });
    assert.equal(unpacked.id, after, `seed ${seed}`);
    const read = await unlayer(context, { file: tar, what: 'the layer' });
    assert.deepEqual(read.kind === 'layer' && { id: read.id, implied: read.implied }, { id: layer.tree.id, implied: [] }, `seed ${seed}`);
  }
  assert.ok(deletions > runs / 5, `${deletions} layers had deletions`);
});

test('a layer has what changed, with the directories on the way, and nothing else', () => {
  using job = jobContext();
  const before = putSpec(job.context, spec({ 'a/b/c': file('one'), 'a/b/d': file('two'), 'e/f': file('three'), g: file('four') }));
  const after = putSpec(job.context, spec({ 'a/b/c': file('ONE'), 'a/b/d': file('two'), 'e/f': file('three'), h: file('five!') }));
  const layer = layerTree(job.context, { before, after });
  assert.deepEqual(names(job.context, layer.tree.id), ['f .wh.g', 'd a', 'd a/b', 'f a/b/c', 'f h']);
  assert.deepEqual({ entries: layer.entries, bytes: layer.bytes }, { entries: 5, bytes: 8 });
});

test('one name hides a directory whose old content went, where that is shorter', () => {
  using job = jobContext();
  const before = putSpec(
    job.context,
    spec({ 'd/a': file('1'), 'd/b': file('2'), 'd/c': file('3'), 'k/a': file('1'), 'k/b': file('2'), 'k/keep': file('') }),
  );
  const after = putSpec(job.context, spec({ 'd/c': file('new'), 'd/x': file('4'), 'k/keep': file('') }));
  const layer = layerTree(job.context, { before, after });
  assert.deepEqual(names(job.context, layer.tree.id), ['d d', 'f d/.wh..wh..opq', 'f d/c', 'f d/x', 'd k', 'f k/.wh.a', 'f k/.wh.b']);
});

test('a name too long for its deletion has its directory written anew, with the hardlinks that reach into it', () => {
  using job = jobContext();
  const long = 'n'.repeat(252);
  const linked = file('linked', { inode: 'i' });
  const before = putSpec(
    job.context,
    spec({ [`d/${long}`]: file('1'), 'd/kept': file('2'), 'd/link': linked, 'other/link': linked, 'other/far': file('3') }),
  );
  const after = putSpec(job.context, spec({ 'd/kept': file('2'), 'd/link': linked, 'other/link': linked, 'other/far': file('3') }));
  const layer = layerTree(job.context, { before, after });
  assert.deepEqual(names(job.context, layer.tree.id), [
    'd d',
    'f d/.wh..wh..opq',
    'f d/kept',
    'f d/link',
    'd other',
    'f other/link',
    '= d/link other/link',
  ]);
  assert.equal(applyLayers(job.context, { base: before, layers: [{ tree: layer.tree.id, implied: [] }] }).id, after);
});

test('hardlinks are in a layer whole: when a name joins, when one changes; those that only lost a name stay below', () => {
  using job = jobContext();
  const one = (name: string) => file('same', { inode: name });
  const before = putSpec(job.context, spec({ a: one('i'), b: one('i'), c: one('j'), d: one('j'), e: one('j'), f: one('k'), g: one('k') }));
  const joined = putSpec(
    job.context,
    spec({ a: one('i'), b: one('i'), n: one('i'), c: one('j'), d: one('j'), f: one('k'), g: file('same') }),
  );
  const layer = layerTree(job.context, { before, after: joined });
  assert.deepEqual(names(job.context, layer.tree.id), ['f .wh.e', 'f a', 'f b', 'f g', 'f n', '= a b n']);
  assert.equal(layer.bytes, 8, 'the content of a group counts once');
});

test('a layer of nothing but the root, of everything, and of a name that would mean a deletion', () => {
  using job = jobContext();
  const { context } = job;
  const plain = putSpec(context, spec({ a: file('1') }));
  const rooted = context.putRoot({ ...context.root(plain), mode: 0o700 }).id;
  const layer = layerTree(context, { before: plain, after: rooted });
  assert.deepEqual({ names: names(context, layer.tree.id), empty: layer.empty }, { names: [], empty: false });
  assert.equal(context.root(layer.tree.id).mode, 0o700);
  assert.equal(layerTree(context, { before: plain, after: plain }).empty, true);
  const whole = layerTree(context, { after: plain });
  assert.deepEqual({ tree: whole.tree.id, entries: whole.entries, bytes: whole.bytes }, { tree: plain, entries: 1, bytes: 1 });
  const hidden = putSpec(context, spec({ 'x/.wh.y': file('') }));
  for (const params of [{ after: hidden }, { before: plain, after: hidden }]) {
    assert.throws(() => layerTree(context, params), { code: 'LAYER_NAME', message: /"x\/\.wh\.y"/ });
  }
  // What is there already needs no saying.
  assert.equal(layerTree(context, { before: hidden, after: hidden }).empty, true);
});

test('groups are together the tree again, each path in the first group that matches it', () => {
  using job = jobContext();
  const { context } = job;
  const linked = file('linked', { inode: 'i' });
  const tree = putSpec(
    context,
    spec({
      'node_modules/x/index.js': file('js'),
      'node_modules/x/README.md': file('md'),
      'src/a.ts': file('ts'),
      'usr/bin/a': linked,
      'usr/lib/b': linked,
      empty: dir(),
    }),
  );
  const groups = [
    ['node_modules', '!**/*.md'],
    ['**/*.md', 'usr/lib', 'empty'],
  ];
  const layers = layerGroups(context, { tree, groups });
  assert.deepEqual(
    layers.map(({ group, tree: part }) => [group, names(context, part.id)]),
    [
      [0, ['d node_modules', 'd node_modules/x', 'f node_modules/x/index.js']],
      [
        1,
        [
          'd empty',
          'd node_modules',
          'd node_modules/x',
          'f node_modules/x/README.md',
          'd usr',
          'd usr/bin',
          'f usr/bin/a',
          'd usr/lib',
          'f usr/lib/b',
          '= usr/bin/a usr/lib/b',
        ],
      ],
      [2, ['d src', 'f src/a.ts']],
    ],
  );
  assert.deepEqual(
    layers.map(({ entries, bytes }) => [entries, bytes]),
    [
      [3, 2],
      [9, 8],
      [2, 2],
    ],
  );
});

test('groups of any tree give the tree when they are unpacked in order', () => {
  using job = jobContext();
  for (let seed = 0; seed < runs; seed++) {
    const tree = putSpec(job.context, randomSpec(random(seed)));
    const layers = layerGroups(job.context, { tree, groups: [['a', '!a/b'], ['**/b', '-'], ['**/c']] });
    const applied = applyLayers(job.context, { layers: layers.map((layer) => ({ tree: layer.tree.id, implied: [] as ByteString[] })) });
    assert.equal(applied.id, tree, `seed ${seed}`);
  }
});

test('a file that became a directory and the other way round need no deletion', () => {
  using job = jobContext();
  const before = putSpec(job.context, spec({ a: file('1'), 'b/c': file('2') }));
  const after = putSpec(job.context, spec({ 'a/x': file('1'), b: file('2') }));
  const layer = layerTree(job.context, { before, after });
  assert.deepEqual(names(job.context, layer.tree.id), ['d a', 'f a/x', 'f b']);
  assert.equal(entryAt(job.context, layer.tree.id, 'a')?.mode, 0o755);
});
