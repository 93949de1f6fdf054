import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Hex } from '../oci/digest.ts';
import { type Entry, EntryType, type TreeId } from '../store/model.ts';
import type { TreeContext } from '../store/port.ts';
import { sharedSizes } from './shared-sizes.ts';

type Listing = Record<string, [type: 'file' | 'directory', key: string, size?: number]>;

/** Trees of made-up directories; counts how often each is read. */
function context(directories: Record<string, Listing>, reads = new Map<string, number>()): TreeContext {
  const node = (full: string): Entry[] => {
    reads.set(full, (reads.get(full) ?? 0) + 1);
    return Object.entries(directories[full] ?? {}).map(
      ([name, [type, key, size = 0]]) =>
        (type === 'file'
          ? { type: EntryType.file, name, object: key, size }
          : { type: EntryType.directory, name, full: key }) as unknown as Entry,
    );
  };
  return { root: (id: string) => ({ full: id }), node } as unknown as TreeContext;
}
const sizes = (directories: Record<string, Listing>, ...trees: string[]) =>
  sharedSizes(context(directories), { trees: trees as unknown as TreeId[] });

test('files and directories that several images have count for each of them', () => {
  const directories: Record<string, Listing> = {
    a: { lib: ['directory', 'lib'], own: ['file', 'x', 5], same: ['file', 's', 7] },
    b: { lib: ['directory', 'lib'], etc: ['directory', 'etc'] },
    c: { alone: ['file', 'z', 100] },
    lib: { l1: ['file', 'l1', 10], deep: ['directory', 'deep'] },
    deep: { l2: ['file', 'l2', 20] },
    etc: { moved: ['file', 's', 7], other: ['file', 'o', 1000] },
  };
  assert.deepEqual(sizes(directories, 'a', 'b', 'c'), [37, 37, 0]);
  // Whatever the order in which they are seen.
  assert.deepEqual(sizes(directories, 'c', 'b', 'a'), [0, 37, 37]);
  assert.deepEqual(sizes(directories, 'a'), [0]);
});

test('images of one tree share all of it', () => {
  assert.deepEqual(sizes({ a: { f: ['file', 'x', 5] } }, 'a', 'a'), [5, 5]);
});

test('a directory that many share is read a fixed number of times', () => {
  const trees = Array.from({ length: 50 }, (_, index) => `t${index}`);
  const directories: Record<string, Listing> = { lib: { f: ['file', 'f' as Hex, 1] } };
  for (const tree of trees) directories[tree] = { lib: ['directory', 'lib'] };
  const reads = new Map<string, number>();
  const found = sharedSizes(context(directories, reads), { trees: trees as unknown as TreeId[] });
  assert.deepEqual(new Set(found), new Set([1]));
  assert.ok((reads.get('lib') ?? 0) <= 2, `${reads.get('lib')} reads`);
});
