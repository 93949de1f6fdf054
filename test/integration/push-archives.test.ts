import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { decodeBundle } from '../../src/transport/archives/bundle.ts';
import { startRegistry } from '../support/registry-server.ts';
import { type Host, needsSkopeo, noise, openHost } from './push-support.ts';

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-bundles-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function save(host: Host, file: string, names: string[], options: Partial<Parameters<Host['archives']['save']>[1]>): Promise<number> {
  await writeFile(file, host.archives.save(names, { format: 'docker', ...options }));
  return statSync(file).size;
}

const release = (line: string) => ({ 'bin/server': noise(1, 400_000), 'app/main.js': line, 'app/lib/a.js': noise(2, 30_000) });

test('a bundle has only what the old image lacks, and gives the new one on a host that has the old one', async (t) => {
  const folder = folderOf(t);
  await using host = await openHost(t);
  await host.image('web:1', release('one\n'));
  const near = await host.image('web:2', { ...release('two\n'), extra: noise(3, 5000) });
  const wanted = await host.image('web:3', { ...release('three\n'), extra: noise(3, 5000) });
  const whole = await save(host, join(folder, 'old.tar'), ['web:1'], {});
  const bytes = await save(host, join(folder, 'new.tar'), ['web:3'], { since: ['web:1'] });
  assert.ok(bytes < 20_000 && whole > 400_000, `${bytes} of ${whole}`);

  await using air = await openHost(t);
  await assert.rejects(air.archives.load(join(folder, 'new.tar')), (error) => {
    assert.ok(error instanceof EngineError && error.code === 'BUNDLE_BASE_MISSING', String(error));
    assert.match(error.message, /web:3 in the archive .* which is not here: web:1, sha256:/);
    return true;
  });
  await assert.rejects(air.store.images.resolve('web:3'), /No such image/);
  await air.archives.load(join(folder, 'old.tar'));
  const [loaded] = await air.archives.load(join(folder, 'new.tar'));
  assert.deepEqual([loaded?.image.id, loaded?.image.tree, loaded?.references], [wanted.id, wanted.tree, ['web:3']]);
  assert.deepEqual(loaded?.image.history, wanted.history);

  // Of several old ones the nearest is built on.
  await save(host, join(folder, 'two.tar'), ['web:3'], { since: ['web:1', 'web:2'] });
  const document = execFileSync('tar', ['-xOf', join(folder, 'two.tar'), 'slipway-bundle.json']);
  assert.deepEqual(decodeBundle(document, 'x')[0]?.base.id, near.id);
  await assert.rejects(
    save(host, join(folder, 'x.tar'), ['web:3'], { since: ['web:1'], chunked: true }),
    /neither layers nor the chunked form/,
  );
  await assert.rejects(save(host, join(folder, 'x.tar'), ['web:3'], { since: ['nope'] }), /No such image: nope/);
});

test('a bundle that is damaged names nothing', async (t) => {
  const folder = folderOf(t);
  await using host = await openHost(t);
  await host.image('web:1', release('one\n'));
  await host.image('web:2', { ...release('two\n'), extra: noise(9, 20_000) });
  const file = join(folder, 'new.tar');
  await save(host, file, ['web:2'], { since: ['web:1'] });
  await host.store.images.untag('web:2');
  const sound = readFileSync(file);
  for (const at of [sound.length - 3000, sound.length - 15_000]) {
    const bytes = Buffer.from(sound);
    bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    writeFileSync(file, bytes);
    await assert.rejects(host.archives.load(file), (error) => error instanceof EngineError && /DAMAGED/.test(error.code), `byte ${at}`);
  }
  await assert.rejects(host.store.images.resolve('web:2'), /No such image/);
});

test('bundles are read with limits', () => {
  const digest = `sha256:${'1'.repeat(64)}`;
  const image = {
    references: ['web:2'],
    config: { digest, sizeBytes: 1 },
    tree: '2'.repeat(64),
    layer: { digest, sizeBytes: 1, diffId: digest },
    base: { id: digest, tree: '3'.repeat(64), names: [] },
  };
  const decode = (value: unknown) => decodeBundle(Buffer.from(JSON.stringify(value)), 'x.tar');
  assert.deepEqual(decode({ version: 1, images: [image] })[0]?.references, ['docker.io/library/web:2']);
  assert.throws(() => decode({ version: 2, images: [] }), /bundle of version 2, this engine reads 1/);
  for (const wrong of [
    { ...image, references: ['Not a name'] },
    { ...image, tree: '../../etc' },
    { ...image, config: { digest: 'sha256:x', sizeBytes: 1 } },
    { ...image, layer: { digest, sizeBytes: -1, diffId: digest } },
    { ...image, base: null },
    null,
  ]) {
    assert.throws(
      () => decode({ version: 1, images: [wrong] }),
      (error) => error instanceof EngineError && error.kind === 'InvalidArgument',
      JSON.stringify(wrong),
    );
  }
});

test('the chunked form goes through an archive, and out again with the digests it had', needsSkopeo, async (t) => {
  const folder = folderOf(t);
  const { address } = await startRegistry(t);
  await using host = await openHost(t);
  const name = `${address}/team/web:1`;
  const made = await host.image(name, release('one\n'));
  const pushed = await host.push(name);
  const file = join(folder, 'both.tar');
  await save(host, file, [name], { chunked: true });
  await using air = await openHost(t);
  const [loaded] = await air.archives.load(file);
  assert.equal(loaded?.image.id, made.id);
  await air.store.images.tag(`${address}/copy/web:1`, loaded?.image.id as Digest);
  assert.equal((await air.push(`${address}/copy/web:1`)).digest, pushed.digest);
  // Made for the archive, too, and read as an ordinary one by others.
  await host.image('db:1', { data: noise(4, 50_000) });
  const layers = { kind: 'groups' as const, groups: [{ name: 'data', patterns: ['data'] }] };
  await save(host, join(folder, 'db.tar'), ['db:1'], { chunked: true, layers });
  const inspected = JSON.parse(execFileSync('skopeo', ['inspect', `docker-archive:${join(folder, 'db.tar')}`], { encoding: 'utf8' })) as {
    Layers: string[];
  };
  assert.equal(inspected.Layers.length, 1);
  assert.equal((await air.archives.load(join(folder, 'db.tar')))[0]?.image.origin?.index === undefined, false);
});
