import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { emptyImageConfig } from '../../src/oci/config.ts';
import type { HistoryEntry } from '../../src/oci/image.ts';
import type { TreeId, TreeRef } from '../../src/store/model.ts';
import type { ImageRecord, KnownLayer, Store } from '../../src/store/port.ts';
import type { ApplyParams } from '../../src/transport/apply/job.ts';
import { StoreLayerMaker } from '../../src/transport/layers/maker.ts';
import type { LayerPlan } from '../../src/transport/layers/port.ts';
import type { LayerChoice, LayerCompression } from '../../src/transport/port.ts';
import { openStoreForTest } from '../support/store.ts';

type Files = Record<string, string | { link: string } | { text: string; time: number }>;

/** A store, a maker and a way to make images of files; times are those of the second at which a file was written, unless it says another. */
async function open() {
  const store = await openStoreForTest();
  const maker = new StoreLayerMaker(store);
  const tree = (files: Files, time = 1_000_000): Promise<TreeRef> => ingest(store, files, time);
  const image = async (files: Files, options: { time?: number; history?: HistoryEntry[]; author?: string } = {}): Promise<ImageRecord> => {
    const config = { ...emptyImageConfig(), ...(options.author === undefined ? {} : { author: options.author }) };
    const history = options.history ?? [{ created_by: 'COPY . .' }];
    return store.images.create({ config, tree: await tree(files, options.time), history });
  };
  const plan = (
    of: ImageRecord,
    stacks: KnownLayer[][] = [],
    choice: LayerChoice = { kind: 'adaptive' },
    compression: LayerCompression = 'gzip',
  ) => maker.plan({ image: of, choice, compression, candidates: stacks });
  const push = async (of: ImageRecord, stacks: KnownLayer[][] = []): Promise<{ plan: LayerPlan; layers: KnownLayer[] }> => {
    const made = await plan(of, stacks);
    return { plan: made, layers: await maker.make(made) };
  };
  return { store, maker, tree, image, plan, push, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

async function ingest(store: Store, files: Files, time: number): Promise<TreeRef> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-plan-'));
  try {
    const folders = new Set([folder]);
    for (const [path, file] of Object.entries(files)) {
      const place = join(folder, path);
      mkdirSync(dirname(place), { recursive: true });
      for (let above = dirname(place); above !== folder; above = dirname(above)) folders.add(above);
      if (typeof file === 'object' && 'link' in file) linkSync(join(folder, file.link), place);
      else writeFileSync(place, typeof file === 'string' ? file : file.text);
    }
    for (const [path, file] of Object.entries(files)) {
      const at = typeof file === 'object' && 'time' in file ? file.time : time;
      utimesSync(join(folder, path), at, at);
    }
    for (const path of folders) utimesSync(path, time, time);
    return await store.trees.ingest({ path: folder });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a client gets: the layers one over the other. */
function unpacked(store: Store, layers: readonly KnownLayer[]): Promise<TreeRef> {
  const params: ApplyParams = { layers: layers.map(({ tree, implied }) => ({ tree, implied })) };
  return store.jobs.run<TreeRef>('transport.apply', params);
}

function kinds(plan: LayerPlan): string[] {
  return plan.layers.map(({ kind }) => kind);
}

function filled(plan: LayerPlan): number {
  return plan.history.filter((entry) => entry.empty_layer !== true).length;
}

const large = (seed: string, bytes = 200_000) => seed.repeat(Math.ceil(bytes / seed.length)).slice(0, bytes);

test('the first push is one layer; a changed line is one small layer more, wherever it came from', async () => {
  await using bench = await open();
  const files: Files = { 'app/index.js': 'console.log(1)', 'app/lib/big': large('lib'), 'bin/tool': large('tool') };
  const first = await bench.push(await bench.image(files));
  assert.deepEqual(kinds(first.plan), ['new']);
  assert.match(
    first.plan.explanation.join('\n'),
    /layer 1 of 1: new, 400 kB in 6 entries \(the whole tree\): there are no layers to build on/,
  );
  // Built elsewhere: the times of everything are others, the content of one file is.
  const image = await bench.image({ ...files, 'app/index.js': 'console.log(2)' }, { time: 2_000_000, author: 'x' });
  const second = await bench.push(image, [first.layers]);
  assert.deepEqual(kinds(second.plan), ['kept', 'new']);
  assert.equal(second.layers[0]?.digest, first.layers[0]?.digest);
  assert.deepEqual([second.plan.layers[1]?.entries, second.plan.layers[1]?.bytes], [2, 14], 'app and app/index.js');
  assert.ok((second.layers[1]?.sizeBytes ?? 0) < 400);
  assert.equal(filled(second.plan), 2);
  const explanation = second.plan.explanation.join('\n');
  assert.match(explanation, /layer 1 of 2: kept, 400 kB in 6 entries, .* as sha256:[0-9a-f]{12}: the registry has it/);
  assert.match(explanation, /layer 2 of 2: new, 14 B in 2 entries \(changes\): what differs from the 1 below/);
  // File for file the image: only times are those that the other side has.
  const got = await unpacked(bench.store, second.layers);
  assert.equal(got.id, second.plan.tree.id);
  assert.equal(got.content, image.treeContent);
  assert.equal((await bench.store.trees.lookup(got.id, 'bin/tool' as never))?.mtimeSec, 1_000_000);
  assert.equal((await bench.store.trees.lookup(got.id, 'app/index.js' as never))?.mtimeSec, 2_000_000);
});

test('a plan is the same on another host that knows nothing but the layers, and so are the bytes', async () => {
  await using here = await open();
  await using there = await open();
  const files: Files = { a: large('a'), b: 'one', c: { link: 'b' } };
  const changed: Files = { ...files, b: 'two', d: 'new' };
  const [first, other] = [await here.push(await here.image(files)), await there.push(await there.image(files))];
  assert.deepEqual(other.layers, first.layers);
  const [second, again] = [
    await here.push(await here.image(changed), [first.layers]),
    await there.push(await there.image(changed), [first.layers]),
  ];
  assert.deepEqual(again, second);
});

test('nothing changed is no new layer; what was made is not made again, and is when its blob is gone', async () => {
  await using bench = await open();
  const files: Files = { a: large('a'), 'd/b': 'b' };
  const first = await bench.push(await bench.image(files));
  const same = await bench.push(await bench.image(files, { time: 5_000_000, author: 'later' }), [first.layers]);
  assert.deepEqual(kinds(same.plan), ['kept']);
  assert.equal(filled(same.plan), 1);
  assert.match(same.plan.explanation.join('\n'), /no new layer/);
  const image = await bench.image({ ...files, c: 'more' });
  const second = await bench.push(image, [first.layers]);
  assert.deepEqual((await bench.push(image, [first.layers])).layers, second.layers);
  const made = second.layers[1] as KnownLayer;
  rmSync(bench.store.blobs.path(made.digest));
  assert.deepEqual((await bench.push(image, [first.layers])).layers, second.layers);
  assert.equal(await bench.store.blobs.has(made.digest), true);
});

test('an earlier state is built on the layers that made it, and the best of several stacks is taken', async () => {
  await using bench = await open();
  const files: Files = { a: large('a'), b: large('b') };
  const first = await bench.push(await bench.image(files));
  const second = await bench.push(await bench.image({ ...files, b: large('other') }), [first.layers]);
  const back = await bench.push(await bench.image(files, { time: 3_000_000, author: 'back' }), [second.layers]);
  assert.deepEqual(kinds(back.plan), ['kept'], 'the layer with the change is given up');
  const elsewhere = await bench.push(await bench.image({ z: large('z') }));
  const image = await bench.image({ z: large('z'), y: 'y' }, { author: 'z' });
  const best = await bench.push(image, [second.layers, elsewhere.layers]);
  assert.equal(best.layers[0]?.digest, elsewhere.layers[0]?.digest);
  assert.equal((await unpacked(bench.store, best.layers)).content, image.treeContent);
});

test('layers are given up when too much of them is dead, and the explanation says so', async () => {
  await using bench = await open();
  const version = (number: number): Files => ({ base: large('base', 400_000), app: large(`v${number} `, 150_000) });
  let { layers, plan } = await bench.push(await bench.image(version(0)));
  let folded = 0;
  for (let number = 1; number <= 6; number++) {
    const image = await bench.image(version(number), { time: 1_000_000 + number });
    const dead = layers.length;
    ({ layers, plan } = await bench.push(image, [layers]));
    assert.equal((await unpacked(bench.store, layers)).content, image.treeContent);
    if (layers.length > dead) continue;
    folded++;
    assert.match(plan.explanation.join('\n'), /would be dead, more than 50 % of what is in use/);
  }
  assert.ok(folded >= 1, 'layers were given up');
  const sizes = await Promise.all(layers.map(({ tree }) => bench.store.trees.stat(tree)));
  assert.ok(sizes.reduce((sum, { bytes }) => sum + bytes, 0) <= 1.51 * 550_000 + 10_000);
});

test('there are never more than 32 layers; the fold leaves room for the next pushes', async () => {
  await using bench = await open();
  const files: Files = { base: large('base', 3_000_000) };
  let { layers, plan } = await bench.push(await bench.image(files));
  const base = layers[0]?.digest;
  for (let number = 1; number <= 34; number++) {
    files[`f${number}`] = `content ${number}`;
    ({ layers, plan } = await bench.push(await bench.image(files), [layers]));
    assert.ok(layers.length <= 32);
    assert.equal(filled(plan), layers.length, 'history and layers are paired by counting');
    if (number !== 32) continue;
    assert.match(plan.explanation.join('\n'), /layers 2 to 32 are folded into the new one: 33 layers would be more than 32/);
    assert.deepEqual(kinds(plan), ['kept', 'new']);
  }
  assert.equal(layers[0]?.digest, base, 'the large one stays');
  assert.equal(layers.length, 4);
  assert.equal((await unpacked(bench.store, layers)).id, plan.tree.id);
});

test('without a candidate, the layers of the image that it was built on are below, with its history', async () => {
  await using bench = await open();
  const baseHistory = [{ created_by: 'ADD rootfs' }, { created_by: 'CMD sh', empty_layer: true }];
  const os: Files = { 'bin/sh': large('sh'), 'etc/os': 'debian' };
  const base = await bench.image(os, { history: baseHistory, author: 'debian' });
  const { layers } = await bench.push(base);
  const first = layers[0] as KnownLayer;
  await bench.store.images.setOrigin(base.id, {
    manifestDigest: first.digest,
    manifestMediaType: 'application/vnd.oci.image.manifest.v1+json',
    configDigest: first.digest,
    layers: layers.map(({ digest, diffId, sizeBytes, mediaType }) => ({ digest, diffId, sizeBytes, mediaType })),
  });
  const history = [
    ...baseHistory,
    { created_by: 'ENV a=b', empty_layer: true },
    { created_by: 'RUN make' },
    { created_by: 'COPY app /app' },
  ];
  const app = await bench.push(await bench.image({ ...os, 'app/x': 'x' }, { history }));
  assert.deepEqual(kinds(app.plan), ['kept', 'new']);
  assert.equal(app.layers[0]?.digest, first.digest);
  assert.match(app.plan.explanation.join('\n'), /kept.*it is a layer of the image that this one was built on/);
  assert.deepEqual(
    app.plan.history.map(({ created_by, empty_layer }) => [created_by, empty_layer === true]),
    [
      ['ADD rootfs', false],
      ['CMD sh', true],
      ['ENV a=b', true],
      ['RUN make', true],
      ['COPY app /app', false],
    ],
  );
  const stranger = await bench.plan(
    await bench.image({ ...os, 'app/x': 'x' }, { author: 'other', history: [{ created_by: 'something else' }] }),
  );
  assert.deepEqual(kinds(stranger), ['new']);
});

test('one layer, one for each step, and groups: the same bytes from the same tree on another host', async () => {
  const files: Files = { 'node_modules/m/i.js': large('dep'), 'src/a.js': 'a', 'src/b.md': 'b' };
  const choices: LayerChoice[] = [
    { kind: 'single' },
    {
      kind: 'groups',
      groups: [
        { name: 'dependencies', patterns: ['node_modules'] },
        { name: 'text', patterns: ['**/*.md'] },
        { name: 'none', patterns: ['nothing'] },
      ],
    },
    { kind: 'per-step' },
  ];
  const made: unknown[] = [];
  for (const author of ['one', 'two']) {
    await using bench = await open();
    const history = [
      { created_by: 'COPY node_modules' },
      { created_by: 'WORKDIR /src' },
      { created_by: 'ENV x', empty_layer: true },
      { created_by: 'COPY src' },
    ];
    const early = await bench.tree({ 'node_modules/m/i.js': large('dep') });
    const tree = await bench.tree(files);
    const steps: TreeId[] = [early.id, early.id, tree.id];
    const image = await bench.store.images.create({ config: { ...emptyImageConfig(), author }, tree, history, steps });
    const results: unknown[] = [];
    for (const choice of choices) {
      const plan = await bench.plan(image, [], choice, 'zstd');
      const layers = await bench.maker.make(plan);
      assert.equal((await unpacked(bench.store, layers)).id, tree.id, choice.kind);
      assert.equal(plan.tree.id, tree.id);
      assert.equal(filled(plan), layers.length);
      results.push(
        layers.map(({ digest, mediaType }) => `${digest} ${mediaType}`),
        plan.history,
        plan.explanation,
      );
      if (choice.kind === 'groups') assert.match(plan.explanation.join('\n'), /no layer for none: nothing matches/);
      if (choice.kind === 'per-step') {
        assert.deepEqual(
          plan.history.map(({ empty_layer }) => empty_layer === true),
          [false, true, true, false],
          'a step that changed nothing owns no layer',
        );
        assert.match(plan.explanation.join('\n'), /step 3: COPY src/);
      }
    }
    made.push(results);
  }
  assert.deepEqual(made[1], made[0]);
});

test('groups that are no groups are refused', async () => {
  await using bench = await open();
  const image = await bench.image({ a: 'a' });
  const group = (name: string, patterns = ['a']) => ({ name, patterns });
  for (const groups of [[], [group('x'), group('x')], Array.from({ length: 40 }, (_, index) => group(`g${index}`))]) {
    await assert.rejects(bench.plan(image, [], { kind: 'groups', groups }), { code: 'LAYER_GROUPS_INVALID' });
  }
  await assert.rejects(bench.plan(image, [], { kind: 'groups', groups: [group('x', ['[a'])] }), { code: 'IGNORE_PATTERN_INVALID' });
});

test('a layer whose content is not here can be built on', async () => {
  await using here = await open();
  const first = await here.push(await here.image({ a: large('a'), b: 'one' }));
  for (const { digest } of first.layers) rmSync(here.store.blobs.path(digest));
  const second = await here.push(await here.image({ a: large('a'), b: 'two' }), [first.layers]);
  assert.deepEqual(kinds(second.plan), ['kept', 'new']);
});

test('names of one file keep one time when only some of them were there before', async () => {
  await using bench = await open();
  const first = await bench.push(await bench.image({ a: large('linked') }));
  const image = await bench.image({ a: large('linked'), b: { link: 'a' }, 'sub/c': { link: 'a' } }, { time: 4_000_000 });
  const second = await bench.push(image, [first.layers]);
  const got = await unpacked(bench.store, second.layers);
  assert.equal(got.id, second.plan.tree.id);
  const times = await Promise.all(
    ['a', 'b', 'sub/c'].map(async (path) => (await bench.store.trees.lookup(got.id, path as never))?.mtimeSec),
  );
  assert.deepEqual(times, [1_000_000, 1_000_000, 1_000_000]);
  assert.deepEqual((await bench.store.trees.get(got.id)).hardlinks, [['a', 'b', 'sub/c']]);
});
