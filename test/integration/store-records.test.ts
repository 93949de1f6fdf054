import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { toBytes } from '../../src/base/bytes.ts';
import { digestOf, type Hex, sha256 } from '../../src/oci/digest.ts';
import type { ImageConfig } from '../../src/oci/image.ts';
import { imageId } from '../../src/store/images.ts';
import type { TreeId } from '../../src/store/model.ts';
import type { Store } from '../../src/store/port.ts';
import { temporaryFolder } from '../support/filesystem.ts';
import { openStoreForTest } from '../support/store.ts';

const config: ImageConfig = { architecture: 'amd64', os: 'linux', config: { Env: ['A=1'], Cmd: ['/bin/sh'] } };
const tree = (store: Store, text: string) =>
  store.trees.edit(store.trees.empty.id, [{ op: 'file', path: toBytes('f'), data: Buffer.from(text) }]);
const image = async (store: Store, text: string) => store.images.create({ config, tree: await tree(store, text) });

test('an image is named by its config and its tree, in whatever order the config is written', () => {
  const id = 'ab'.repeat(32) as TreeId;
  const reordered: ImageConfig = { config: { Cmd: ['/bin/sh'], Env: ['A=1'] }, os: 'linux', architecture: 'amd64' };
  assert.equal(imageId(config, id), imageId(reordered, id));
  const layered: ImageConfig = { ...config, rootfs: { type: 'layers', diff_ids: ['sha256:x'] }, history: [{ comment: 'x' }] };
  assert.equal(imageId(layered, id), imageId(config, id));
  assert.notEqual(imageId({ ...config, config: { Cmd: ['/bin/sh'], Env: ['A=2'] } }, id), imageId(config, id));
  assert.notEqual(imageId(config, 'cd'.repeat(32) as TreeId), imageId(config, id));
  // Fixed for ever: it names images in stores.
  assert.equal(imageId(config, id), 'sha256:aec6b562f00c321cebf3f35f838fa5b895b39e60a8e534aef88d3882b42cb1b8');
});

test('images are found by reference, id and prefix', async () => {
  await using store = await openStoreForTest();
  const [one, two] = [await image(store, '1'), await image(store, '2')];
  await store.images.tag('web', one.id);
  await store.images.tag('registry.example.com:5000/team/web:2', two.id);
  const found = async (name: string) => (await store.images.resolve(name)).id;
  for (const name of [
    'web',
    'web:latest',
    'docker.io/library/web:latest',
    one.id,
    one.id.slice(7),
    one.id.slice(7, 19),
    one.id.slice(0, 30),
  ]) {
    assert.equal(await found(name), one.id, name);
  }
  assert.equal(await found('registry.example.com:5000/team/web:2'), two.id);
  assert.equal(one.sizeBytes, 1);
  for (const name of ['web:other', 'none', 'f'.repeat(64), `sha256:${'0'.repeat(64)}`, 'sha256:abc', 'sha256:']) {
    await assert.rejects(store.images.resolve(name), { kind: 'NotFound', code: 'IMAGE_NOT_FOUND' }, name);
  }
  await assert.rejects(store.images.resolve('Bad Name'), { kind: 'InvalidArgument' });
});

test('a prefix that two images share is ambiguous', async () => {
  await using store = await openStoreForTest();
  const ids = [];
  for (let i = 0; i < 17; i++) ids.push((await image(store, String(i))).id.slice(7));
  const shared = ids.map((id) => id[0] ?? '').find((digit, i, all) => all.indexOf(digit) !== i) ?? '';
  await assert.rejects(store.images.resolve(shared), { kind: 'InvalidArgument', code: 'IMAGE_AMBIGUOUS' });
});

test('a tag moves, goes and keeps its image from being removed', async () => {
  await using store = await openStoreForTest();
  const [one, two] = [await image(store, '1'), await image(store, '2')];
  await store.images.tag('web', one.id);
  await store.images.tag('web', two.id);
  await store.images.tag('web:2', two.id);
  assert.deepEqual(await store.images.references(two.id), ['docker.io/library/web:2', 'docker.io/library/web:latest']);
  assert.deepEqual(await store.images.references(one.id), []);
  await assert.rejects(store.images.remove(two.id), { kind: 'Conflict', code: 'IMAGE_TAGGED', message: /web:2/ });
  assert.equal(await store.images.untag('web'), true);
  assert.equal(await store.images.untag('web'), false);
  await store.images.remove(two.id, { force: true });
  await assert.rejects(store.images.resolve('web:2'), { code: 'IMAGE_NOT_FOUND' });
  await assert.rejects(store.images.remove(two.id), { code: 'IMAGE_NOT_FOUND' });
  await assert.rejects(store.images.tag('web', two.id), { code: 'IMAGE_NOT_FOUND' });
  assert.deepEqual(
    (await store.images.list()).map(({ record }) => record.id),
    [one.id],
  );
});

test('an image made again keeps its first record, and learns where it came from', async () => {
  await using store = await openStoreForTest();
  const output = await tree(store, 'x');
  const history = [{ created_by: 'one' }];
  const first = await store.images.create({ config, tree: output, history });
  const digest = digestOf(sha256('manifest'));
  const origin = { manifestDigest: digest, manifestMediaType: 'm', configDigest: digest, layers: [] };
  const second = await store.images.create({ config, tree: output, history: [{ created_by: 'two' }], origin });
  assert.equal(second.id, first.id);
  assert.deepEqual([second.origin, second.history], [origin, [{ created_by: 'two' }]]);
  const third = await store.images.create({ config, tree: output });
  assert.deepEqual(third, second);
  await assert.rejects(store.images.create({ config, tree: { id: 'ab'.repeat(32) as TreeId, content: sha256('') } }), {
    code: 'TREE_NOT_FOUND',
  });
});

