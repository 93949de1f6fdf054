import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FaultProxy, type Faults, startFaultProxy, transientFaults } from '../support/fault-proxy.ts';
import { temporaryFolder } from '../support/filesystem.ts';
import { cannotRunOciPeers, OciPeers } from '../support/oci-peers.ts';
import { needsRegistry, type RegistryServer, startRegistry } from '../support/registry-server.ts';
import { cannotRunDaemon } from './api-daemon-harness.ts';
import { assertSameFiles, type CommandEnd, TransportHost } from './transport-support.ts';

const skip = cannotRunDaemon || needsRegistry.skip || cannotRunOciPeers;
const megabyte = 1_000_000;
const layers = ['a', 'b', 'c', 'd'].flatMap((name) => ['--layers', `${name}=${name}`]);

/** What does not pass by itself, beside what does. */
const everything: Faults = {
  ...transientFaults(0.04),
  flip: 0.04,
  status: { 401: 0.01, 403: 0.01, 404: 0.01, 416: 0.03, 429: 0.03, 500: 0.03, 503: 0.03 },
};

describe('transfers through what goes wrong', { skip, timeout: 240_000, concurrency: 2 }, () => {
  const work = temporaryFolder();
  const folder = join(work.path, 'root');
  const endings: (() => unknown)[] = [];
  const scope: Pick<TestContext, 'after'> = { after: (ending) => void endings.push(ending as () => unknown) };
  const builder = new TransportHost();
  const peers = new OciPeers();
  let registry: RegistryServer;

  before(async () => {
    makeWeight(folder);
    registry = await startRegistry(scope);
    await builder.start();
    await builder.importFolder(folder, 'weight');
    await builder.cli('tag', 'weight', `${registry.address}/weight:1`);
    await builder.cli('push', ...layers, `${registry.address}/weight:1`);
  });

  after(async () => {
    for (const ending of endings) await ending();
    for (const one of [builder, peers]) await one[Symbol.asyncDispose]();
    work[Symbol.dispose]();
  });

  /** A registry for one test, which has the image already or not, and the proxy before it. */
  const ownRegistry = async (t: Pick<TestContext, 'after'>, filled: boolean): Promise<{ own: RegistryServer; proxy: FaultProxy }> => {
    const files = join(mkdtempSync(join(work.path, 'registry-')), 'files');
    if (filled) cpSync(registry.folder, files, { recursive: true });
    const own = await startRegistry(t, { folder: files });
    return { own, proxy: await startFaultProxy(t, { target: () => own.address }) };
  };

  for (const [seed, form] of [
    [1, 'auto'],
    [2, 'oci'],
    [3, 'auto'],
  ] as const) {
    test(`a pull is right or fails clearly, and a repeat ends it (seed ${seed}, ${form})`, async (t) => {
      await using host = await new TransportHost().start();
      const proxy = await startFaultProxy(t, { target: registry.address, seed, faults: everything });
      const image = `${proxy.address}/weight:1`;
      let end = await host.attempt('pull', '--format', form, image);
      for (let repeat = 0; end.status !== 0 && repeat < 6; repeat++) {
        assertClear(end, 'pull');
        await assertNothingHalf(host, image);
        t.diagnostic(lastError(end));
        if (repeat === 4) proxy.setFaults({});
        end = await host.attempt('pull', '--format', form, image);
      }
      assert.equal(end.status, 0, end.stderr);
      assert.ok(proxy.dealt.size > 0, 'something went wrong on the way');
      assertSameFiles(await host.filesOf(image), folder, 'Slipway');
    });
  }

  for (const seed of [5, 6]) {
    test(`a push is right or fails clearly and names no tag, and a repeat ends it (seed ${seed})`, async (t) => {
      const proxy = await startFaultProxy(t, { target: registry.address, seed, faults: everything });
      const image = `${proxy.address}/pushed-${seed}:1`;
      await builder.cli('tag', 'weight', image);
      let end = await builder.attempt('push', ...layers, image);
      for (let repeat = 0; end.status !== 0 && repeat < 6; repeat++) {
        assertClear(end, 'push');
        t.diagnostic(lastError(end));
        const tag = await fetch(`http://${registry.address}/v2/pushed-${seed}/manifests/1`);
        // A tag that is there is whole: then it was the last answer that was lost.
        if (tag.ok) assertSameFiles(await peers.unpack(`${registry.address}/pushed-${seed}:1`), folder, 'umoci');
        else assert.equal(tag.status, 404);
        if (repeat === 4) proxy.setFaults({});
        end = await builder.attempt('push', ...layers, image);
      }
      assert.equal(end.status, 0, end.stderr);
      assertSameFiles(await peers.unpack(`${registry.address}/pushed-${seed}:1`), folder, 'umoci');
    });
  }

  for (const form of ['auto', 'oci']) {
    test(`a pull outlives a registry that is killed and comes back (${form})`, async (t) => {
      await using host = await new TransportHost().start();
      const { own, proxy } = await ownRegistry(t, true);
      const image = `${proxy.address}/weight:1`;
      const pull = host.attempt('pull', '--format', form, image);
      await until(() => proxy.bytesOut > 12 * megabyte);
      await own.kill();
      await sleep(500);
      await own.start();
      const end = await pull;
      assert.equal(end.status, 0, end.stderr);
      assert.ok(proxy.bytesOut < 42 * megabyte, `${proxy.bytesOut} bytes were received for 28 MB`);
      assertSameFiles(await host.filesOf(image), folder, 'Slipway');
    });

    test(`a pull goes on where the daemon was killed (${form})`, async (t) => {
      await using host = await new TransportHost().start();
      const { proxy } = await ownRegistry(t, true);
      const image = `${proxy.address}/weight:1`;
      const pull = host.attempt('pull', '--format', form, image);
      await until(() => proxy.bytesOut > 20 * megabyte);
      await host.killAndRestart();
      assert.notEqual((await pull).status, 0);
      await assertNothingHalf(host, image);
      proxy.reset();
      await host.cli('pull', '--format', form, image);
      t.diagnostic(`received again: ${proxy.bytesOut} bytes`);
      assert.ok(proxy.bytesOut < 26 * megabyte, `the repeat received ${proxy.bytesOut} bytes of 28 MB`);
      assertSameFiles(await host.filesOf(image), folder, 'Slipway');
    });
  }

  test('a pull from a registry that stays away fails clearly, and goes on later', async (t) => {
    await using host = await new TransportHost().start();
    const { own, proxy } = await ownRegistry(t, true);
    const image = `${proxy.address}/weight:1`;
    const pull = host.attempt('pull', image);
    await until(() => proxy.bytesOut > 15 * megabyte);
    await own.kill();
    assertClear(await pull, 'pull');
    await assertNothingHalf(host, image);
    await own.start();
    proxy.reset();
    await host.cli('pull', image);
    t.diagnostic(`received again: ${proxy.bytesOut} bytes`);
    assert.ok(proxy.bytesOut < 26 * megabyte, `the repeat received ${proxy.bytesOut} bytes of 28 MB`);
    assertSameFiles(await host.filesOf(image), folder, 'Slipway');
  });

  test('a push goes on where the registry was killed', async (t) => {
    const { own, proxy } = await ownRegistry(t, false);
    const image = `${proxy.address}/killed-registry:1`;
    await builder.cli('tag', 'weight', image);
    const push = builder.attempt('push', ...layers, image);
    await until(() => megabytesIn(own) > 5);
    await own.kill();
    const end = await push;
    if (end.status !== 0) assertClear(end, 'push');
    await own.start();
    proxy.reset();
    await builder.cli('push', ...layers, image);
    t.diagnostic(`sent again: ${proxy.bytesIn} bytes`);
    assert.ok(proxy.bytesIn < 26 * megabyte, `the repeat sent ${proxy.bytesIn} bytes of 28 MB`);
    assertSameFiles(await peers.unpack(`${own.address}/killed-registry:1`), folder, 'umoci');
  });

  test('a push goes on where the daemon was killed', async (t) => {
    await using host = await new TransportHost().start();
    await host.importFolder(folder, 'weight');
    const { own, proxy } = await ownRegistry(t, false);
    const image = `${proxy.address}/killed-daemon:1`;
    await host.cli('tag', 'weight', image);
    const push = host.attempt('push', ...layers, image);
    await until(() => megabytesIn(own) > 5);
    await host.killAndRestart();
    assert.notEqual((await push).status, 0);
    assert.equal((await fetch(`http://${own.address}/v2/killed-daemon/manifests/1`)).status, 404, 'the tag is not there');
    proxy.reset();
    await host.cli('push', ...layers, image);
    t.diagnostic(`sent again: ${proxy.bytesIn} bytes`);
    assert.ok(proxy.bytesIn < 26 * megabyte, `the repeat sent ${proxy.bytesIn} bytes of 28 MB`);
    assertSameFiles(await peers.unpack(`${own.address}/killed-daemon:1`), folder, 'umoci');
  });
});

