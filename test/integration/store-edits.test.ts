import assert from 'node:assert/strict';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { type ByteString, toBytes } from '../../src/base/bytes.ts';
import { type Entry, EntryType, type TreeId } from '../../src/store/model.ts';
import type { Edit, Store } from '../../src/store/port.ts';
import { temporaryFolder } from '../support/filesystem.ts';
import { openStoreForTest } from '../support/store.ts';

let store: Store;
before(async () => {
  store = await openStoreForTest();
});
after(() => store[Symbol.asyncDispose]());

/** A tree of files (text), folders (name ending in `/`), links (`-> target`) and hardlinks (`= other path`). */
async function makeTree(files: Record<string, string>): Promise<TreeId> {
  using folder = temporaryFolder();
  for (const [path, content] of Object.entries(files)) {
    const host = join(folder.path, path);
    mkdirSync(path.endsWith('/') ? host : dirname(host), { recursive: true });
    if (path.endsWith('/')) continue;
    if (content.startsWith('-> ')) symlinkSync(content.slice(3), host);
    else if (content.startsWith('= ')) linkSync(join(folder.path, content.slice(2)), host);
    else writeFileSync(host, content);
  }
  return (await store.trees.ingest({ path: folder.path, owner: { uid: 0, gid: 0 } })).id;
}

/** The tree in the same notation. */
async function show(tree: TreeId): Promise<Record<string, string>> {
  const shown: Record<string, string> = {};
  const { hardlinks } = await store.trees.get(tree);
  const firstName = new Map(hardlinks.flatMap((group) => group.slice(1).map((path) => [path, group[0]] as const)));
  for (const { path, after: entry } of await store.trees.diff(store.trees.empty.id, tree)) {
    if (entry?.type === EntryType.directory) {
      if ((await store.trees.list(tree, path)).length === 0) shown[`${path}/`] = '';
    } else if (firstName.has(path)) shown[path] = `= ${firstName.get(path)}`;
    else shown[path] = entry?.type === EntryType.symlink ? `-> ${entry.target}` : (await store.trees.readFile(tree, path)).toString();
  }
  return shown;
}

const b = toBytes;
const copy = (from: TreeId, source: string, dest: string, more: object = {}): Edit => ({
  op: 'copy',
  from,
  source: b(source),
  dest: b(dest),
  contents: false,
  ...more,
});

const base = {
  'app/a': 'old a',
  'app/b': 'old b',
  'app/sub/c': 'old c',
  bin: '-> usr/bin',
  'usr/bin/sh': 'shell',
  'usr/loop': '-> loop',
  'usr/up': '-> ../../../../app',
  'usr/root': '-> /app/sub',
  'usr/hard': '= app/a',
  'srv/': '',
};
const source = {
  'src/a': 'new a',
  'src/sub/d': 'new d',
  'src/sub/skip/e': 'e',
  'src/x': '= src/a',
  'link-to-src': '-> src',
  'src/abs': '-> /src/a',
};

