import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { EngineError } from '../../src/base/errors.ts';
import { tar } from '../conformance/tar.ts';
import { openBuilds } from '../support/builds.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };

test('a tar as context: owners are root, .dockerignore holds, the Dockerfile is read from it', needsRoot, async () => {
  await using builds = await openBuilds();
  const file = join(builds.folder, 'context.tar.gz');
  const archive = tar([
    { name: 'Dockerfile', text: 'FROM scratch\nCOPY . /\n' },
    { name: '.dockerignore', text: 'Dockerfile\n.dockerignore\n*.log\n' },
    { name: 'a', text: 'x', uid: 5, gid: 6 },
    { name: 'b.log', text: 'y' },
  ]);
  writeFileSync(file, gzipSync(archive));
  const result = await builds.build('', {}, { context: { kind: 'tar', file }, dockerfile: { path: 'Dockerfile' } });
  assert.deepEqual(await builds.list(result.tree.id), ['f a 644 0:0 "x"']);
});

test('the same files as a folder, a tar and a tree give the same image', needsRoot, async () => {
  await using builds = await openBuilds();
  const dockerfile = 'FROM scratch\nCOPY a d /\n';
  const folder = await builds.build(dockerfile, { a: 'x', 'd/b': 'y' });
  const file = join(builds.folder, 'context.tar');
  writeFileSync(
    file,
    tar([
      { name: 'a', text: 'x' },
      { name: 'd/', type: '5', mode: 0o755 },
      { name: 'd/b', text: 'y' },
    ]),
  );
  const archive = await builds.build(dockerfile, {}, { context: { kind: 'tar', file } });
  assert.equal(archive.image?.id, folder.image?.id);
  const tree = await builds.store.trees.ingest({ path: builds.context('tree', { a: 'x', 'd/b': 'y' }) });
  const given = await builds.build(dockerfile, {}, { context: { kind: 'tree', tree } });
  assert.equal(given.image?.id, folder.image?.id);
});

test('a Dockerfile that .dockerignore leaves out is still read; a missing one is named with the nearest file', needsRoot, async () => {
  await using builds = await openBuilds();
  const path = builds.context('own', { 'docker/Dockerfile.dev': 'FROM scratch\nCOPY . /\n', '.dockerignore': '*\n!a', a: 'x' });
  const context = { kind: 'directory', path } as const;
  const result = await builds.build('', {}, { context, dockerfile: { path: 'docker/Dockerfile.dev' } });
  assert.deepEqual(await builds.list(result.tree.id), ['f a 644 0:0 "x"']);
  await assert.rejects(builds.build('', {}, { context, dockerfile: { path: 'docker/Dockerfile.dve' } }), (error: unknown) => {
    assert.ok(error instanceof EngineError);
    assert.equal(error.code, 'DOCKERFILE_NOT_FOUND');
    assert.match(error.hint ?? '', /Did you mean Dockerfile\.dev\?/);
    return true;
  });
});

test('a Dockerfile that is a link stays inside the context', needsRoot, async () => {
  await using builds = await openBuilds();
  const path = builds.context('link', { a: 'x' });
  symlinkSync('../../../../../../etc/passwd', join(path, 'Dockerfile'));
  await assert.rejects(builds.build('', {}, { context: { kind: 'directory', path }, dockerfile: { path: 'Dockerfile' } }), {
    code: 'DOCKERFILE_NOT_FOUND',
  });
});

test('only what the paths need of a folder is read', needsRoot, async () => {
  await using builds = await openBuilds();
  const result = await builds.build('FROM scratch\nCOPY src /\n', { 'src/a': 'x', 'big/1': '1', 'big/2': '2', other: '3' });
  const counts = result.events.find((event) => event.kind === 'vertex' && event.detail !== undefined && event.state === 'done');
  assert.deepEqual(counts?.kind === 'vertex' ? counts.detail?.files : undefined, 1);
});

test('a context that is not there', needsRoot, async () => {
  await using builds = await openBuilds();
  const context = { kind: 'directory', path: join(builds.folder, 'nowhere') } as const;
  await assert.rejects(builds.build('FROM scratch\nCOPY . /\n', {}, { context }), { code: 'CONTEXT_UNREADABLE' });
});
