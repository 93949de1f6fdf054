import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { emptyImageConfig } from '../../src/oci/config.ts';
import { digestOf, hexOf, sha256 } from '../../src/oci/digest.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import type { KnownLayer, Store } from '../../src/store/port.ts';
import { StoreLayerMaker } from '../../src/transport/layers/maker.ts';
import type { LayerPlan } from '../../src/transport/layers/port.ts';
import { changeAwkwardRoot, makeAwkwardRoot } from '../support/awkward-root.ts';
import { describeFolder, temporaryFolder } from '../support/filesystem.ts';
import { cannotRunOciPeers } from '../support/oci-peers.ts';
import { openStoreForTest } from '../support/store.ts';

const run = promisify(execFile);

/** An OCI layout of these layers, unpacked by umoci: the folder with its files. */
async function unpackWithUmoci(folder: string, store: Store, plan: LayerPlan, layers: readonly KnownLayer[]): Promise<string> {
  const layout = join(folder, 'layout');
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const put = (content: unknown, mediaType: string) => {
    const bytes = Buffer.from(JSON.stringify(content));
    writeFileSync(join(layout, 'blobs/sha256', sha256(bytes)), bytes);
    return { mediaType, digest: digestOf(sha256(bytes)), size: bytes.length };
  };
  for (const { digest } of layers) copyFileSync(store.blobs.path(digest), join(layout, 'blobs/sha256', hexOf(digest)));
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const config = put({ ...emptyImageConfig(), rootfs, history: plan.history }, MediaType.ociConfig);
  const descriptors = layers.map(({ mediaType, digest, sizeBytes }) => ({ mediaType, digest, size: sizeBytes }));
  const manifest = put({ schemaVersion: 2, mediaType: MediaType.ociManifest, config, layers: descriptors }, MediaType.ociManifest);
  const annotations = { 'org.opencontainers.image.ref.name': 'image' };
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }));
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await run('umoci', ['unpack', '--image', `${layout}:image`, join(folder, 'bundle')]);
  return join(folder, 'bundle/rootfs');
}

test('umoci unpacks adaptive layers and groups to the files of the tree', { skip: cannotRunOciPeers }, async () => {
  using top = temporaryFolder();
  await using store = await openStoreForTest();
  const maker = new StoreLayerMaker(store);
  const source = join(top.path, 'source');
  mkdirSync(source);
  makeAwkwardRoot(source);
  const before = await store.trees.ingest({ path: source });
  changeAwkwardRoot(source);
  const after = await store.trees.ingest({ path: source });
  const history = [{ created_by: 'COPY' }, { created_by: 'RUN' }];
  const earlier = await store.images.create({ config: emptyImageConfig(), tree: before, history: history.slice(0, 1) });
  const image = await store.images.create({
    config: { ...emptyImageConfig(), author: 'x' },
    tree: after,
    history,
    steps: [before.id, after.id],
  });
  const present = await maker.make(await maker.plan({ image: earlier, choice: { kind: 'single' }, compression: 'gzip', candidates: [] }));
  const groups = [{ name: 'many', patterns: ['usr/share', 'links/deep'] }];
  for (const choice of [{ kind: 'adaptive' }, { kind: 'groups', groups }] as const) {
    const plan = await maker.plan({ image, choice, compression: 'gzip', candidates: [present] });
    const layers = await maker.make(plan);
    assert.equal(layers.length, 2, choice.kind);
    const own = join(top.path, `tree-${choice.kind}`);
    mkdirSync(own);
    await store.trees.checkout(plan.tree.id, own);
    const [theirs, ours] = [describeFolder(await unpackWithUmoci(join(top.path, choice.kind), store, plan, layers)), describeFolder(own)];
    assert.deepEqual([...theirs.keys()], [...ours.keys()], choice.kind);
    // Holes are zeros in a tar.
    for (const [path, state] of ours) assert.deepEqual({ ...theirs.get(path), sparse: state.sparse }, state, `${choice.kind}: ${path}`);
  }
});