type Row = { name: string; edits: (from: TreeId) => Edit[]; fails?: string; expect?: Record<string, string | undefined> };
/** `expect` says what differs from `base` (undefined: gone), or `fails` the error's code. */
const rows: Row[] = [
  { name: 'no edit changes nothing', edits: () => [], expect: {} },
  { name: 'mkdir makes parents', edits: () => [{ op: 'mkdir', path: b('x/y/z') }], expect: { 'x/y/z/': '' } },
  { name: 'mkdir leaves what exists', edits: () => [{ op: 'mkdir', path: b('app'), meta: { mode: 0 } }], expect: {} },
  { name: 'mkdir follows a link at the end', edits: () => [{ op: 'mkdir', path: b('bin') }], expect: {} },
  { name: 'mkdir through a link', edits: () => [{ op: 'mkdir', path: b('bin/x') }], expect: { 'usr/bin/x/': '' } },
  { name: 'mkdir over a file', edits: () => [{ op: 'mkdir', path: b('app/a') }], fails: 'NOT_A_DIRECTORY' },
  { name: 'mkdir below a file', edits: () => [{ op: 'mkdir', path: b('app/a/x') }], fails: 'NOT_A_DIRECTORY' },
  { name: 'mkdir through a loop', edits: () => [{ op: 'mkdir', path: b('usr/loop/x') }], fails: 'LINK_LOOP' },
  {
    name: 'dots stay inside the root',
    edits: () => [{ op: 'mkdir', path: b('../../app/./sub/../n') }],
    expect: { 'app/n/': '' },
  },
  {
    name: 'a link that climbs past the root ends at the root',
    edits: () => [{ op: 'mkdir', path: b('usr/up/n') }],
    expect: { 'app/n/': '' },
  },
  { name: 'an absolute link starts at the root', edits: () => [{ op: 'mkdir', path: b('usr/root/n') }], expect: { 'app/sub/n/': '' } },
  { name: 'file in a new folder', edits: () => [{ op: 'file', path: b('n/f'), data: Buffer.from('1') }], expect: { 'n/f': '1' } },
  {
    name: 'file in place of a hardlink leaves the others',
    edits: () => [{ op: 'file', path: b('usr/hard'), data: Buffer.from('1') }],
    expect: { 'usr/hard': '1' },
  },
  { name: 'file in place of a link', edits: () => [{ op: 'file', path: b('bin'), data: Buffer.from('1') }], expect: { bin: '1' } },
  { name: 'file over a folder', edits: () => [{ op: 'file', path: b('app'), data: Buffer.of() }], fails: 'IS_A_DIRECTORY' },
  { name: 'remove a file', edits: () => [{ op: 'remove', path: b('app/b') }], expect: { 'app/b': undefined } },
  { name: 'remove a link, not what it leads to', edits: () => [{ op: 'remove', path: b('bin') }], expect: { bin: undefined } },
  {
    name: 'remove a folder and what was linked in it',
    edits: () => [{ op: 'remove', path: b('app') }],
    expect: { 'app/a': undefined, 'app/b': undefined, 'app/sub/c': undefined, 'usr/hard': 'old a' },
  },
  { name: 'remove what is not there', edits: () => [{ op: 'remove', path: b('no/such') }], expect: {} },
  { name: 'remove the root', edits: () => [{ op: 'remove', path: b('/') }], fails: 'REMOVE_ROOT' },
  { name: 'copy a file', edits: (from) => [copy(from, 'src/a', 'app/new')], expect: { 'app/new': 'new a' } },
  { name: 'copy a file over one', edits: (from) => [copy(from, 'src/a', 'app/b')], expect: { 'app/b': 'new a' } },
  {
    name: 'copy over a hardlink splits it from the others',
    edits: (from) => [copy(from, 'src/sub/d', 'app/a')],
    expect: { 'app/a': 'new d', 'usr/hard': 'old a' },
  },
  { name: 'copy a file makes parents', edits: (from) => [copy(from, 'src/a', 'p/q/r')], expect: { 'p/q/r': 'new a' } },
  { name: 'copy a link as a link', edits: (from) => [copy(from, 'src/abs', 'l')], expect: { l: '-> /src/a' } },
  { name: 'copy through links on both sides', edits: (from) => [copy(from, 'link-to-src/a', 'bin/a')], expect: { 'usr/bin/a': 'new a' } },
  {
    name: 'copy a folder to a new place, its hardlinks with it',
    edits: (from) => [copy(from, 'src', 'n')],
    expect: { 'n/a': 'new a', 'n/x': '= n/a', 'n/abs': '-> /src/a', 'n/sub/d': 'new d', 'n/sub/skip/e': 'e' },
  },
  {
    name: 'copy a part of a hardlink group',
    edits: (from) => [copy(from, 'src/x', 'x')],
    expect: { x: 'new a' },
  },
  {
    name: 'copy contents into a folder merges folders and replaces files',
    edits: (from) => [copy(from, 'src', 'app', { contents: true })],
    expect: {
      'app/a': 'new a',
      'app/x': '= app/a',
      'app/abs': '-> /src/a',
      'app/sub/d': 'new d',
      'app/sub/skip/e': 'e',
      'usr/hard': 'old a',
    },
  },
  {
    name: 'copy contents into a link to a folder',
    edits: (from) => [copy(from, 'src/sub', 'bin', { contents: true })],
    expect: { 'usr/bin/d': 'new d', 'usr/bin/skip/e': 'e' },
  },
  {
    name: 'copy the whole tree',
    edits: (from) => [copy(from, '', 'all', { contents: true })],
    expect: {
      'all/link-to-src': '-> src',
      'all/src/a': 'new a',
      'all/src/x': '= all/src/a',
      'all/src/abs': '-> /src/a',
      'all/src/sub/d': 'new d',
      'all/src/sub/skip/e': 'e',
    },
  },
  {
    name: 'copy leaves out what is excluded',
    edits: (from) => [copy(from, 'src', 'n', { exclude: [b('src/sub/skip'), b('src/x'), b('src/abs')] })],
    expect: { 'n/a': 'new a', 'n/sub/d': 'new d' },
  },
  { name: 'copy what is not there', edits: (from) => [copy(from, 'no', 'x')], fails: 'COPY_SOURCE_NOT_FOUND' },
  {
    name: 'copy the contents of a file',
    edits: (from) => [copy(from, 'src/a', 'x', { contents: true })],
    fails: 'COPY_SOURCE_NOT_A_DIRECTORY',
  },
  {
    name: 'copy contents over a file',
    edits: (from) => [copy(from, 'src', 'app/a', { contents: true })],
    fails: 'NOT_A_DIRECTORY',
  },
  { name: 'copy a file over a folder', edits: (from) => [copy(from, 'src/a', 'app')], fails: 'COPY_TYPE_CONFLICT' },
  { name: 'copy a folder over a file', edits: (from) => [copy(from, 'src', 'app/a')], fails: 'COPY_TYPE_CONFLICT' },
  {
    name: 'edits see what earlier ones made',
    edits: (from) => [
      { op: 'mkdir', path: b('n') },
      copy(from, 'src/a', 'n/a'),
      { op: 'file', path: b('n/b'), data: Buffer.from('b') },
      { op: 'remove', path: b('n/a') },
    ],
    expect: { 'n/b': 'b' },
  },
];

