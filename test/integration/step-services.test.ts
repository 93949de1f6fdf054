import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cgroups } from '../../src/runtime/cgroups.ts';
import type { StepService } from '../../src/runtime/port.ts';
import { until } from '../support/until.ts';
import { needs } from './network-harness.ts';
import { cannotRun } from './runtime-support.ts';
import { openSteps, type StepScene } from './step-scene.ts';

const skip = cannotRun || needs;

/** A web server on port 8080 that says "ready" first. */
function web(scene: StepScene, name: string, more: Partial<StepService> = {}): StepService {
  const rootfs = scene.root(name);
  const script = 'mkdir -p /www; echo "served by $NAME" > /www/index.html; echo starting; exec busybox httpd -f -p 8080 -h /www';
  const probe = ['sh', '-c', 'busybox wget -q -O /dev/null http://127.0.0.1:8080/'];
  return {
    name,
    rootfs,
    args: ['sh', '-c', script],
    env: ['PATH=/bin', `NAME=${name}`],
    user: '',
    workingDir: '/',
    ready: { args: probe, timeoutMs: 20_000 },
    ...more,
  };
}
const fetch = (name: string) => ['sh', '-c', `busybox wget -q -O - http://${name}:8080/`];

async function assertNothingLeft({ directory, rootId }: StepScene): Promise<void> {
  assert.deepEqual(readdirSync(join(directory, 'runtime')), []);
  assert.deepEqual(readdirSync(join(directory, 'steps')), []);
  await until(async () => assert.deepEqual(await new Cgroups().list(`/slipway-${rootId}`), []));
}

for (const network of ['default', 'none'] as const) {
  test(`a step reaches its service by name once it is ready, and it ends with the step (network ${network})`, { skip }, async (t) => {
    const scene = await openSteps(t);
    const { stdout, stderr, exitCode } = await scene.step(fetch('db'), { network, services: [web(scene, 'db')] });
    assert.equal(exitCode, 0, stderr);
    assert.equal(stdout, '[db] starting\nserved by db\n');
    await assertNothingLeft(scene);
  });
}

test('a service ends with a step that fails, and with one that is cancelled', { skip }, async (t) => {
  const scene = await openSteps(t);
  assert.equal((await scene.step(['sh', '-c', 'exit 3'], { services: [web(scene, 'db')] })).exitCode, 3);
  await assertNothingLeft(scene);
  const abort = new AbortController();
  const onOutput = (_: string, data: Buffer) => {
    if (data.includes('running')) abort.abort();
  };
  const cancelled = scene.step(['sh', '-c', 'echo running; sleep 1000'], { services: [web(scene, 'db')], signal: abort.signal, onOutput });
  await assert.rejects(cancelled, { name: 'AbortError' });
  await assertNothingLeft(scene);
  const early = new AbortController();
  const never = web(scene, 'never', { ready: { args: ['sh', '-c', 'echo probed >> /probed; false'], timeoutMs: 60_000 } });
  const waiting = scene.step(['true'], { services: [never], signal: early.signal });
  await until(async () => assert.ok(existsSync(join(never.rootfs, 'probed'))));
  early.abort();
  await assert.rejects(waiting, { name: 'AbortError' });
  await assertNothingLeft(scene);
});

test('a service that ends, or is never ready, fails the step with what it printed', { skip }, async (t) => {
  const scene = await openSteps(t);
  const dies = web(scene, 'db', { args: ['sh', '-c', 'echo no such config >&2; exit 7'] });
  await assert.rejects(scene.step(['true'], { services: [dies, web(scene, 'other')] }), {
    code: 'SERVICE_ENDED',
    message: /the service db ended with exit code 7 before it was ready:\n\[db\] no such config/,
  });
  await assertNothingLeft(scene);
  const never = web(scene, 'db', { ready: { args: ['false'], timeoutMs: 300 } });
  await assert.rejects(scene.step(['true'], { services: [never] }), {
    code: 'SERVICE_NOT_READY',
    message: /the service db was not ready within 0.3 s/,
  });
  const missing = web(scene, 'db', { args: ['no-such-server'] });
  await assert.rejects(scene.step(['true'], { services: [missing] }), { code: 'COMMAND_NOT_FOUND', message: /^the service db: / });
  await assertNothingLeft(scene);
});

test('services are held to names as their step is, and to limits of their own', { skip }, async (t) => {
  const scene = await openSteps(t);
  const limits = { memoryBytes: 64 << 20, pids: 20 };
  const script = 'grep CapEff /proc/self/status; busybox nslookup elsewhere.test 127.0.0.11 | grep -c NXDOMAIN; sleep 1000';
  const args = ['sh', '-c', script];
  const probe = { args: ['sh', '-c', 'true'], timeoutMs: 10_000 };
  const held = web(scene, 'db', { args, limits, ready: probe });
  const step = ['sh', '-c', 'until [ -s /out ]; do sleep 0.1; done'];
  const output: string[] = [];
  const reads = new AbortController();
  const running = scene.step(step, {
    services: [held],
    allowedHosts: ['a.test'],
    signal: reads.signal,
    onOutput: (_, data) => output.push(data.toString()),
  });
  await until(async () => assert.match(output.join(''), /\[db\] CapEff:.*\n\[db\] [12]\n/));
  const groups = await new Cgroups().list(`/slipway-${scene.rootId}`);
  const limit = (group: string) => {
    const cgroups = new Cgroups();
    const path = `/slipway-${scene.rootId}/${group}`;
    return cgroups.read(path, 'memory', cgroups.version === 1 ? 'memory.limit_in_bytes' : 'memory.max')?.trim();
  };
  assert.ok(
    groups.some((group) => limit(group) === String(64 << 20)),
    groups.map(limit).join(),
  );
  reads.abort();
  await assert.rejects(running, { name: 'AbortError' });
  assert.equal(Number.parseInt(/CapEff:\s*(\S+)/.exec(output.join(''))?.[1] ?? '', 16) & (1 << 13), 0);

  await assertNothingLeft(scene);
});
