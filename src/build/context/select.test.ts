import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { selectPaths } from './select.ts';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-select-'));
  mkdirSync(join(folder, 'src/deep'), { recursive: true });
  mkdirSync(join(folder, 'links'));
  writeFileSync(join(folder, 'src/a.c'), '');
  symlinkSync('../src', join(folder, 'links/l'));
  symlinkSync('src', join(folder, 'to-src'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const rows: [paths: { path: string; wildcard?: boolean }[], selected: string[] | undefined][] = [
  [[{ path: '/src' }], ['*', '!src']],
  [
    [{ path: '/src/deep' }, { path: '/package.json' }],
    ['*', '!package.json', '!src/deep'],
  ],
  [[{ path: '/src/*.c', wildcard: true }], ['*', '!src']],
  [[{ path: '/missing/x' }], ['*', '!missing/x']],
  [[{ path: '/' }], undefined],
  [[{ path: '/src' }, { path: '/' }], undefined],
  [[{ path: '/*.c', wildcard: true }], undefined],
  [[{ path: '/src/*/x', wildcard: true }], undefined],
  [[{ path: '/links/*', wildcard: true }], undefined],
  [[{ path: '/to-src' }], undefined],
  [[{ path: '/to-src/a.c' }], undefined],
  [[{ path: '/a b' }], undefined],
  [[{ path: '/größe' }], undefined],
  [[], undefined],
];

for (const [paths, selected] of rows) {
  test(`of a context, ${paths.map((item) => item.path).join(' and ') || 'nothing'} needs ${selected?.slice(1).join(' ') ?? 'all'}`, async () => {
    assert.deepEqual(
      await selectPaths(
        folder,
        paths.map(({ path, wildcard = false }) => ({ path, wildcard })),
      ),
      selected,
    );
  });
}