for (const { name, edits, fails, expect = {} } of rows) {
  test(`edit: ${name}`, async () => {
    const [tree, from] = [await makeTree(base), await makeTree(source)];
    const edited = store.trees.edit(tree, edits(from));
    if (fails !== undefined) {
      await assert.rejects(edited, { code: fails });
      return;
    }
    const before = await show(tree);
    const wanted = Object.fromEntries(Object.entries({ ...before, ...expect }).filter(([, value]) => value !== undefined));
    // The group of app/a and usr/hard dissolves when app/a goes.
    if ('app/a' in expect) wanted['usr/hard'] = expect['usr/hard'] ?? 'old a';
    assert.deepEqual(await show((await edited).id), wanted);
  });
}

test('edit: owner and mode reach everything that was copied, and links keep their mode', async () => {
  const from = await makeTree(source);
  const edited = await store.trees.edit(store.trees.empty.id, [
    copy(from, 'src', 'new/place', { chown: { uid: 70_000, gid: 5 }, chmod: 0o750 }),
    { op: 'mkdir', path: b('other'), meta: { mode: 0o1777, uid: 3, mtimeSec: 9 } },
  ]);
  const at = async (path: string) => {
    const entry = await store.trees.lookup(edited.id, b(path));
    return [entry?.mode, entry?.uid, entry?.gid];
  };
  for (const path of ['new/place', 'new/place/a', 'new/place/sub/skip/e']) assert.deepEqual(await at(path), [0o750, 70_000, 5], path);
  assert.deepEqual(await at('new/place/abs'), [0o777, 70_000, 5]);
  assert.deepEqual(await at('new'), [0o755, 70_000, 5]);
  assert.deepEqual(await at('other'), [0o1777, 3, 0]);
  assert.deepEqual((await store.trees.get(edited.id)).hardlinks, [['new/place/a', 'new/place/x']]);
});

test('edit: a merged folder below takes the metadata of the copied one, the destination keeps its own', async () => {
  const from = await makeTree({ 'dir/sub/x': '1' });
  const tree = await makeTree({ 'dest/sub/y': '2' });
  const [marked] = [await store.trees.edit(from, [copy(from, 'dir', 'dir', { chmod: 0o700 })])];
  const { id } = await store.trees.edit(tree, [copy(marked.id, 'dir', 'dest', { contents: true })]);
  assert.equal((await store.trees.lookup(id, b('dest')))?.mode, 0o755);
  assert.equal((await store.trees.lookup(id, b('dest/sub')))?.mode, 0o700);
});

test('edit: the same edits give the same tree, and copying back what is there gives the tree itself', async () => {
  const tree = await makeTree(base);
  const edits: Edit[] = [{ op: 'mkdir', path: b('x/y') }, copy(tree, 'app', 'x/y/z')];
  assert.deepEqual(await store.trees.edit(tree, edits), await store.trees.edit(tree, edits));
  assert.equal((await store.trees.edit(tree, [copy(tree, 'usr/bin', 'bin', { contents: true })])).id, tree);
});

