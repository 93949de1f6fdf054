import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { type Digest, digestOf, sha256 } from '../../src/oci/digest.ts';
import { RegistryClient } from '../../src/transport/registry/client.ts';
import type { BlobSource, Repository } from '../../src/transport/registry/port.ts';
import { type FaultProxy, startFaultProxy, transientFaults } from '../support/fault-proxy.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';

const options = { ...needsRegistry, timeout: 120_000 };

function sourceOf(bytes: Buffer): BlobSource {
  return {
    async *read(offset) {
      for (let at = offset; at < bytes.length; at += 256 * 1024) yield bytes.subarray(at, at + 256 * 1024);
    },
  };
}

function blobOf(bytes: Buffer): { digest: Digest; size: number } {
  return { digest: digestOf(sha256(bytes)), size: bytes.length };
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Does it until it is done. What goes wrong in between is clear; how often that was. */
async function untilDone<T>(run: () => Promise<T>): Promise<{ result: T; failures: number }> {
  for (let failures = 0; ; failures++) {
    try {
      return { result: await run(), failures };
    } catch (error) {
      assert.ok(error instanceof EngineError, String(error));
      assert.ok(
        ['Unavailable', 'Denied', 'NotFound', 'DataLoss', 'InvalidArgument'].includes(error.kind),
        `${error.code}: ${error.message}`,
      );
      assert.ok(failures < 20, error.message);
    }
  }
}

async function faultyRepository(t: TestContext, seed: number): Promise<{ repository: Repository; proxy: FaultProxy }> {
  const registry = await startRegistry(t);
  const proxy = await startFaultProxy(t, { target: registry.address, seed });
  const client = new RegistryClient({ retries: { baseMs: 5, capMs: 50 } });
  return { repository: client.repository({ domain: proxy.address, path: 'team/web' }, { actions: 'pull,push' }), proxy };
}

for (const [rate, seed] of [
  [0.05, 1],
  [0.1, 2],
  [0.1, 3],
] as const) {
  test(`20 MB go there and come back with ${rate * 100} % of every passing fault (${seed})`, options, async (t) => {
    const { repository, proxy } = await faultyRepository(t, seed);
    const bytes = randomBytes(20_000_000);
    proxy.setFaults(transientFaults(rate));
    let sent = 0;
    const upload = await untilDone(async () => {
      sent = 0;
      return repository.upload(blobOf(bytes), sourceOf(bytes), { onBytes: (count) => (sent += count) });
    });
    assert.ok(upload.result === 'present' || sent === bytes.length, `${upload.result}, ${sent} bytes`);
    for (let round = 0; round < 5; round++) {
      const { result } = await untilDone(() => readAll(repository.blob(blobOf(bytes))));
      assert.ok(result.equals(bytes));
    }
    const ranges = Array.from({ length: 30 }, (_, index) => ({ offset: index * 600_000, length: 100_000 }));
    const { result } = await untilDone(async () => {
      const found: Buffer[] = [];
      for await (const part of repository.parts(blobOf(bytes), ranges)) found.push(part.bytes);
      return found;
    });
    assert.ok(Buffer.concat(result).equals(Buffer.concat(ranges.map(({ offset, length }) => bytes.subarray(offset, offset + length)))));
    assert.ok(proxy.dealt.size > 3, [...proxy.dealt].join(' '));
  });
}

test('what does not pass is told, nothing wrong gets through, and a repeat is right', options, async (t) => {
  const { repository, proxy } = await faultyRepository(t, 7);
  const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}');
  const bytes = randomBytes(3_000_000);
  proxy.setFaults({
    ...transientFaults(0.03),
    flip: 0.2,
    status: { 401: 0.04, 403: 0.04, 404: 0.04, 416: 0.04, 429: 0.04, 500: 0.04, 503: 0.04 },
  });
  let failures = 0;
  for (let round = 0; round < 10; round++) {
    const own = Buffer.concat([bytes, Buffer.from([round])]);
    failures += (await untilDone(() => repository.upload(blobOf(own), sourceOf(own)))).failures;
    failures += (await untilDone(() => repository.putManifest(`v${round}`, manifest, 'application/vnd.oci.image.index.v1+json'))).failures;
    const read = await untilDone(() => readAll(repository.blob(blobOf(own))));
    assert.ok(read.result.equals(own));
    const found = await untilDone(() => repository.manifest(`v${round}`));
    assert.ok(found.result.bytes.equals(manifest));
    failures += read.failures + found.failures;
  }
  assert.ok(failures > 0);
  assert.equal((await untilDone(() => repository.tags())).result.length, 10);
});
