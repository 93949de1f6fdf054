import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { EngineError } from '../../src/base/errors.ts';
import { MediaType } from '../../src/oci/media-types.ts';
import { parseReference } from '../../src/oci/reference.ts';
import { ImagePuller } from '../../src/transport/pull/puller.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import { tarFile } from '../contracts/tar.ts';
import { startFaultProxy, transientFaults } from '../support/fault-proxy.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { openStoreForTest } from '../support/store.ts';
import { type FakeImage, FakeRepository, layer, pieces, putImage, visible } from './pull-support.ts';

const options = { ...needsRegistry, timeout: 120_000 };
const retries = { baseMs: 5, capMs: 50 };

/** Three layers with 2 MB and forty times `fileBytes` that do not compress, and a deletion. */
function sample(fileBytes: number): { repository: FakeRepository; image: FakeImage } {
  const repository = new FakeRepository();
  const layers = [
    layer(Array.from({ length: 40 }, (_, index) => tarFile(`usr/lib/${index}`, randomBytes(fileBytes)))),
    layer([tarFile('usr/lib/.wh.3', ''), tarFile('big', randomBytes(2_000_000))], zstdCompressSync, MediaType.ociLayerZstd),
    layer([tarFile('app/main', 'v1')], (tar) => tar, MediaType.ociLayer),
  ];
  return { repository, image: putImage(repository, layers, { tag: '1' }) };
}

/** Puts what a fake repository has into a real one. */
async function fill(address: string, { repository, image }: ReturnType<typeof sample>): Promise<void> {
  const real = new RegistryClient().repository({ domain: address, path: 'team/web' }, { actions: 'pull,push' });
  for (const descriptor of [image.config, ...image.layers]) {
    const bytes = repository.blobs.get(descriptor.digest) ?? assert.fail();
    await real.upload(descriptor, { read: (offset) => pieces(bytes.subarray(offset)) });
  }
  const { bytes, mediaType } = repository.manifests.get('1') ?? assert.fail();
  await real.putManifest('1', bytes, mediaType);
}

test('a pull through a registry where much goes wrong is right in the end, or says what went wrong and goes on', options, async (t) => {
  const registry = await startRegistry(t);
  const made = sample(50_000);
  await fill(registry.address, made);
  const proxy = await startFaultProxy(t, { target: registry.address, seed: 5 });
  proxy.setFaults({
    ...transientFaults(0.08),
    flip: 0.15,
    status: { 401: 0.03, 403: 0.03, 404: 0.03, 416: 0.03, 429: 0.05, 500: 0.05, 503: 0.05 },
  });
  const reference = parseReference(`${proxy.address}/team/web:1`);
  let failures = 0;
  for (let round = 0; round < 2; round++) {
    await using store = await openStoreForTest();
    const puller = new ImagePuller({ store });
    for (;;) {
      try {
        const repository = new RegistryClient({ retries }).repository(reference);
        const { image: record, digest } = await puller.pull(repository, { reference });
        assert.equal(digest, made.image.manifest.digest);
        assert.deepEqual(await store.trees.stat(record.tree), { files: 41, directories: 3, bytes: 3_950_002 });
        break;
      } catch (error) {
        assert.ok(error instanceof EngineError && error.kind !== 'Internal', String(error));
        assert.deepEqual(await visible(store), []);
        assert.ok(++failures < 60, error.message);
      }
    }
    const left = join(store.paths.root, 'downloads');
    assert.deepEqual(existsSync(left) ? readdirSync(left) : [], []);
    for (const { digest } of made.image.layers) assert.equal(await store.blobs.has(digest), true);
  }
  assert.ok(proxy.dealt.size > 3, [...proxy.dealt].join(' '));
});

test(
  'a registry that is killed in the middle of a layer: the error is clear, and the next pull fetches only the rest',
  options,
  async (t) => {
    const registry = await startRegistry(t);
    // More than the buffers of two connections hold: the rest of a layer that is read slowly must not be in them when the registry dies.
    const made = sample(900_000);
    await fill(registry.address, made);
    const proxy = await startFaultProxy(t, { target: registry.address });
    const reference = parseReference(`${proxy.address}/team/web:1`);
    await using store = await openStoreForTest();
    const puller = new ImagePuller({ store });
    let killed: Promise<void> | undefined;
    const repository = new RegistryClient({ retries: { ...retries, attempts: 3 } }).repository(reference);
    const slow = new Proxy(repository, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property);
        if (property !== 'blob') return typeof value === 'function' ? value.bind(target) : value;
        return async function* (...args: Parameters<typeof target.blob>) {
          let received = 0;
          for await (const chunk of target.blob(...args)) {
            received += chunk.length;
            yield chunk;
            if (received > 1_500_000) {
              killed ??= registry.kill();
              await killed;
            }
          }
        };
      },
    });
    await assert.rejects(puller.pull(slow, { reference }), { kind: 'Unavailable' });
    await killed;
    assert.deepEqual(await visible(store), []);
    await registry.start();
    const before = proxy.bytesOut;
    const { bytesReceived, image: record } = await puller.pull(new RegistryClient({ retries }).repository(reference), { reference });
    const whole = made.image.layers.reduce((sum, { size }) => sum + size, 0);
    assert.ok(bytesReceived < whole - 1_000_000, `${bytesReceived} of ${whole}`);
    assert.ok(proxy.bytesOut - before < whole - 1_000_000);
    assert.equal((await store.trees.stat(record.tree)).files, 41);
  },
);
