import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError } from '../../base/errors.ts';
import { SystemCallError } from '../../kernel/libc.ts';
import { listMounts } from '../../kernel/mount.ts';
import { IdMapNamespaces, mountableWithMap, withIdmapped } from './idmapped.ts';

const ranges = [{ inside: 0, outside: 100_000, count: 65_536 }];
const options = { skip: process.getuid?.() !== 0 && 'needs root' };

test('a file system that takes no id map is named, and nothing stays', options, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-idmapped-'));
  const namespaces = new IdMapNamespaces();
  try {
    const layer = join(folder, 'layer');
    mkdirSync(layer);
    writeFileSync(join(layer, 'file'), '');
    const namespace = await namespaces.open({ uids: ranges, gids: ranges });
    assert.equal(await namespaces.open({ uids: [...ranges], gids: [...ranges] }), namespace, 'one for each map');
    const place = { namespace, directory: join(folder, 'map/one') };
    assert.deepEqual(
      withIdmapped([layer], place, (mapped) => mapped.map((path) => readdirSync(path))),
      [['file']],
    );
    assert.throws(
      () => withIdmapped([layer, '/proc'], place, () => assert.fail('it cannot be mounted')),
      (error: unknown) => error instanceof EngineError && error.code === 'IDMAP_UNSUPPORTED' && error.message.includes('/proc'),
    );
    assert.deepEqual(readdirSync(join(folder, 'map')), []);
    assert.deepEqual(
      listMounts().filter(({ mountPoint }) => mountPoint.startsWith(folder)),
      [],
    );
  } finally {
    await namespaces.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a kernel whose overlayfs takes no idmapped layers is told from other failures', () => {
  const failing = (code: number) => () => {
    throw new SystemCallError('fsconfig', code);
  };
  assert.throws(() => mountableWithMap(failing(22)), { kind: 'Unsupported', code: 'IDMAP_UNSUPPORTED' });
  assert.throws(() => mountableWithMap(failing(16)), { code: 'EBUSY' });
});
