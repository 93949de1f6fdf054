import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { sha256 } from '../../oci/digest.ts';
import type { TreeId } from '../../store/model.ts';
import {
  type CachedResult,
  type CachedTree,
  type CacheEntries,
  decodeCacheManifest,
  decodeEntries,
  encodeCacheManifest,
  encodeEntries,
} from './document.ts';
import { cacheLimits, mergeEntries, saysAll } from './merge.ts';
import { parseCacheExport, parseCacheImport } from './parse.ts';
import { Speeds, TransferWatch } from './speed.ts';
import { spansOf } from './targets/spans.ts';

const nowMs = 1_800_000_000_000;

function treeOf(name: string, packs: number[] = [0]): CachedTree {
  return { id: sha256(`tree ${name}`) as TreeId, content: sha256(`content ${name}`), sizeBytes: 5, packs };
}

function resultOf(name: string, tree: CachedTree, more: Partial<CachedResult> = {}): CachedResult {
  const [createdAtMs, madeAtMs] = [nowMs - 5, undefined];
  return {
    recipe: sha256(`recipe ${name}`),
    content: sha256(name),
    tree: tree.id,
    createdAtMs,
    madeAtMs,
    costMs: 3,
    totalMs: 4,
    usedAtMs: nowMs,
    ...more,
  };
}

function entriesOf(trees: readonly CachedTree[], results: readonly CachedResult[]): CacheEntries {
  return { trees: new Map(trees.map((tree) => [tree.id, tree])), results, mounts: [] };
}

test('entries are read as they were written; the same ones give the same bytes', async () => {
  const tree = treeOf('a', [0, 7]);
  const mount = { id: '/root/.npm', platform: 'linux/amd64', tree: tree.id, costMs: 9, usedAtMs: nowMs };
  const entries = {
    ...entriesOf([tree], [resultOf('a', tree), resultOf('b', tree, { content: undefined, totalMs: undefined })]),
    mounts: [mount],
  };
  const { bytes, descriptor } = await encodeEntries(entries);
  const read = await decodeEntries(bytes, 'test');
  assert.deepEqual([...read.trees.values()], [tree]);
  assert.deepEqual(new Set(read.results), new Set(entries.results));
  assert.deepEqual(read.mounts, [mount]);
  assert.equal((await encodeEntries(read)).descriptor.digest, descriptor.digest);
  assert.deepEqual(decodeCacheManifest(encodeCacheManifest({ entries: descriptor, blobs: [] }), 'test'), {
    entries: descriptor,
    blobs: [],
  });
});

test('whatever a cache says, reading it gives entries or one kind of error', async () => {
  const bad = { code: 'CACHE_INVALID' };
  const row = fc.array(fc.oneof(fc.constant(sha256('x')), fc.integer(), fc.constant(null), fc.string(), fc.array(fc.integer())), {
    maxLength: 9,
  });
  const rows = fc.oneof(fc.array(row, { maxLength: 3 }), fc.anything());
  await fc.assert(
    fc.asyncProperty(fc.record({ version: fc.constant(1), trees: rows, results: rows, mounts: rows }), async (document) => {
      const bytes = zstdCompressSync(JSON.stringify(document));
      await decodeEntries(bytes, 'test').catch((error) => assert.equal(error.code, bad.code, String(error.stack)));
    }),
    { numRuns: 300 },
  );
  for (const json of ['null', '[]', '{"version":2}', '{"version":1}', 'nonsense'])
    await assert.rejects(decodeEntries(zstdCompressSync(json), 'test'), bad);
  await assert.rejects(decodeEntries(Buffer.from('not zstd'), 'test'), bad);
  await assert.rejects(decodeEntries(zstdCompressSync(Buffer.alloc(64 << 20)), 'a bomb'), bad);
  for (const text of ['', '{}', '{"schemaVersion":2}', '[1]']) assert.throws(() => decodeCacheManifest(Buffer.from(text), 'test'), bad);
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: `sha256:${sha256('')}`, size: 0 };
  const image = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers: [] };
  assert.throws(() => decodeCacheManifest(Buffer.from(JSON.stringify(image)), 'web:1'), { ...bad, message: /no build cache of slipway/ });
});

test('a merge keeps what is there, prefers what is new, and forgets what nobody used for a month', () => {
  const [a, b, c] = [treeOf('a'), treeOf('b'), treeOf('c')];
  const old = resultOf('old', a, { usedAtMs: nowMs - cacheLimits.ageMs - 1 });
  const before = entriesOf([a, b], [old, resultOf('kept', b), resultOf('same', b)]);
  const merged = mergeEntries(before, { results: [resultOf('same', c)], mounts: [] }, nowMs);
  assert.deepEqual(
    new Map(merged.results.map(({ recipe, tree }) => [recipe, tree])),
    new Map([
      [sha256('recipe kept'), b.id],
      [sha256('recipe same'), c.id],
    ]),
  );
  assert.deepEqual(merged.trees, new Set([b.id, c.id]));
});

