import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { toBytes } from '../../src/base/bytes.ts';
import { mount, unmount } from '../../src/kernel/mount.ts';
import { schemaVersion } from '../../src/store/database/schema.ts';
import { openStore } from '../../src/store/open.ts';
import { kill, startProgram } from '../support/child.ts';
import { describeFolder, needsRoot, temporaryFolder } from '../support/filesystem.ts';
import { databaseUrl, openStoreForTest, workerUrl } from '../support/store.ts';

const openAt = (root: string) => openStore({ root, workerUrl, databaseUrl });

test('what was stored is there after the store is opened again, and its tmp is empty', async () => {
  using folder = temporaryFolder();
  const root = join(folder.path, 'a/new/root');
  const first = await openAt(root);
  const edit = { op: 'file' as const, path: toBytes('x'), data: Buffer.from('kept') };
  const { id } = await first.trees.edit(first.trees.empty.id, [edit]);
  await first.close();
  await first.close();
  mkdirSync(join(root, 'tmp/job-left/over'), { recursive: true });
  writeFileSync(join(root, 'tmp/blob-left'), 'x');

  const second = await openAt(root);
  assert.equal((await second.trees.readFile(id, toBytes('x'))).toString(), 'kept');
  assert.deepEqual(readdirSync(join(root, 'tmp')), []);
  await second.close();
});

test('a second opener is refused and told who has the root, until the first one is gone', async () => {
  using folder = temporaryFolder();
  const holder = await startProgram('hold-store.ts', folder.path);
  try {
    await assert.rejects(openAt(folder.path), { kind: 'Conflict', code: 'ROOT_IN_USE', message: new RegExp(`pid ${holder.pid}\\b`) });
  } finally {
    await kill(holder);
  }
  await (await openAt(folder.path)).close();
});

test('one process cannot open a root twice either', async () => {
  using folder = temporaryFolder();
  const store = await openAt(folder.path);
  await assert.rejects(openAt(folder.path), { code: 'ROOT_IN_USE' });
  await store.close();
});

test('a newer layout or a newer schema is refused, says what to do, and is left alone', async () => {
  using folder = temporaryFolder();
  await (await openAt(folder.path)).close();
  const version = join(folder.path, 'version');
  const before = readFileSync(version, 'utf8');
  writeFileSync(version, '99\n');
  await assert.rejects(openAt(folder.path), { kind: 'Unsupported', code: 'STORE_NEWER', hint: /newer engine|--root/ });
  assert.equal(readFileSync(version, 'utf8'), '99\n');

  writeFileSync(version, before);
  const database = new DatabaseSync(join(folder.path, 'metadata.db'));
  database.exec(`PRAGMA user_version = ${schemaVersion + 1}`);
  database.close();
  await assert.rejects(openAt(folder.path), { kind: 'Unsupported', code: 'STORE_NEWER' });

  writeFileSync(version, 'something else');
  await assert.rejects(openAt(folder.path), { code: 'STORE_VERSION_INVALID' });
  // Each refusal gave the lock back.
  await assert.rejects(openAt(folder.path), { code: 'STORE_VERSION_INVALID' });
});

test('a damaged database is an error that names it', async () => {
  using folder = temporaryFolder();
  await (await openAt(folder.path)).close();
  writeFileSync(join(folder.path, 'metadata.db'), Buffer.alloc(8192, 'not a database '));
  await assert.rejects(openAt(folder.path), { kind: 'DataLoss', code: 'METADATA_DAMAGED', message: /metadata\.db/ });
});

test('only root can look inside', needsRoot, async () => {
  await using store = await openStoreForTest();
  const states = describeFolder(store.paths.root);
  for (const path of ['objects', 'blobs']) assert.equal((states.get(path)?.mode ?? 0) & 0o077, 0, path);
});

/** Large files are written by the job itself; many small ones by its second thread. */
const tooMuch = [
  { name: 'some large files', files: 300, bytes: 64 << 10 },
  { name: 'many small files', files: 6000, bytes: 4000 },
];
for (const { name, files, bytes } of tooMuch) {
  test(`a full disk is an error, leaves nothing half-written, and the store goes on: ${name}`, needsRoot, async () => {
    using folder = temporaryFolder();
    using source = temporaryFolder();
    const root = join(folder.path, 'root');
    mkdirSync(root);
    mount({ source: 'tmpfs', target: root, type: 'tmpfs', flags: 0, data: 'size=12m' });
    try {
      const store = await openAt(root);
      try {
        for (let i = 0; i < files; i++) writeFileSync(join(source.path, `f${i}`), Buffer.alloc(bytes, `${i} `));
        const used = () => execFileSync('du', ['-s', '--block-size=1', join(root, 'objects'), join(root, 'tmp')]).toString();
        const before = used();
        await assert.rejects(store.trees.ingest({ path: source.path, statCache: 'x' }), { kind: 'NoSpace' });
        assert.equal(used(), before);
        assert.deepEqual(readdirSync(join(root, 'tmp')), []);
        await assert.rejects(store.blobs.put(megabytes(20)), (error) => /ENOSPC/.test(String(error)));
        assert.deepEqual(readdirSync(join(root, 'tmp')), []);

        const edit = { op: 'file' as const, path: toBytes('x'), data: Buffer.from('small') };
        const { id } = await store.trees.edit(store.trees.empty.id, [edit]);
        assert.equal((await store.trees.readFile(id, toBytes('x'))).toString(), 'small');
      } finally {
        await store.close();
      }
    } finally {
      unmount(root);
    }
  });
}

async function* megabytes(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield Buffer.alloc(1 << 20, i);
}
