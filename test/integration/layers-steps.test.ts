import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptyImageConfig } from '../../src/oci/config.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { ImageRecord, KnownLayer, Store } from '../../src/store/port.ts';
import { StoreLayerMaker } from '../../src/transport/layers/maker.ts';
import { openBuilds } from '../support/builds.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

/** What each step's tree has beside the one before. */
async function added(store: Store, steps: readonly TreeId[]): Promise<string[][]> {
  const lists: string[][] = [];
  for (const [index, after] of steps.entries()) {
    const changes = await store.trees.diff(steps[index - 1] ?? store.trees.empty.id, after, { compare: 'content' });
    lists.push(changes.map(({ kind, path }) => `${kind} ${path}`));
  }
  return lists;
}

test('an image keeps the tree after each step, those of the image that it was built on first', needsRoot, async () => {
  await using builds = await openBuilds();
  const { store } = builds;
  const base = await builds.build('FROM scratch\nCOPY base /\nENV A=b\nCOPY more /', { base: 'x', more: 'y' }, { tags: ['base:1'] });
  assert.deepEqual(await added(store, base.image?.steps ?? []), [['added base'], ['added more']]);
  const text = 'FROM base:1\nWORKDIR /srv\nCOPY a b ./\nCMD ["x"]\nCOPY c ./';
  const app = await builds.build(text, { a: '1', b: '2', c: '3' });
  const steps = app.image?.steps ?? [];
  assert.deepEqual(await added(store, steps), [
    ['added base'],
    ['added more'],
    ['added srv'],
    ['added srv/a', 'added srv/b'],
    ['added srv/c'],
  ]);
  assert.equal(steps.at(-1), app.image?.tree);
  const cached = await builds.build(text, { a: '1', b: '2', c: '3' });
  assert.deepEqual(cached.image?.steps, steps, 'from the cache it is the same');
  const later = await builds.build(text, { a: '1', b: '2', c: 'other' });
  assert.deepEqual(later.image?.steps?.slice(0, 4), steps.slice(0, 4));
  assert.equal(later.image?.steps?.at(-1), later.tree.id);
});

test('where times are set, the steps have them too', needsRoot, async () => {
  await using builds = await openBuilds();
  const { image } = await builds.build(
    'FROM scratch\nCOPY a /\nCOPY b /',
    { a: '1', b: '2' },
    { timestamps: 'epoch', buildArgs: { SOURCE_DATE_EPOCH: '1000' } },
  );
  assert.equal(image?.steps?.length, 2);
  assert.equal(image?.steps?.at(-1), image?.tree);
  const entry = await builds.store.trees.lookup(image?.steps?.[0] as TreeId, 'a' as never);
  assert.equal(entry?.mtimeSec, 1000);
});

test(
  'steps of a base whose layers are known come from its layers; of one that nothing is known of, nothing is said',
  needsRoot,
  async () => {
    await using builds = await openBuilds();
    const { store } = builds;
    const made = await builds.build('FROM scratch\nCOPY one /\nCOPY two /', { one: '1', two: '2' });
    const image = made.image as ImageRecord;
    const maker = new StoreLayerMaker(store);
    const layers = await maker.make(await maker.plan({ image, choice: { kind: 'per-step' }, compression: 'gzip', candidates: [] }));
    assert.equal(layers.length, 2);
    // As a pull records it: the layers are known, the steps are not.
    const config = { ...emptyImageConfig(), author: 'somebody else' };
    const origin = originOf(layers);
    const pulled = await store.images.create({
      config,
      tree: { id: image.tree, content: image.treeContent },
      history: image.history,
      origin,
    });
    await store.images.tag('pulled:1', pulled.id);
    assert.equal(pulled.steps, undefined);
    assert.deepEqual(await maker.stepsOf(pulled), image.steps);
    const unknown = await store.images.create({
      config: { ...config, author: 'nobody' },
      tree: { id: image.tree, content: image.treeContent },
      history: image.history,
    });
    await store.images.tag('unknown:1', unknown.id);
    assert.equal(await maker.stepsOf(unknown), undefined);
    const built = await builds.build('FROM unknown:1\nCOPY three /', { three: '3' });
    assert.equal(built.image?.steps, undefined);
    await assert.rejects(
      maker.plan({ image: built.image as ImageRecord, choice: { kind: 'per-step' }, compression: 'gzip', candidates: [] }),
      {
        code: 'STEPS_UNKNOWN',
        kind: 'Conflict',
        hint: /Build it again here/,
      },
    );
  },
);

function originOf(layers: readonly KnownLayer[]) {
  const digest = layers[0]?.digest as KnownLayer['digest'];
  return {
    manifestDigest: digest,
    manifestMediaType: 'application/vnd.oci.image.manifest.v1+json',
    configDigest: digest,
    layers: layers.map(({ digest: layer, diffId, sizeBytes, mediaType }) => ({ digest: layer, diffId, sizeBytes, mediaType })),
  };
}