test('last uses are there at once, and after the store is opened again', async () => {
  using folder = temporaryFolder();
  const first = await openStoreForTest({ root: folder.path });
  const { id } = await image(first, 'x');
  const before = Date.now();
  await first.uses.touch('image', id);
  await first.uses.touch('action', 'k');
  assert.ok(((await first.uses.last('image', id)) ?? 0) >= before);
  assert.ok(((await first.images.list())[0]?.lastUsedAtMs ?? 0) >= before);
  assert.equal(await first.uses.last('tree', id), undefined);
  await first.close();
  await using second = await openStoreForTest({ root: folder.path });
  assert.ok(((await second.uses.last('action', 'k')) ?? 0) >= before);
});

test('an action is set once', async () => {
  await using store = await openStoreForTest();
  const key = sha256('key') as Hex;
  const [one, two] = [await tree(store, '1'), await tree(store, '2')];
  assert.equal(await store.actions.get(key), undefined);
  await store.actions.put(key, { tree: one, detail: { env: ['A=1'] } });
  await store.actions.put(key, { tree: two });
  assert.deepEqual(await store.actions.get(key), { tree: one, detail: { env: ['A=1'] } });
});

test('an action whose tree is gone counts as missing and can be set anew', async () => {
  await using store = await openStoreForTest();
  const key = sha256('key') as Hex;
  const output = await tree(store, '1');
  await store.actions.put(key, { tree: { id: 'ab'.repeat(32) as TreeId, content: sha256('') } });
  assert.equal(await store.actions.get(key), undefined);
  await store.actions.put(key, { tree: output });
  assert.deepEqual(await store.actions.get(key), { tree: output });
});

test('a lease holds what a job makes from the moment it is committed, survives the process, and runs out', async () => {
  using folder = temporaryFolder();
  const rows = () => {
    const database = new DatabaseSync(join(folder.path, 'metadata.db'), { readOnly: true });
    const items = database.prepare('SELECT lease, kind, key FROM lease_items ORDER BY kind').all();
    database.close();
    return items.map((row) => ({ ...row }));
  };
  const change = (sql: string, ...values: number[]) => {
    const database = new DatabaseSync(join(folder.path, 'metadata.db'), { timeout: 10_000 });
    const found = database.prepare(sql).all(...values);
    database.close();
    return found;
  };
  const expiry = () => Number(change('SELECT expires_at_ms FROM leases')[0]?.expires_at_ms);
  const first = await openStoreForTest({ root: folder.path });
  const lease = await first.leases.acquire({ purpose: 'test', ttlMs: 900 });
  const data = Buffer.from('x');
  const { id } = await first.trees.edit(first.trees.empty.id, [{ op: 'file', path: toBytes('f'), data }], { lease });
  await lease.add('blob', 'sha256:b');
  const held = [
    { lease: lease.id, kind: 'blob', key: 'sha256:b' },
    { lease: lease.id, kind: 'tree', key: id },
  ];
  assert.deepEqual(rows(), held);
  // The engine lives, so the lease is extended again and again.
  for (let times = 0; times < 2; times++) {
    const before = expiry();
    while (expiry() === before) await sleep(20);
  }
  await first.close();
  change('UPDATE leases SET expires_at_ms = ?', Date.now() + 60_000);
  const second = await openStoreForTest({ root: folder.path });
  assert.deepEqual(rows(), held);
  await second.close();
  change('UPDATE leases SET expires_at_ms = ?', Date.now() - 1);
  await (await openStoreForTest({ root: folder.path })).close();
  assert.deepEqual(rows(), []);

  const third = await openStoreForTest({ root: folder.path });
  {
    await using released = await third.leases.acquire({ purpose: 'test' });
    await released.add('image', 'i');
    assert.equal(rows().length, 1);
  }
  assert.deepEqual(rows(), []);
  await third.close();
});

async function* chunks(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

test('a blob is checked before it is there', async () => {
  await using store = await openStoreForTest();
  const digest = digestOf(sha256('hello world'));
  const noFiles = () => [...readdirSync(store.paths.tmp), ...readdirSync(join(store.paths.blobs, 'sha256'))];
  await assert.rejects(store.blobs.put(chunks('hello ', 'there'), { digest }), { kind: 'DataLoss', code: 'BLOB_DIGEST_MISMATCH' });
  await assert.rejects(store.blobs.put(chunks('hello world'), { sizeBytes: 5 }), { code: 'BLOB_SIZE_MISMATCH' });
  await assert.rejects(store.blobs.put(chunks('hello'), { sizeBytes: 11 }), { code: 'BLOB_SIZE_MISMATCH' });
  const abort = new AbortController();
  const endless = (async function* () {
    for (;;) {
      yield Buffer.from('x');
      abort.abort();
    }
  })();
  await assert.rejects(store.blobs.put(endless, {}, { signal: abort.signal }), { name: 'AbortError' });
  assert.deepEqual(noFiles(), []);
  assert.equal(await store.blobs.has(digest), false);

  assert.deepEqual(await store.blobs.put(chunks('hello ', 'world'), { digest, sizeBytes: 11 }), { digest, sizeBytes: 11 });
  assert.equal(await store.blobs.has(digest), true);
  assert.equal(readFileSync(store.blobs.path(digest), 'utf8'), 'hello world');
  const read: Uint8Array[] = [];
  for await (const chunk of store.blobs.read(digest)) read.push(chunk);
  assert.equal(Buffer.concat(read).toString(), 'hello world');
  await assert.rejects(
    async () => {
      for await (const _ of store.blobs.read(digestOf(sha256('no')))) assert.fail();
    },
    { code: 'BLOB_NOT_FOUND' },
  );
});
