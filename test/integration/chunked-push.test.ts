import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { toBytes } from '../../src/base/bytes.ts';
import { parseDigest } from '../../src/oci/digest.ts';
import type { Descriptor } from '../../src/oci/image.ts';
import { canonical, parseReference } from '../../src/oci/reference.ts';
import type { TreeRef } from '../../src/store/model.ts';
import type { Edit, Store } from '../../src/store/port.ts';
import { ChunkedType } from '../../src/transport/chunked/port.ts';
import { StoreChunkedForm } from '../../src/transport/chunked/service.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import type { FoundManifest } from '../../src/transport/registry/port.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { openStoreForTest } from '../support/store.ts';
import { MemoryRepository, makeLayer, noise, push } from './chunked-support.ts';

const file = (name: string, data: string | Buffer): Edit => ({ op: 'file', path: toBytes(name), data: Buffer.from(data) });
const treeOf = (store: Store, edits: Edit[], base: TreeRef = store.trees.empty) => store.trees.edit(base.id, edits);
const sizeOf = (listed: readonly Descriptor[], type: string) =>
  listed.filter(({ mediaType }) => mediaType === type).map(({ size }) => size);
const sum = (sizes: readonly number[]) => sizes.reduce((total, size) => total + size, 0);

test('without ordinary layers the packs hold it all, and a push sends only new chunks', async () => {
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const repository = new MemoryRepository();
  const form = new StoreChunkedForm(there);
  const first = await treeOf(there, [file('a/data', noise(3 << 20, 'data')), file('b', 'small'), file('c', 'another')]);
  const one = await push(there, form, repository, first, []);
  assert.equal(sizeOf(one.build.listed, ChunkedType.pack).length, 1);
  await new StoreChunkedForm(here).pull(repository, one.found);

  const second = await treeOf(there, [file('b', 'changed'), { op: 'remove', path: toBytes('c') }], first);
  const two = await push(there, form, repository, second, [], one.found);
  assert.ok(two.uploaded < 5000, `${two.uploaded} bytes were new`);
  repository.sentBytes = 0;
  const pulled = await new StoreChunkedForm(here).pull(repository, two.found, { near: [first.id] });
  assert.deepEqual(pulled.tree, second);
  assert.ok(repository.sentBytes < 5000, `${repository.sentBytes} bytes came`);

  const same = await push(there, form, repository, second, [], two.found);
  assert.equal(same.uploaded, 0, 'the same image again is the same manifest');
  assert.deepEqual(same.found.bytes, two.found.bytes);
});

test('over many versions the packs stay within bounds, and any version is whole for who has nothing', { timeout: 300_000 }, async () => {
  await using there = await openStoreForTest();
  const repository = new MemoryRepository();
  const form = new StoreChunkedForm(there);
  let tree = await treeOf(
    there,
    Array.from({ length: 30 }, (_, i) => file(`d${i % 5}/file-${i}`, noise(20_000, `first ${i}`))),
  );
  let found: FoundManifest | undefined;
  let live = 30 * 20_000;
  for (let version = 0; version < 40; version++) {
    const edits = [
      file(`d${version % 5}/file-${version % 30}`, noise(20_000, `version ${version}`)),
      file(`new/${version}`, noise(3000, `new ${version}`)),
    ];
    tree = await treeOf(there, edits, tree);
    live += 3000;
    const pushed = await push(there, form, repository, tree, [], found);
    found = pushed.found;
    const packs = sizeOf(pushed.build.listed, ChunkedType.pack);
    assert.ok(packs.length <= 64, `${packs.length} packs`);
    assert.ok(sum(packs) <= 1.55 * live, `${sum(packs)} bytes are listed for ${live}`);
    const streams = sizeOf(pushed.build.listed, ChunkedType.stream);
    assert.ok(streams.length <= 17, `${streams.length} stream packs`);
    assert.ok(pushed.found.bytes.length < 50_000);
  }
  await using fresh = await openStoreForTest();
  assert.ok(found);
  assert.deepEqual((await new StoreChunkedForm(fresh).pull(repository, found)).tree, tree);
});