test("merge: folders join, everything else is the upper tree's", async () => {
  const lower = await makeTree({ 'd/a': '1', 'd/b': '2', f: 'file', g: '= f', 'h/': '', 'k/x': '3', l: '-> d' });
  const upper = await makeTree({ 'd/b': 'new', 'f/x': 'now a folder', k: 'now a file', 'l/y': '4', 'p/q': '5', 'p/r': '= p/q' });
  const { id } = await store.trees.merge(lower, upper);
  assert.deepEqual(await show(id), {
    'd/a': '1',
    'd/b': 'new',
    'f/x': 'now a folder',
    g: 'file',
    'h/': '',
    k: 'now a file',
    'l/y': '4',
    'p/q': '5',
    'p/r': '= p/q',
  });
  assert.deepEqual((await store.trees.get(id)).hardlinks, [['p/q', 'p/r']]);
  assert.equal((await store.trees.merge(lower, lower)).id, lower);
});

const brief = (changes: { kind: string; path: string }[]) => changes.map(({ kind, path }) => `${kind[0]?.toUpperCase()} ${path}`);

test('diff: what came, went and changed, in the order of a walk', async () => {
  const before = await makeTree({ 'a/x': '1', 'a-b': '2', 'gone/deep/y': '3', kind: 'file', 'kind2/z': '4', same: '5' });
  const after = await makeTree({ 'a/x': 'changed', 'a-b': '2', 'kind/new': '6', kind2: 'file', same: '5', 'z/w': '7' });
  const { changes } = { changes: await store.trees.diff(before, after, { compare: 'content' }) };
  assert.deepEqual(brief(changes), [
    'M a/x',
    'D gone',
    'D gone/deep',
    'D gone/deep/y',
    'M kind',
    'A kind/new',
    'M kind2',
    'D kind2/z',
    'A z',
    'A z/w',
  ]);
  assert.deepEqual(await store.trees.diff(before, before), []);
});

test('diff: times count in full and not in content', async () => {
  const from = await makeTree({ 'a/x': '1' });
  const data = Buffer.from('1');
  const before = await store.trees.edit(from, [{ op: 'file', path: b('a/x'), data, meta: { mtimeSec: 1 } }]);
  const later = await store.trees.edit(from, [{ op: 'file', path: b('a/x'), data, meta: { mtimeSec: 2 } }]);
  assert.deepEqual(brief(await store.trees.diff(before.id, later.id)), ['M a/x']);
  assert.deepEqual(await store.trees.diff(before.id, later.id, { compare: 'content' }), []);
  assert.equal(before.content, later.content);
  assert.notEqual(before.id, later.id);
});

test('diff: names that join or leave an inode are changes, though nothing in the folders differs', async () => {
  const apart = await makeTree({ a: '1', b: '1', c: '1' });
  const from = await makeTree({ a: '1', b: '= a', c: '1' });
  const paths = async (before: TreeId, after: TreeId) =>
    (await store.trees.diff(before, after, { compare: 'content' })).map(({ path }) => path);
  assert.deepEqual(await paths(apart, from), ['a', 'b']);
  assert.deepEqual(await paths(from, apart), ['a', 'b']);
  assert.notEqual((await store.trees.get(apart)).hardlinks, (await store.trees.get(from)).hardlinks);
  const contents = [apart, from].map(async (id) => (await store.trees.edit(id, [])).content);
  assert.notEqual(await contents[0], await contents[1]);
});

