import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { type Digest, digestOf, parseDigest, sha256 } from '../../src/oci/digest.ts';
import { parseReference } from '../../src/oci/reference.ts';
import type { TransferProgress } from '../../src/transport/port.ts';
import type { Repository } from '../../src/transport/registry/port.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { noise, openHost, putIndex, readTag } from './push-support.ts';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/** A signature of a kind of its own: one blob, and, with `subject`, what it belongs to. */
async function putArtifact(repository: Repository, tag: string | undefined, text: string, subject?: { digest: string; size: number }) {
  const blob = Buffer.from(text);
  const digest = digestOf(sha256(blob));
  const source = {
    async *read() {
      yield blob;
    },
  };
  await repository.upload({ digest, size: blob.length }, source);
  const config = { mediaType: 'application/vnd.example.signature', digest, size: blob.length };
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config,
    layers: [{ ...config, mediaType: 'application/octet-stream' }],
    ...(subject === undefined ? {} : { subject: { mediaType: manifestType, ...subject } }),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const own = digestOf(sha256(bytes));
  await repository.putManifest(tag ?? own, bytes, manifestType);
  return { mediaType: manifestType, digest: own, size: bytes.length };
}

test('a copy has every platform and every signature, with their digests, in another registry', needsRegistry, async (t) => {
  const [from, to] = [await startRegistry(t), await startRegistry(t)];
  await using host = await openHost(t);
  const source = host.repository(`${from.address}/team/web`);
  const manifests = [];
  for (const architecture of ['amd64', 'arm64']) {
    await host.image(
      `${from.address}/team/web:${architecture}`,
      { 'bin/x': noise(7, 300_000), arch: architecture },
      { os: 'linux', architecture },
    );
    const { manifest } = await host.push(`${from.address}/team/web:${architecture}`, { form: 'oci' });
    manifests.push({ ...manifest, platform: { os: 'linux', architecture } });
  }
  const index = digestOf(sha256(await putIndex(source, 'all', manifests)));
  const [first] = manifests;
  assert.ok(first !== undefined);
  // Where a registry has no referrers, whoever signs keeps the list under a tag.
  const signature = await putArtifact(source, undefined, 'signed', first);
  await putIndex(source, `sha256-${first.digest.slice(7)}`, [signature]);
  const cosign = await putArtifact(source, `sha256-${index.slice(7)}.sig`, 'signed by cosign');

  const request = { from: parseReference(`${from.address}/team/web:all`), to: parseReference(`${to.address}/mirror/web:1`) };
  const steps: TransferProgress[] = [];
  const copied = await host.transfers.copy(request, { onProgress: (step) => steps.push(step) });
  const target = host.repository(`${to.address}/mirror/web`);
  assert.equal(copied.digest, index);
  assert.equal((await target.head('1'))?.digest, index);
  for (const { digest } of manifests)
    assert.deepEqual((await target.manifest(parseDigest(digest))).bytes, (await source.manifest(parseDigest(digest))).bytes);
  assert.deepEqual(
    (await target.referrers(first.digest as Digest)).map(({ digest }) => digest),
    [signature.digest],
  );
  assert.equal((await target.head(`sha256-${index.slice(7)}.sig`))?.digest, cosign.digest);
  assert.ok(steps.some(({ status }) => status === 'Copied'));
  // Once more, nothing goes over the wire.
  assert.equal((await host.transfers.copy(request)).bytesSent, 0);

  const one = {
    ...request,
    to: parseReference(`${to.address}/one/web:1`),
    platform: { os: 'linux', architecture: 'arm64' },
    referrers: false,
  };
  assert.equal((await host.transfers.copy(one)).digest, manifests[1]?.digest);
  const unknown = { ...one, platform: { os: 'linux', architecture: 'riscv64' } };
  await assert.rejects(host.transfers.copy(unknown), (error) => error instanceof EngineError && error.code === 'PLATFORM_UNKNOWN');

  // Nothing was kept here: the host has no more blobs than its own pushes made.
  const local = parseReference(`${from.address}/else/web:1`);
  assert.equal((await host.transfers.copy({ ...request, to: local })).bytesSent, 0, 'mounted within one registry');
  assert.equal((await readTag(host.repository(`${from.address}/else/web`), '1')).top.descriptor.digest, index);
});

test('what a tag names is told with its platforms, and a repository with its tags', needsRegistry, async (t) => {
  const { address } = await startRegistry(t);
  await using host = await openHost(t);
  const name = `${address}/team/web:1`;
  await host.image(name, { x: 'y' }, { os: 'linux', architecture: 'arm', variant: 'v7' });
  const { digest } = await host.push(name);
  assert.deepEqual(await host.transfers.inspect(parseReference(name)), {
    descriptor: {
      mediaType: 'application/vnd.oci.image.index.v1+json',
      digest,
      size: (await readTag(host.repository(name), '1')).top.bytes.length,
    },
    platforms: [{ os: 'linux', architecture: 'arm', variant: 'v7' }],
  });
  await host.store.images.tag(`${address}/team/web:2`, (await host.store.images.resolve(name)).id);
  await host.push(`${address}/team/web:2`, { form: 'oci' });
  const { platforms } = await host.transfers.inspect(parseReference(`${address}/team/web:2`));
  assert.deepEqual(platforms, [{ architecture: 'arm', os: 'linux', variant: 'v7' }]);
  assert.deepEqual(await host.transfers.tags(parseReference(`${address}/team/web`)), ['1', '2']);
  await assert.rejects(
    host.transfers.inspect(parseReference(`${address}/team/web:3`)),
    (error) => error instanceof EngineError && error.kind === 'NotFound',
  );
});
