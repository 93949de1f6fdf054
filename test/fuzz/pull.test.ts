import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import { ImagePuller } from '../../src/transport/pull/puller.ts';
import { tarFile } from '../contracts/tar.ts';
import { digestOfBytes, FakeRepository, layer, putImage, request, visible } from '../integration/pull-support.ts';
import { openStoreForTest } from '../support/store.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const platform = { os: 'linux', architecture: 'amd64' };
const strange: Json[] = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  '',
  'x'.repeat(300),
  '../..',
  [],
  {},
  [[]],
  { digest: 'sha256:00' },
  '\u0000',
  'sha256:zz',
];

function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A document with one to three places changed: removed, doubled, of another type, or another's. */
function mutate(document: Json, pick: (below: number) => number): Json {
  const copy = structuredClone(document);
  for (let count = 1 + pick(3); count > 0; count--) mutateOnce(copy, pick);
  return copy;
}

function mutateOnce(value: Json, pick: (below: number) => number): void {
  if (typeof value !== 'object' || value === null) return;
  const keys = Object.keys(value);
  const key = keys[pick(keys.length)];
  if (key === undefined) return;
  const holder = value as { [key: string]: Json };
  const child = holder[key] ?? null;
  if (typeof child === 'object' && child !== null && pick(3) > 0) {
    mutateOnce(child, pick);
    return;
  }
  const way = pick(4);
  if (way === 0) delete holder[key];
  else if (way === 1) holder[key] = strange[pick(strange.length)] ?? null;
  else if (way === 2 && Array.isArray(value)) value.push(structuredClone(child));
  else holder[`${key}${pick(3)}`] = structuredClone(child);
}

test('documents that are a little wrong are refused in words, or are an image all the same', async () => {
  await using store = await openStoreForTest();
  const puller = new ImagePuller({ store });
  const repository = new FakeRepository();
  const layers = [layer([tarFile('a', '1')]), layer([tarFile('b', '2')])];
  const { manifest, config } = putImage(repository, layers);
  const read = (name: string) => JSON.parse(String(repository.manifests.get(name)?.bytes ?? repository.blobs.get(name))) as Json;
  const index: Json = { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [{ ...manifest, platform }] };
  const counts = { refused: 0, pulled: 0 };
  for (let seed = 1; seed <= 200; seed++) {
    const pick = randomOf(seed);
    const asIndex = (child: { digest: string; size: number }): Json => ({
      schemaVersion: 2,
      manifests: [{ mediaType: MediaType.ociManifest, digest: child.digest, size: child.size, platform }],
    });
    switch (pick(3)) {
      case 0:
        repository.put(mutate(index, pick) as object, MediaType.ociIndex, 'bad');
        break;
      case 1:
        repository.put(
          asIndex(repository.put(mutate(read(manifest.digest), pick) as object, MediaType.ociManifest)) as object,
          MediaType.ociIndex,
          'bad',
        );
        break;
      default: {
        const changed = repository.putBlob(Buffer.from(JSON.stringify(mutate(read(config.digest), pick))), MediaType.ociConfig);
        repository.put({ ...(read(manifest.digest) as object), config: changed }, MediaType.ociManifest, 'bad');
      }
    }
    const name = `registry.example/team/web:bad`;
    try {
      const { digest } = await puller.pull(repository, request(name, { platform }));
      assert.equal(digest, digestOfBytes(repository.manifests.get('bad')?.bytes ?? Buffer.alloc(0)));
      await store.images.remove((await store.images.resolve(name)).id, { force: true });
      counts.pulled++;
    } catch (error) {
      assert.ok(error instanceof EngineError && error.kind !== 'Internal', `seed ${seed}: ${error instanceof Error ? error.stack : error}`);
      assert.deepEqual(await visible(store), [], `seed ${seed}`);
      counts.refused++;
    }
  }
  assert.ok(counts.refused > 20 && counts.pulled > 20, JSON.stringify(counts));
});