test('a previous form that cannot be read is not gone on from', async () => {
  await using there = await openStoreForTest();
  const repository = new MemoryRepository();
  const form = new StoreChunkedForm(there);
  const tree = await treeOf(there, [file('a', 'x')]);
  const bytes = Buffer.from('{"schemaVersion":2,"config":{}}');
  const one = await push(there, form, repository, tree, []);
  const two = await push(there, form, repository, tree, [], { bytes, descriptor: { ...one.found.descriptor, size: bytes.length } });
  assert.deepEqual(two.found.bytes, one.found.bytes);
});

test("through Debian's registry, and its own collection of garbage", { ...needsRegistry, timeout: 240_000 }, async (t) => {
  const registry = await startRegistry(t);
  const client = new RegistryClient();
  const reference = parseReference(`${registry.address}/team/web:1`);
  assert.ok(canonical(reference).startsWith(registry.address));
  const repository = client.repository(reference, { actions: 'pull,push' });
  await using there = await openStoreForTest();
  await using here = await openStoreForTest();
  const form = new StoreChunkedForm(there);

  const send = async (tag: string, { build, found }: Awaited<ReturnType<typeof push>>, memory: MemoryRepository): Promise<void> => {
    for (const { digest, size } of build.listed) {
      const bytes = memory.blobs.get(digest) ?? readFileSync(there.blobs.path(parseDigest(digest)));
      const read = async function* (offset: number) {
        yield bytes.subarray(offset);
      };
      await repository.upload({ digest, size }, { read });
    }
    await repository.putManifest(tag, found.bytes, found.descriptor.mediaType);
  };
  const memory = new MemoryRepository();
  const first = await treeOf(there, [
    file('a/data', noise(5 << 20, 'registry')),
    ...Array.from({ length: 300 }, (_, i) => file(`d/${i}`, noise(i * 10, `r${i}`))),
  ]);
  const layer = await makeLayer(there, undefined, first);
  const one = await push(there, form, memory, first, [layer]);
  await send('1', one, memory);
  const second = await treeOf(there, [file('d/7', 'changed')], first);
  const two = await push(there, form, memory, second, [layer, await makeLayer(there, first, second)], one.found);
  await send('2', two, memory);

  assert.deepEqual((await new StoreChunkedForm(here).pull(repository, await repository.manifest('1'))).tree, first);
  await repository.deleteManifest(one.found.descriptor.digest);
  await registry.collectGarbage();
  const found = await repository.manifest('2');
  const update = await new StoreChunkedForm(here).pull(repository, found, { near: [first.id] });
  assert.deepEqual(update.tree, second);
  assert.ok(update.bytesReceived < 20_000, `${update.bytesReceived} bytes came`);
  await using fresh = await openStoreForTest();
  assert.deepEqual((await new StoreChunkedForm(fresh).pull(repository, found)).tree, second, 'old blobs that it needs are still there');
});

test('blobs of the previous form that are gone cost no more than going on from them', async () => {
  await using there = await openStoreForTest();
  const repository = new MemoryRepository();
  const tree = await treeOf(there, [file('a', noise(100_000, 'a'))]);
  const one = await push(there, new StoreChunkedForm(there), repository, tree, []);
  for (const { digest, mediaType } of one.build.listed) {
    if (mediaType !== ChunkedType.table && mediaType !== ChunkedType.head) continue;
    const blob = repository.blobs.get(digest);
    assert.ok(blob);
    repository.blobs.delete(digest);
    await using fresh = await openStoreForTest();
    const same = await treeOf(fresh, [file('a', noise(100_000, 'a'))]);
    const two = await push(fresh, new StoreChunkedForm(fresh), repository, same, [], one.found);
    assert.match(two.build.explanation.join('\n'), /cannot be gone on from/);
    assert.deepEqual((await new StoreChunkedForm(there).pull(repository, two.found)).tree, tree);
    repository.blobs.set(digest, blob);
  }
});
