import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestOf, parseDigest, sha256 } from '../../src/oci/digest.ts';
import { parseManifest } from '../../src/oci/manifest.ts';
import type { TransferProgress } from '../../src/transport/port.ts';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { needsSkopeo, noise, openHost, putIndex, readTag } from './push-support.ts';

const app = (line: string) => ({
  'bin/server': noise(1, 600_000),
  'app/main.js': `console.log(${JSON.stringify(line)})\n`,
  ...Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`app/modules/m${at}.js`, noise(100 + at, 3000)])),
});

test('a push brings both forms, the ordinary one first, and a change costs what changed', needsRegistry, async (t) => {
  const { address } = await startRegistry(t);
  await using host = await openHost(t);
  const first = await host.image(`${address}/team/web:1`, app('one'));
  const pushed = await host.push(`${address}/team/web:1`);
  const repository = host.repository(`${address}/team/web`);
  const { top, children } = await readTag(repository, '1');
  assert.equal(top.descriptor.digest, pushed.digest);
  assert.deepEqual(
    children.map(({ platform, artifactType }) => [platform?.os, artifactType]),
    [
      ['linux', undefined],
      ['unknown', 'application/vnd.slipway.image.chunked.v1'],
    ],
  );
  assert.equal(children[0]?.digest, pushed.manifest.digest);
  assert.ok(pushed.bytesSent > 600_000 && pushed.bytesSent < 1_000_000, String(pushed.bytesSent));
  assert.deepEqual(await host.store.images.references(first.id), [`${address}/team/web:1`, `${address}/team/web@${pushed.digest}`]);

  await host.image(`${address}/team/web:2`, app('two'));
  const second = await host.push(`${address}/team/web:2`);
  assert.ok(second.bytesSent < 30_000, `${second.bytesSent} bytes for a changed line`);
  assert.match(second.explanation.join('\n'), /layer 1 of 2: kept[\s\S]*layer 2 of 2: new/);

  await using next = await openHost(t);
  for (const tag of ['1', '2']) {
    const [there, here] = [await next.pull(`${address}/team/web:${tag}`), await host.store.images.resolve(`${address}/team/web:${tag}`)];
    assert.equal(there.treeContent, here.treeContent);
    assert.deepEqual(there.config, here.config);
  }
});

test('a machine that never saw the earlier layers pushes only what changed', needsRegistry, async (t) => {
  const { address } = await startRegistry(t);
  await using first = await openHost(t);
  await first.image(`${address}/team/web:1`, app('one'));
  await first.push(`${address}/team/web:1`);
  await using fresh = await openHost(t);
  const image = await fresh.image(`${address}/team/web:2`, app('two'));
  const pushed = await fresh.push(`${address}/team/web:2`);
  assert.match(pushed.explanation.join('\n'), /layer 1 of 2: kept[\s\S]*layer 2 of 2: new/);
  assert.ok(pushed.bytesSent < 40_000, `${pushed.bytesSent} bytes`);
  await using next = await openHost(t);
  assert.equal((await next.pull(`${address}/team/web:2`)).treeContent, image.treeContent);
  // What it goes out as later has layers whose content is not here: they are where they were.
  await fresh.store.images.tag(`${address}/else/web:2`, image.id);
  assert.equal((await fresh.push(`${address}/else/web:2`)).digest, pushed.digest);
});

test('what was pulled goes on byte for byte: to the same registry and to another', needsRegistry, async (t) => {
  const [{ address }, other] = [await startRegistry(t), await startRegistry(t)];
  await using maker = await openHost(t);
  await maker.image(`${address}/a/web:1`, app('one'));
  const made = await maker.push(`${address}/a/web:1`);
  await using host = await openHost(t);
  const image = await host.pull(`${address}/a/web:1`);
  for (const to of [`${address}/b/web:x`, `${other.address}/c/web:y`]) {
    await host.store.images.tag(to, image.id);
    const pushed = await host.push(to);
    assert.equal(pushed.digest, made.digest, to);
    assert.deepEqual(
      (await readTag(host.repository(to), to.slice(-1))).top.bytes,
      (await readTag(host.repository(`${address}/a/web`), '1')).top.bytes,
    );
  }
  const again = await host.push(`${other.address}/c/web:y`);
  assert.deepEqual([again.digest, again.bytesSent], [made.digest, 0]);
  // Within a registry blobs are mounted: of the 700 kB nothing went over the wire.
  await host.store.images.tag(`${address}/d/web:z`, image.id);
  assert.equal((await host.push(`${address}/d/web:z`)).bytesSent, 0);
});