/** A failure that a person can do something with. */
function assertClear(end: CommandEnd, what: string): void {
  assert.notEqual(end.status, 0);
  const error = lastError(end);
  assert.match(error, /weight|pushed-|killed-|127\.0\.0\.1|sha256:/, `${what}: the error names what it is about: ${end.stderr}`);
  assert.doesNotMatch(error, /\bat .*\.ts:|undefined|\[object/m, `${what}: no insides in it: ${end.stderr}`);
}

function lastError({ stderr }: CommandEnd): string {
  return stderr.slice(Math.max(0, stderr.indexOf('Error:'))).trim();
}

async function assertNothingHalf(host: TransportHost, image: string): Promise<void> {
  assert.equal(await host.cli('images', '-q', '-a'), '', 'no image is listed');
  assert.notEqual((await host.attempt('image', 'inspect', image)).status, 0);
}

/** What the whole blobs of a registry are together. */
function megabytesIn({ folder }: RegistryServer): number {
  const blobs = join(folder, 'docker/registry/v2/blobs/sha256');
  if (!existsSync(blobs)) return 0;
  const files = readdirSync(blobs, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('/data'));
  return files.reduce((sum, name) => sum + statSync(join(blobs, name)).size, 0) / megabyte;
}

/** About 28 MB in four folders of different size that do not compress, and some small files that do. */
function makeWeight(folder: string): void {
  let seed = 'weight';
  const noise = (bytes: number) => {
    const parts: Buffer[] = [];
    for (let have = 0; have < bytes; have += 32) {
      const part = createHash('sha256').update(seed).digest();
      seed = part.toString('latin1');
      parts.push(part);
    }
    return Buffer.concat(parts);
  };
  for (const [name, share] of [
    ['a', 1],
    ['b', 2],
    ['c', 4],
    ['d', 7],
  ] as const) {
    mkdirSync(join(folder, name), { recursive: true });
    for (let index = 0; index < 15; index++) writeFileSync(join(folder, name, `noise-${index}`), noise(index * 19_000 * share + 32));
    for (let index = 0; index < 50; index++) writeFileSync(join(folder, name, `text-${index}`), `${index}: a line of text\n`.repeat(index));
    utimesSync(join(folder, name), 1_600_000_000, 1_600_000_000);
  }
}

async function until(done: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !done(); await sleep(1)) assert.ok(Date.now() < end, 'it does not come to that');
}