test('adopt: what is equal takes the earlier times, what differs keeps its own', async () => {
  const file = (path: string, text: string, mtimeSec: number): Edit => ({
    op: 'file',
    path: b(path),
    data: Buffer.from(text),
    meta: { mtimeSec },
  });
  const folder = (path: string, mtimeSec: number): Edit => ({ op: 'mkdir', path: b(path), meta: { mtimeSec } });
  const make = async (time: number, changed: string, more: Edit[] = []) =>
    (
      await store.trees.edit(store.trees.empty.id, [
        folder('d', time),
        folder('d/same', time),
        file('d/same/f', 'same', time),
        file('d/changed', changed, time),
        ...more,
      ])
    ).id;
  const earlier = await make(100, 'one');
  const time = async (tree: TreeId, path: string) => (await store.trees.lookup(tree, b(path)))?.mtimeSec;

  const equal = await store.trees.adopt(await make(200, 'one'), earlier);
  assert.equal(equal.id, earlier);

  const changed = await store.trees.adopt(await make(200, 'two'), earlier);
  assert.deepEqual(await Promise.all(['d', 'd/same', 'd/same/f', 'd/changed'].map((path) => time(changed.id, path))), [100, 100, 100, 200]);

  const grown = await store.trees.adopt(await make(200, 'one', [file('d/new', 'x', 200)]), earlier);
  assert.deepEqual(await Promise.all(['d', 'd/changed', 'd/new'].map((path) => time(grown.id, path))), [200, 100, 200]);
});

test('selection: a digest of what the paths lead to and nothing else', async () => {
  const tree = async (more: Record<string, string>) => makeTree({ 'a/x': '1', 'a/y': '2', b: '3', l: '-> a', ...more });
  const digest = async (id: TreeId, ...paths: string[]) => store.trees.selectionDigest(id, paths.map(b));
  const [one, other] = [await tree({}), await tree({ unrelated: 'z', b: 'changed' })];
  assert.equal(await digest(one, 'a'), await digest(other, 'a'));
  assert.equal(await digest(one, 'a', 'l/x'), await digest(other, 'l/x', 'a', 'a'));
  assert.notEqual(await digest(one, 'b'), await digest(other, 'b'));
  assert.notEqual(await digest(one, ''), await digest(other, ''));
  assert.notEqual(await digest(one, 'missing'), await digest(await tree({ missing: '' }), 'missing'));
  assert.notEqual(await digest(one, 'a'), await digest(one, 'a', 'missing'));
  const linked = await makeTree({ 'a/x': '1', 'a/y': '2', 'a/z': '2' });
  const joined = await makeTree({ 'a/x': '1', 'a/y': '2', 'a/z': '= a/y' });
  assert.notEqual(await digest(linked, 'a'), await digest(joined, 'a'));
  assert.equal(await digest(linked, 'a/y'), await digest(joined, 'a/y'));
});

test('look-ups follow links on the way, and at the end when asked', async () => {
  const tree = await makeTree({ 'a/x': '1', l: '-> a', m: '-> l/x', loop: '-> loop' });
  const type = (entry: Entry | undefined) => entry?.type;
  assert.equal(type(await store.trees.lookup(tree, b('l/x'))), EntryType.file);
  assert.equal(type(await store.trees.lookup(tree, b('m'))), EntryType.symlink);
  assert.equal(type(await store.trees.lookup(tree, b('m'), { follow: true })), EntryType.file);
  assert.equal(type(await store.trees.lookup(tree, b('l/'))), EntryType.directory);
  assert.equal(type(await store.trees.lookup(tree, b(''))), EntryType.directory);
  assert.equal(type(await store.trees.lookup(tree, b('a/..'))), EntryType.directory);
  for (const path of ['no', 'a/x/y', 'no/x']) assert.equal(await store.trees.lookup(tree, b(path)), undefined, path);
  await assert.rejects(store.trees.lookup(tree, b('loop/x')), { code: 'LINK_LOOP' });
  await assert.rejects(store.trees.list(tree, b('no')), { code: 'PATH_NOT_FOUND' });
  await assert.rejects(store.trees.list(tree, b('a/x')), { code: 'NOT_A_DIRECTORY' });
  await assert.rejects(store.trees.readFile(tree, b('a')), { code: 'NOT_A_FILE' });
  await assert.rejects(store.trees.readFile(tree, b('a/x'), { limit: 0 }), { code: 'FILE_TOO_LARGE' });
  await assert.rejects(store.trees.get('ab'.repeat(32) as TreeId), { code: 'TREE_NOT_FOUND' });
  assert.deepEqual(await store.trees.findByContent((await store.trees.edit(tree, [])).content), await store.trees.edit(tree, []));
});

test('a long chain of folders is no problem', async () => {
  const path = Array.from({ length: 300 }, () => 'a-rather-long-name').join('/') as ByteString;
  const { id } = await store.trees.edit(store.trees.empty.id, [{ op: 'file', path, data: Buffer.from('deep') }]);
  assert.equal((await store.trees.readFile(id, path)).toString(), 'deep');
  assert.equal((await store.trees.stat(id)).directories, 299);
});
