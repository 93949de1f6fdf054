import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { unmountIfMounted } from '../../src/kernel/mount.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { StepProcessRunner } from '../../src/runtime/steps/step-runner.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';
import { until } from '../support/until.ts';

// What a step may do to the host that runs it, in small: forks, output and files without end, and signals that it ignores.

const runc = findProgram('runc') ?? '';
const skip = process.getuid?.() !== 0 ? 'needs root' : !(runc && findProgram('mkfs.ext4')) && 'needs runc and mkfs.ext4';
const none = { networkMode: 'none' as const };
const rootId = `hostile${process.pid}`;
const diskBytes = 160 << 20;
let folder: string;
let disk: string;
let steps: StepProcessRunner;
let scene: BuildBench;

before(async () => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), 'slipway-hostile-'));
  disk = join(folder, 'disk');
  mkdirSync(disk);
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, diskBytes);
  execFileSync('mkfs.ext4', ['-q', '-m', '0', image], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } });
  execFileSync('mount', ['-o', 'loop', image, disk], { env: { PATH: '/usr/sbin:/sbin:/usr/bin:/bin' } });
  const unused = () => Promise.reject(new Error('these steps have no network'));
  steps = new StepProcessRunner({
    runtime: new OciRuntime({ name: 'runc', command: runc, root: join(folder, 'runtime') }),
    networks: { attach: unused, detach: unused, attached: async () => [] } as never,
    paths: { run: folder },
    rootId,
  });
  scene = await openBuilds({ steps, directory: disk });
  await scene.image('base', { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\n' }, {}, true);
});
after(async () => {
  if (skip) return;
  await steps.close();
  await scene[Symbol.asyncDispose]();
  unmountIfMounted(disk);
  rmSync(folder, { recursive: true, force: true });
});

async function assertNothingLeft(): Promise<void> {
  assert.deepEqual(readdirSync(join(scene.store.paths.root, 'snapshots')), []);
  assert.deepEqual(readdirSync(join(folder, 'steps')), []);
  assert.deepEqual(readdirSync(join(folder, 'runtime')), []);
  assert.deepEqual(await new Cgroups().list(`/slipway-${rootId}`), []);
}

test('a step that forks without end has its limit of processes, and takes all of them along', { skip }, async () => {
  let most = 0;
  const limits = { pids: 60 };
  const watching = new AbortController();
  const cgroups = new Cgroups();
  const onEvent = async () => {
    for (const group of await cgroups.list(`/slipway-${rootId}`)) {
      most = Math.max(most, Number(cgroups.read(`/slipway-${rootId}/${group}`, 'pids', 'pids.current') ?? 0));
    }
  };
  const bomb = 'bomb() { bomb | bomb & }; bomb; i=0; while [ $i -lt 20 ]; do echo tick; sleep 0.05; i=$((i+1)); done; exit 5';
  await assert.rejects(scene.build(`FROM base\nRUN ${bomb}`, {}, { ...none, limits, onEvent: () => void onEvent() }), {
    code: 'BUILD_STEP_FAILED',
  });
  watching.abort();
  assert.ok(most <= 60, `${most} processes`);
  await assertNothingLeft();
});

test('a step that ignores signals ends when its build is cancelled', { skip }, async () => {
  const abort = new AbortController();
  const script = 'trap "" TERM INT HUP QUIT; (trap "" TERM INT HUP QUIT; while :; do sleep 1; done) & echo deaf; while :; do sleep 1; done';
  const onEvent = (event: { kind: string }) => {
    if (event.kind === 'output') abort.abort();
  };
  await assert.rejects(scene.build(`FROM base\nRUN ${script}`, {}, { ...none, signal: abort.signal, onEvent }), { code: 'CANCELLED' });
  await assertNothingLeft();
});

test('a step that fills the disk is told by its own program, and what it wrote is gone', { skip }, async () => {
  const free = () => {
    const { bavail, bsize } = statfsSync(disk);
    return bavail * bsize;
  };
  const before = free();
  const fills = `FROM base\nRUN /bin/busybox dd if=/dev/zero of=/fill bs=1M count=${(diskBytes >> 20) * 2}`;
  const events: string[] = [];
  const onEvent = (event: { kind: string; data?: Buffer }) => void events.push(event.data?.toString() ?? '');
  await assert.rejects(scene.build(fills, {}, { ...none, onEvent }), { code: 'BUILD_STEP_FAILED' });
  assert.match(events.join(''), /No space left on device/);
  await assertNothingLeft();
  // The files of a snapshot that is gone are removed in the background.
  await until(async () => assert.ok(before - free() < 16 << 20, `${before - free()} bytes did not come back`));
  const built = await scene.build('FROM base\nRUN echo fine > /fine', {}, none);
  assert.equal(await scene.text(built.tree.id, 'fine'), 'fine\n');
});

test('output without end is read at a bounded pace, and the step ends with its build', { skip }, async () => {
  const abort = new AbortController();
  let bytes = 0;
  const onEvent = (event: { kind: string; data?: Buffer }) => {
    bytes += event.data?.length ?? 0;
    if (bytes > 4 << 20) abort.abort();
  };
  await assert.rejects(scene.build('FROM base\nRUN /bin/busybox yes endless', {}, { ...none, signal: abort.signal, onEvent }), {
    code: 'CANCELLED',
  });
  // What was in its pipe comes still; it wrote no more than that.
  assert.ok(bytes < 8 << 20, `${bytes} bytes`);
  await assertNothingLeft();
});

test('many files are one result, and those of a step that fails are gone', { skip }, async () => {
  const script = 'mkdir /many; cd /many; i=0; while [ $i -lt 1500 ]; do : > $i; i=$((i+1)); done';
  await assert.rejects(scene.build(`FROM base\nRUN ${script}; false`, {}, none), { code: 'BUILD_STEP_FAILED' });
  await assertNothingLeft();
  const built = await scene.build(`FROM base\nRUN ${script}`, {}, none);
  assert.equal((await scene.list(built.tree.id)).filter((line) => line.startsWith('f many/')).length, 1500);
  await assertNothingLeft();
});