test(
  'an index of several platforms is kept within its registry; elsewhere the platform goes alone, with its digest',
  needsRegistry,
  async (t) => {
    const [{ address }, other] = [await startRegistry(t), await startRegistry(t)];
    await using maker = await openHost(t);
    const repository = maker.repository(`${address}/a/web`);
    const manifests = [];
    for (const architecture of ['amd64', 's390x']) {
      await maker.image(`${address}/a/web:${architecture}`, app(architecture), { os: 'linux', architecture });
      const { manifest } = await maker.push(`${address}/a/web:${architecture}`, { form: 'oci' });
      manifests.push({ ...manifest, platform: { os: 'linux', architecture } });
    }
    const index = await putIndex(repository, 'all', manifests);
    await using host = await openHost(t);
    const image = await host.pull(`${address}/a/web:all`);
    assert.equal(image.config.architecture, process.arch === 'x64' ? 'amd64' : image.config.architecture);
    await host.store.images.tag(`${address}/b/web:all`, image.id);
    assert.equal((await host.push(`${address}/b/web:all`)).digest, digestOf(sha256(index)));
    const both = await readTag(host.repository(`${address}/b/web`), 'all');
    for (const { digest } of both.children) await host.repository(`${address}/b/web`).manifest(parseDigest(digest));
    await host.store.images.tag(`${other.address}/b/web:all`, image.id);
    const alone = await host.push(`${other.address}/b/web:all`);
    assert.equal(alone.digest, manifests[0]?.digest);
    assert.match(alone.explanation.join('\n'), /without its index/);
  },
);

test('a push that is cut off names nothing, and the next one goes on with what it left', needsRegistry, async (t) => {
  const { address } = await startRegistry(t);
  await using host = await openHost(t);
  await host.image(`${address}/team/web:1`, { 'a/one': noise(1, 500_000), 'b/two': noise(2, 500_000) });
  const layers = { kind: 'groups' as const, groups: [{ name: 'a', patterns: ['a'] }] };
  const cancel = new AbortController();
  const seen: TransferProgress[] = [];
  const cut = host.push(
    `${address}/team/web:1`,
    { layers },
    {
      signal: cancel.signal,
      onProgress: (step) => {
        seen.push(step);
        if (step.status === 'Pushed') cancel.abort(new Error('cut'));
      },
    },
  );
  await assert.rejects(cut, /cut|abort|cancel/i);
  const repository = host.repository(`${address}/team/web`);
  assert.equal(await repository.head('1'), undefined);
  const image = await host.store.images.resolve(`${address}/team/web:1`);
  assert.equal(image.origin, undefined);
  assert.deepEqual(await host.store.images.references(image.id), [`${address}/team/web:1`]);
  const whole = seen.find(({ status }) => status === 'Pushed')?.id;
  const again: TransferProgress[] = [];
  const pushed = await host.push(`${address}/team/web:1`, { layers }, { onProgress: (step) => again.push(step) });
  assert.ok(
    again.some(({ id, status }) => id === whole && status === 'Layer already exists'),
    JSON.stringify(again),
  );
  assert.ok(pushed.bytesSent < 600_000, String(pushed.bytesSent));
  await using next = await openHost(t);
  assert.equal((await next.pull(`${address}/team/web:1`)).treeContent, image.treeContent);
});

