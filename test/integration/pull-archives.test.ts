import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ByteString } from '../../src/base/bytes.ts';
import { ArchiveService } from '../../src/transport/archives/service.ts';
import { ImagePuller } from '../../src/transport/pull/puller.ts';
import { tarFile, tarMember } from '../contracts/tar.ts';
import { openStoreForTest } from '../support/store.ts';
import { transportParts } from '../support/transport.ts';
import { FakeRepository, layer, putImage, request } from './pull-support.ts';

test('the layers of an archive that was loaded are known: a pull of the same image fetches none of them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-pull-'));
  try {
    await using here = await openStoreForTest();
    const repository = new FakeRepository();
    const linking = layer([{ member: tarMember('b', { type: 'link', linkTarget: 'a' as ByteString }) }]);
    const image = putImage(repository, [layer([tarFile('a', 'one')]), linking, layer([tarFile('.wh.b', ''), tarFile('c/d', 'two')])], {
      tag: '1',
    });
    const pulled = await new ImagePuller({ store: here }).pull(repository, request('registry.example/team/web:1'));
    const file = join(folder, 'image.tar');
    const chunks: Uint8Array[] = [];
    for await (const chunk of new ArchiveService(transportParts(here)).save(['registry.example/team/web:1'], { format: 'oci' }))
      chunks.push(chunk);
    writeFileSync(file, Buffer.concat(chunks));

    await using there = await openStoreForTest();
    const [loaded] = await new ArchiveService(transportParts(there)).load(file);
    assert.equal(loaded?.image.tree, pulled.image.tree);
    assert.equal(loaded?.image.origin?.manifestDigest, image.manifest.digest);
    repository.asked.length = 0;
    const again = await new ImagePuller({ store: there }).pull(repository, request('registry.example/team/web:1'));
    assert.equal(again.image.id, loaded?.image.id);
    assert.deepEqual(repository.reads(), []);
    // Known even when the image is gone, except the one whose meaning only the layers below tell.
    const known = await Promise.all(image.layers.map(async ({ digest }) => (await there.layers.get(digest)) !== undefined));
    assert.deepEqual(known, [true, false, true]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