test('limits on results, trees and packs hold, and what is new stays within them or not', () => {
  const trees = Array.from({ length: cacheLimits.trees + 50 }, (_, index) => treeOf(String(index), [index]));
  const results = trees.map((tree, index) => resultOf(String(index), tree, { usedAtMs: nowMs - index }));
  const fresh = Array.from({ length: 5 }, (_, index) => treeOf(`fresh ${index}`));
  const merged = mergeEntries(
    entriesOf(trees, results),
    { results: fresh.map((tree, index) => resultOf(`fresh ${index}`, tree, { usedAtMs: nowMs - 1000 })), mounts: [] },
    nowMs,
  );
  for (const { id } of fresh) assert.ok(merged.trees.has(id));
  const packs = new Set(trees.filter(({ id }) => merged.trees.has(id)).flatMap(({ packs: of }) => of));
  assert.equal(packs.size, cacheLimits.packs);
  assert.ok(merged.trees.has(trees[0]?.id as TreeId));
  const many = Array.from({ length: cacheLimits.results + 10 }, (_, index) =>
    resultOf(`many ${index}`, treeOf('one'), { usedAtMs: nowMs - index }),
  );
  assert.equal(mergeEntries(entriesOf([treeOf('one')], many), { results: [], mounts: [] }, nowMs).results.length, cacheLimits.results);
});

test('an export that says nothing new is none, once a day', () => {
  const tree = treeOf('a');
  const told = { results: [resultOf('a', tree)], mounts: [] };
  assert.equal(saysAll(undefined, told, nowMs), false);
  assert.equal(saysAll(entriesOf([tree], told.results), told, nowMs), true);
  assert.equal(saysAll(entriesOf([tree], told.results), told, nowMs + 25 * 3600_000), false);
  assert.equal(saysAll(entriesOf([tree], [resultOf('a', treeOf('b'))]), told, nowMs), false);
});

test('attributes are those of BuildKit', () => {
  assert.deepEqual(parseCacheExport({ type: 'local', dest: '/c', mode: 'max', 'ignore-error': 'false' }), {
    kind: 'local',
    path: '/c',
    mode: 'max',
    ignoreError: false,
  });
  assert.deepEqual(parseCacheImport({ type: 'registry', ref: 'a/b:c' }), { kind: 'registry', reference: 'a/b:c' });
  const s3 = {
    type: 's3',
    bucket: 'ci-1',
    region: 'r',
    endpoint_url: 'http://minio:9000',
    use_path_style: 'true',
    access_key_id: 'i',
    secret_access_key: 's',
  };
  assert.deepEqual(parseCacheImport(s3), {
    kind: 's3',
    bucket: 'ci-1',
    prefix: '',
    region: 'r',
    endpoint: 'http://minio:9000',
    pathStyle: true,
    credentials: { accessKeyId: 'i', secretAccessKey: 's' },
  });
  const invalid: Record<string, string>[] = [
    {},
    { type: 'local' },
    { type: 'local', src: 'relative' },
    { type: 'registry' },
    { type: 'local', src: '/c', sorce: '/d' },
    { type: 's3', bucket: 'a/../b' },
    { type: 's3', bucket: 'abc', access_key_id: 'alone' },
    { type: 's3', bucket: 'abc', endpoint_url: 'file:///etc' },
  ];
  for (const attributes of invalid)
    assert.throws(() => parseCacheImport(attributes), { kind: 'InvalidArgument' }, JSON.stringify(attributes));
  assert.throws(() => parseCacheExport({ type: 'local', dest: '/c', mode: 'most' }), { code: 'CACHE_OPTION_INVALID' });
  for (const type of ['inline', 'gha', 'azblob']) assert.throws(() => parseCacheExport({ type }), { code: 'CACHE_TYPE_UNSUPPORTED' });
});

test('a transfer is given up at once where the place is known to be too slow, and never where it is fast enough', () => {
  using slow = new TransferWatch({ worthMs: 1000, speed: 10 });
  slow.planned(10_001);
  assert.equal(slow.signal.aborted, true);
  using fast = new TransferWatch({ worthMs: 1000, speed: 10 });
  fast.planned(9_999);
  assert.equal(fast.signal.aborted, false);
  using unknown = new TransferWatch({ worthMs: 1000, speed: undefined });
  unknown.planned(1e12);
  assert.equal(unknown.signal.aborted, false);
});

test('a transfer from which nothing comes is given up', async () => {
  using watch = new TransferWatch({ worthMs: 1, speed: undefined });
  const { signal } = watch;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  assert.match(String(signal.reason), /making it took/);
});

test('what is known of a place follows what it does', () => {
  const speeds = new Speeds();
  speeds.measured('a', { bytes: 1000, ms: 1 });
  assert.equal(speeds.of('a'), undefined);
  speeds.measured('a', { bytes: 1_000_000, ms: 1000 });
  speeds.measured('a', { bytes: 3_000_000, ms: 1000 });
  assert.equal(speeds.of('a'), 2000);
  speeds.late('a');
  assert.equal(speeds.isLate('a'), true);
  speeds.onTime('a');
  assert.equal(speeds.isLate('a'), false);
});

test('ranges that are near each other are one request, and every one is in one', () => {
  const gaps = fc.array(fc.tuple(fc.nat(200_000), fc.integer({ min: 1, max: 2 << 20 })), { maxLength: 40 });
  fc.assert(
    fc.property(gaps, (list) => {
      let at = 0;
      const ranges = list.map(([gap, length]) => {
        const offset = at + gap;
        at = offset + length;
        return { offset, length };
      });
      const spans = spansOf(ranges);
      assert.deepEqual(
        spans.flatMap((span) => span.ranges),
        ranges,
      );
      for (const { start, end, ranges: of } of spans) {
        assert.equal(start, of[0]?.offset);
        assert.ok(of.every(({ offset, length }) => offset >= start && offset + length <= end));
      }
    }),
    { numRuns: 200 },
  );
});
