import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { extractIntoRoot } from '../../src/api/archive/extract.ts';
import type { LiveRoot } from '../../src/api/archive/live-root.ts';
import { packFromRoot, statInRoot } from '../../src/api/archive/pack.ts';
import { EngineError } from '../../src/base/errors.ts';

const options = { skip: process.getuid?.() !== 0 && 'needs root' };
const context = { report: () => {} };
const roundsMs = 1_500;
const secret = 'the secret of the host';

/**
 * A root whose `/data/dir` is, in turn and as fast as another process can, a directory and a symlink to a folder of the host: what CVE-2018-15664 was
 * made of. Absolute and relative, and swapped with names below it that exist on both sides.
 */
async function hostileRoot(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-race-'));
  const rootfs = join(folder, 'root');
  const outside = join(folder, 'outside');
  mkdirSync(join(rootfs, 'data/dir/sub'), { recursive: true });
  mkdirSync(join(outside, 'sub'), { recursive: true });
  for (const place of [join(rootfs, 'data/dir'), outside]) {
    const content = place === outside ? secret : 'mine';
    for (const name of ['file', 'sub/file']) writeFileSync(join(place, name), content);
  }
  symlinkSync(outside, join(rootfs, 'data/absolute'));
  symlinkSync('../../outside', join(rootfs, 'data/relative'));
  // The other side writes too: where a step does not work any more, the scene is set again.
  const script = `
    const { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } = require('node:fs');
    const [data, outside] = process.argv.slice(1);
    const links = { absolute: outside, relative: '../../outside' };
    const again = () => {
      for (const name of ['dir', 'aside', ...Object.keys(links)]) rmSync(data + '/' + name, { recursive: true, force: true });
      mkdirSync(data + '/dir/sub', { recursive: true });
      for (const name of ['file', 'sub/file']) writeFileSync(data + '/dir/' + name, 'mine');
      for (const [name, target] of Object.entries(links)) symlinkSync(target, data + '/' + name);
    };
    process.stdout.write('.');
    for (;;) for (const link of Object.keys(links)) try {
      renameSync(data + '/dir', data + '/aside');
      renameSync(data + '/' + link, data + '/dir');
      renameSync(data + '/dir', data + '/' + link);
      renameSync(data + '/aside', data + '/dir');
    } catch {
      try { again(); } catch {}
    }`;
  const racer = spawn(process.execPath, ['-e', script, join(rootfs, 'data'), outside], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    await end(racer);
    rmSync(folder, { recursive: true, force: true });
  });
  await once(racer.stdout, 'data');
  const before = snapshotOf(outside);
  const untouched = () => assert.deepEqual(snapshotOf(outside), before, 'nothing outside was written');
  const root: LiveRoot = { container: 'hostile', rootfs };
  return { root, racer, untouched, file: join(folder, 'file.tar') };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) await once(child, 'exit');
}

function snapshotOf(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true }) as string[]) {
    const { mode, uid, gid, mtimeMs } = lstatSync(join(folder, name));
    found[name] = `${mode} ${uid}:${gid} ${mtimeMs}`;
  }
  return found;
}

/** Runs until the time is up; errors that say "it is not there any more" are what a container that plays such games gets. */
async function play(racer: ChildProcess, round: () => void | Promise<void>): Promise<void> {
  const ends = Date.now() + roundsMs;
  let worked = 0;
  for (let rounds = 0; Date.now() < ends || rounds < 20; rounds++) {
    try {
      await round();
      worked++;
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
    }
  }
  assert.equal(racer.exitCode, null, 'the other side raced to the end');
  assert.ok(worked > 0, 'some rounds went through');
}

test('reading while the container exchanges directories for symlinks never reads the host', options, async (t) => {
  const { root, racer, untouched, file } = await hostileRoot(t);
  const paths = ['/data/dir', '/data/dir/.', '/data/dir/sub', '/data/dir/file', '/data/dir/sub/file', '/data'];
  let turn = 0;
  await play(racer, () => {
    const path = paths[turn++ % paths.length] ?? '';
    statInRoot(context, { root, path });
    writeFileSync(file, '');
    packFromRoot(context, { root, path, output: file });
    assert.ok(!readFileSync(file).includes(secret), path);
  });
  untouched();
});

test('writing while the container exchanges directories for symlinks never writes the host', options, async (t) => {
  const { root, racer, untouched, file } = await hostileRoot(t);
  const source = mkdtempSync(join(tmpdir(), 'slipway-race-source-'));
  t.after(() => rmSync(source, { recursive: true, force: true }));
  const inner: LiveRoot = { container: 'source', rootfs: source };
  mkdirSync(join(source, 'dir/sub'), { recursive: true });
  for (const name of ['dir/file', 'dir/sub/file', 'dir/sub/new', 'file', 'new']) writeFileSync(join(source, name), 'overwritten');
  mkdirSync(join(source, 'sub'));
  writeFileSync(join(source, 'sub/file'), 'overwritten');
  writeFileSync(file, '');
  packFromRoot(context, { root: inner, path: '/.', output: file });
  let turn = 0;
  await play(racer, async () => {
    const path = ['/data/dir', '/data', '/data/dir/sub'][turn++ % 3] ?? '';
    await extractIntoRoot(context, { root, path, file, keepTypes: turn % 2 === 0, readOnly: { root: false, mounts: [] } });
  });
  untouched();
});
