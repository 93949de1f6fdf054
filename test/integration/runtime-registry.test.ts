import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mount, unmount } from '../../src/kernel/mount.ts';
import { Container } from '../../src/runtime/container.ts';
import { RuntimePaths } from '../../src/runtime/paths.ts';
import { Registry } from '../../src/runtime/registry.ts';
import { containerRecord } from './api-fakes.ts';

test('on a full disk a record stays as it was, and steps that end things go on', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-registry-'));
  mount({ source: 'tmpfs', target: folder, type: 'tmpfs', data: 'size=64k' });
  try {
    const paths = new RuntimePaths({ root: folder, run: folder });
    const registry = new Registry(paths);
    const container = new Container(containerRecord());
    mkdirSync(paths.container(container.id), { recursive: true });
    await registry.save(container);
    const before = readFileSync(paths.container(container.id, 'container.json'));
    assert.throws(() => writeFileSync(join(folder, 'filler'), Buffer.alloc(1 << 17)), { code: 'ENOSPC' });

    container.record.stoppedByUser = true;
    await assert.rejects(registry.save(container), { code: 'ENOSPC' });
    await registry.saveIfRoom(container);
    assert.deepEqual(readFileSync(paths.container(container.id, 'container.json')), before);
    assert.deepEqual(readdirSync(paths.container(container.id)), ['container.json']);
  } finally {
    unmount(folder);
    rmSync(folder, { recursive: true, force: true });
  }
});
