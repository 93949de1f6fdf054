import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import type { StepRequest } from '../../src/runtime/port.ts';
import { StepProcessRunner } from '../../src/runtime/steps/step-runner.ts';
import { cannotRun, eventually, makeBusyboxRoot, PortsOnly } from './runtime-support.ts';

const skip = cannotRun;
const rootId = `steps${process.pid}`;
let directory: string;
let runner: StepProcessRunner;

before(() => {
  if (skip) return;
  directory = mkdtempSync(join(tmpdir(), 'slipway-steps-'));
  makeBusyboxRoot(join(directory, 'rootfs'));
  runner = new StepProcessRunner({
    runtime: new OciRuntime({ name: 'runc', command: '/usr/sbin/runc', root: join(directory, 'runc') }),
    networks: new PortsOnly(),
    paths: { run: directory },
    rootId,
  });
});
after(async () => {
  if (skip) return;
  await runner.close();
  rmSync(directory, { recursive: true, force: true });
});

async function step(args: string[], more: Partial<StepRequest> = {}) {
  const output = { stdout: '', stderr: '' };
  const result = await runner.run({
    rootfs: join(directory, 'rootfs'),
    args,
    env: ['PATH=/bin'],
    user: '',
    workingDir: '/',
    network: 'host',
    mounts: [],
    onOutput: (stream, data) => {
      output[stream] += data.toString();
    },
    ...more,
  });
  return { ...output, ...result };
}

test('a step writes to the root, tells its output and its exit code', { skip }, async () => {
  const { stdout, stderr, exitCode } = await step(['sh', '-c', 'echo out; echo err > /dev/stderr; echo made > /made; exit 4']);
  assert.deepEqual([stdout, stderr, exitCode], ['out\n', 'err\n', 4]);
  assert.equal(readFileSync(join(directory, 'rootfs/made'), 'utf8'), 'made\n');
});

test('mount points that the root lacked are told as stubs, unless the step put something beside them', { skip }, async () => {
  const rootfs = join(directory, 'bare');
  makeBusyboxRoot(rootfs);
  rmSync(join(rootfs, 'etc'), { recursive: true });
  const cache = join(directory, 'cache');
  mkdirSync(cache, { recursive: true });
  const mounts = [
    { source: cache, destination: '/var/cache/app', readOnly: false },
    { source: cache, destination: '/opt/shared/cache', readOnly: true },
  ];
  const { stubs } = await step(['sh', '-c', 'echo x > /opt/own; echo y > /var/cache/app/kept'], { rootfs, mounts });
  assert.deepEqual(stubs, [
    'dev',
    'etc',
    'etc/hosts',
    'etc/resolv.conf',
    'opt/shared',
    'opt/shared/cache',
    'proc',
    'sys',
    'var',
    'var/cache',
    'var/cache/app',
  ]);
  assert.equal(readFileSync(join(cache, 'kept'), 'utf8'), 'y\n');
});

test('user, directory, environment and a missing command', { skip }, async () => {
  assert.equal(
    (await step(['sh', '-c', 'id -u; pwd; echo $A $HOME'], { user: 'app', workingDir: '/tmp', env: ['PATH=/bin', 'A=b'] })).stdout,
    '1234\n/tmp\nb /home/app\n',
  );
  await assert.rejects(step(['no-such']), (error: unknown) => error instanceof EngineError && error.exitCode === 127);
});

test('an abort ends the step with everything that it started, and leaves nothing', { skip }, async () => {
  const abort = new AbortController();
  const file = join(directory, 'rootfs/beat');
  const running = step(['sh', '-c', '(while true; do date >> /beat; sleep 0.02; done) & sleep 60'], { signal: abort.signal });
  running.catch(() => undefined);
  await eventually(() => existsSync(file) && readFileSync(file).length > 0, 'the background process works');
  abort.abort();
  await assert.rejects(running, { name: 'AbortError' });
  const size = readFileSync(file).length;
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(readFileSync(file).length, size, 'the background process is gone');
  assert.deepEqual(readdirSync(join(directory, 'runc')), []);
  assert.deepEqual(await new Cgroups().list(`/slipway-${rootId}`), []);
});

test('what an engine that died left is removed', { skip }, async () => {
  mkdirSync(join(directory, 'steps/step-old'), { recursive: true });
  writeFileSync(join(directory, 'steps/step-old/config.json'), '{}');
  await runner.recover();
  assert.deepEqual(readdirSync(directory).includes('steps'), false);
});
