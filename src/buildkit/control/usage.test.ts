import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BuildCacheMount, BuildCacheMounts } from '../../build/cache/port.ts';
import { pruneCaches, usageOf } from './usage.ts';

function mountOf(id: string, more: Partial<BuildCacheMount> = {}): BuildCacheMount {
  const times = { createdAtMs: 1, lastUsedAtMs: 1, uses: 2 };
  return { key: id.repeat(8), id, platform: 'linux/amd64', sharing: 'shared', inUse: false, sizeBytes: 5, files: 1, ...times, ...more };
}

function cachesOf(mounts: BuildCacheMount[]): BuildCacheMounts {
  const unused = () => Promise.reject(new Error('not asked for'));
  return {
    list: async () => mounts,
    async remove(name) {
      const [mount] = mounts.splice(
        mounts.findIndex(({ key }) => key === name),
        1,
      );
      assert.ok(mount);
      return { mount, sizeBytes: mount.sizeBytes };
    },
    export: unused,
    import: unused,
  };
}

test('cache mounts are what du shows, by the conditions of a filter', async () => {
  const caches = cachesOf([mountOf('npm1'), mountOf('apt2', { inUse: true })]);
  const ids = async (...filters: string[]) => (await usageOf(caches, filters)).map(({ ID }) => ID.slice(0, 4));
  assert.deepEqual(await ids(), ['npm1', 'apt2']);
  assert.deepEqual(await ids(''), ['npm1', 'apt2']);
  assert.deepEqual(await ids('type==exec.cachemount,inuse'), ['apt2']);
  assert.deepEqual(await ids('type==source.local'), []);
  assert.deepEqual(await ids('type!=source.local'), ['npm1', 'apt2']);
  assert.deepEqual(await ids('description~=mount npm1'), ['npm1']);
});

test('prune leaves what is in use, and what was used lately', async () => {
  const mounts = [mountOf('old1'), mountOf('new2', { lastUsedAtMs: Date.now() }), mountOf('use3', { inUse: true })];
  const gone = await pruneCaches(cachesOf(mounts), { filter: [], keepDuration: 3_600_000_000_000n });
  assert.deepEqual(
    gone.map(({ ID, Size }) => [ID.slice(0, 4), Size]),
    [['old1', 5n]],
  );
  assert.deepEqual(
    mounts.map(({ id }) => id),
    ['new2', 'use3'],
  );
  assert.deepEqual(await pruneCaches(undefined, { filter: [], keepDuration: 0n }), []);
});