test('blobs that the registry lost since it listed them are sent again', needsRegistry, async (t) => {
  const registry = await startRegistry(t);
  const { address } = registry;
  await using host = await openHost(t);
  await host.image(`${address}/team/web:1`, app('one'));
  const first = await host.push(`${address}/team/web:1`);
  const layer = parseManifest((await host.repository(`${address}/team/web`).manifest(parseDigest(first.manifest.digest))).bytes).layers[0];
  const hex = layer?.digest.slice('sha256:'.length) ?? '';
  const [links] = [join(registry.folder, 'docker/registry/v2/repositories/team/web/_layers/sha256', hex)];
  assert.ok(existsSync(links));
  rmSync(links, { recursive: true });
  await registry.restart();
  await host.image(`${address}/team/web:2`, app('two'));
  const pushed = await host.push(`${address}/team/web:2`);
  assert.match(pushed.explanation.join('\n'), /layer 1 of 2: kept/);
  assert.ok(await host.repository(`${address}/team/web`).hasBlob(parseDigest(layer?.digest ?? '')));
  await using next = await openHost(t);
  assert.equal(
    (await next.pull(`${address}/team/web:2`)).treeContent,
    (await host.store.images.resolve(`${address}/team/web:2`)).treeContent,
  );
});

test('each form and each way of layers is what was asked for, and skopeo reads it', { ...needsSkopeo, timeout: 60_000 }, async (t) => {
  const { address } = await startRegistry(t);
  await using host = await openHost(t);
  const name = `${address}/team/web:1`;
  const image = await host.image(name, app('one'));
  const explained = await host.push(name, { explainOnly: true });
  assert.match(explained.explanation.join('\n'), /layer 1 of 1: new/);
  assert.equal(await host.repository(name).head('1'), undefined);

  const oci = await host.push(name, { form: 'oci', layers: { kind: 'single' }, compression: 'zstd' });
  const single = await readTag(host.repository(name), '1');
  assert.equal(single.top.descriptor.mediaType, 'application/vnd.oci.image.manifest.v1+json');
  assert.deepEqual(
    parseManifest(single.top.bytes).layers.map(({ mediaType }) => mediaType),
    ['application/vnd.oci.image.layer.v1.tar+zstd'],
  );
  // As it was pushed before, without being told again.
  assert.equal((await host.push(name)).digest, oci.digest);
  // The chunked form beside the manifest that is there.
  const both = await host.push(name, { form: 'both' });
  assert.equal((await readTag(host.repository(name), '1')).children[0]?.digest, oci.digest);
  assert.equal(both.manifest.digest, oci.digest);

  const groups = { kind: 'groups' as const, groups: [{ name: 'modules', patterns: ['app/modules'] }] };
  const grouped = await host.push(name, { layers: groups });
  assert.equal(parseManifest((await host.repository(name).manifest(parseDigest(grouped.manifest.digest))).bytes).layers.length, 2);
  const folder = mkdtempSync(join(tmpdir(), 'slipway-skopeo-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  execFileSync('skopeo', ['copy', '-q', '--src-tls-verify=false', `docker://${name}`, `dir:${folder}`]);
  assert.ok(readdirSync(folder).includes('manifest.json'));
  assert.equal(digestOf(sha256(readFileSync(join(folder, 'manifest.json')))), grouped.manifest.digest);

  await host.push(name, { form: 'chunked' });
  const chunked = await readTag(host.repository(name), '1');
  assert.equal(parseManifest(chunked.top.bytes).artifactType, 'application/vnd.slipway.image.chunked.v1');
  await using next = await openHost(t);
  assert.equal((await next.pull(name)).treeContent, image.treeContent);
});

test('an image that came as a docker archive keeps its layers, compressed', needsRegistry, async (t) => {
  const { address } = await startRegistry(t);
  await using host = await openHost(t);
  await host.image(`${address}/team/web:1`, app('one'));
  const folder = mkdtempSync(join(tmpdir(), 'slipway-archive-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { writeFile } = await import('node:fs/promises');
  const layers = { kind: 'groups' as const, groups: [{ name: 'bin', patterns: ['bin'] }] };
  await writeFile(join(folder, 'a.tar'), host.archives.save([`${address}/team/web:1`], { format: 'docker', layers }));
  await using next = await openHost(t);
  await next.archives.load(join(folder, 'a.tar'));
  const pushed = await next.push(`${address}/team/web:1`, { form: 'oci' });
  const { layers: sent } = parseManifest((await readTag(next.repository(`${address}/team/web`), '1')).top.bytes);
  assert.equal(sent.length, 2);
  assert.ok(sent.every(({ mediaType }) => mediaType.endsWith('+gzip')));
  assert.ok(pushed.bytesSent > 600_000);
});
