import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../src/base/errors.ts';
import { Timeline } from '../../src/base/timeline.ts';
import { findProgram } from '../../src/host/programs.ts';
import { isMountPoint, unmountIfMounted } from '../../src/kernel/mount.ts';
import { createNetns } from '../../src/kernel/namespace.ts';
import type { Endpoint } from '../../src/network/port.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { cannotRun, closeHarness, collect, eventually, type Harness, makeHarness, PortsOnly, startIn } from './runtime-support.ts';

const skip = cannotRun;
const folder = mkdtempSync(join(tmpdir(), 'slipway-start-'));
const state = join(folder, 'state');
const delay = join(folder, 'delay');
let harness: Harness;

/** Namespaces for real; what fills them is the test's to say. */
class StagedNetworks extends PortsOnly {
  fill: (id: string) => Promise<void> = async () => undefined;
  readonly calls: string[] = [];

  override async openNamespace(id = ''): Promise<string> {
    const path = join(folder, 'netns', id);
    if (!existsSync(path)) createNetns(path);
    return path;
  }

  override async attach(id = ''): Promise<{ netns: string; endpoints: [] }> {
    this.calls.push('attach');
    await this.fill(id);
    this.calls.push('attached');
    return { netns: join(folder, 'netns', id), endpoints: [endpoint] as unknown as [] };
  }

  override async detach(id = ''): Promise<void> {
    this.calls.push('detach');
    unmountIfMounted(join(folder, 'netns', id));
    rmSync(join(folder, 'netns', id), { force: true });
  }
}

const endpoint: Endpoint = {
  network: 'bridge',
  networkId: 'n'.repeat(64),
  endpointId: 'e'.repeat(64),
  ipAddress: '10.1.2.3',
  prefixLength: 24,
  gateway: '10.1.2.1',
  ipv6Address: '',
  ipv6PrefixLength: 0,
  ipv6Gateway: '',
  macAddress: '02:00:00:00:00:01',
  interface: 'eth0',
  aliases: [],
  dnsServers: ['10.1.2.1'],
};
const networks = new StagedNetworks();

/** A runtime that takes its time to create containers: as many seconds as a file says, or until it says so no more, or fails. */
before(async () => {
  if (skip) return;
  const script = join(folder, 'slow');
  writeFileSync(
    script,
    `#!/bin/sh
read seconds < ${delay}
case " $* " in *" create "*) [ "$seconds" = fail ] && { echo "slow: out of order" >&2; exit 1; }; [ "$seconds" = waits ] && until [ "$(cat ${delay})" != waits ]; do sleep 0.02; done || sleep "$seconds";; esac
exec ${findProgram('runc')} "$@"
`,
  );
  chmodSync(script, 0o755);
  for (const name of ['state', 'netns']) mkdirSync(join(folder, name));
  const runtime = new OciRuntime({ name: 'slow', command: script, root: state });
  harness = await makeHarness({}, { runtimes: [runtime], networks });
});
beforeEach(() => {
  createTakes('0');
  networks.fill = async () => undefined;
  networks.calls.length = 0;
});
after(async () => {
  if (!skip) await closeHarness(harness);
  rmSync(folder, { recursive: true });
});

function createTakes(seconds: string): void {
  writeFileSync(delay, `${seconds}\n`);
}

const bridged = { HostConfig: { NetworkMode: 'bridge', Runtime: 'slow' } };
const coded = (code: string) => (error: unknown) => error instanceof EngineError && error.code === code;

/** Processes whose arguments name the container, such as its monitor and the runtime at work for it. */
function processesOf(id: string): { pid: number; line: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return line.includes(id) ? [{ pid: Number(pid), line }] : [];
      } catch {
        return [];
      }
    });
}

async function nothingLeft(id: string): Promise<void> {
  await eventually(() => processesOf(id).length === 0, 'no process works for it');
  assert.ok(!existsSync(join(harness.directory, 'run/c', id)), 'no bundle');
  assert.ok(!isMountPoint(join(harness.directory, 'run/snap', id)), 'no root');
  assert.ok(!existsSync(join(state, id)), 'no state of the runtime');
  assert.ok(!existsSync(join(folder, 'netns', id)), 'no namespace');
  for (const hierarchy of readdirSync('/sys/fs/cgroup'))
    assert.ok(!existsSync(join('/sys/fs/cgroup', hierarchy, `slipway-${harness.rootId}`, id)), hierarchy);
}

async function failedStart(command = ['true'], request = bridged): Promise<{ id: string; error: unknown; tookMs: number }> {
  const { record } = await harness.engine.create({ ...request, Image: 'busybox', Cmd: command });
  const startedAt = performance.now();
  const error = await harness.engine.start(record.id).then(
    () => assert.fail('it started'),
    (reason: unknown) => reason,
  );
  return { id: record.id, error, tookMs: performance.now() - startedAt };
}

test('the runtime makes the container while its network is set up, and the container then knows its addresses', { skip }, async () => {
  networks.fill = (id) => eventually(() => existsSync(join(state, id, 'state.json')), 'the runtime has created the container');
  const { record } = await harness.engine.create({ ...bridged, Image: 'busybox', Cmd: ['cat', '/etc/hosts', '/etc/resolv.conf'] });
  const attachment = await harness.engine.attach(record.id, { stdin: false, stdout: true, stderr: true, logs: false, stream: true });
  const timeline = new Timeline();
  await harness.engine.start(record.id, { timeline });
  const { stdout } = await collect(attachment);
  assert.match(stdout, new RegExp(`^10\\.1\\.2\\.3\t${record.id.slice(0, 12)}$`, 'm'));
  assert.match(stdout, /^nameserver 10\.1\.2\.1$/m);
  const span = (name: string) => timeline.spans.find((one) => one.name === name) ?? assert.fail(`no span ${name}`);
  assert.ok(span('network').startMs < span('runtime create').endMs && span('runtime create').startMs < span('network').endMs);
  assert.ok(span('start').startMs >= Math.max(span('network').endMs, span('runtime create').endMs), 'it is let go when both are done');
  await harness.engine.wait(record.id);
  await harness.engine.remove(record.id);
});

test('when the network fails, a runtime that is still at work is ended, and the network is what is told', { skip }, async () => {
  createTakes('30');
  networks.fill = async (id) => {
    await eventually(() => processesOf(id).some(({ line }) => line.includes('slow\0')), 'the runtime is at work');
    throw new EngineError('Unavailable', 'NO_ADDRESS', 'the network has no more addresses');
  };
  const { id, error, tookMs } = await failedStart();
  assert.ok(coded('NO_ADDRESS')(error), String(error));
  assert.ok(tookMs < 25_000, `${tookMs} ms`);
  await nothingLeft(id);
  const { state: after } = await harness.engine.get(id);
  assert.ok(after.status === 'created' && /no more addresses/.test(after.error ?? ''));
  await harness.engine.remove(id);
});

test('when the namespace goes away under the runtime, the cause is told and not what the runtime says', { skip }, async () => {
  networks.fill = async (id) => {
    // What a driver does that undoes itself before it fails.
    await networks.detach(id);
    await sleep(300);
    throw new EngineError('Unavailable', 'NO_BRIDGE', 'the bridge is gone');
  };
  const { id, error } = await failedStart();
  assert.ok(coded('NO_BRIDGE')(error), String(error));
  await nothingLeft(id);
  await harness.engine.remove(id);
});

test('when the runtime fails, a network that is still being set up is taken away once it is done', { skip }, async () => {
  createTakes('fail');
  networks.fill = () => sleep(400);
  const { id, error } = await failedStart();
  assert.match(String(error), /slow: out of order/);
  assert.deepEqual(networks.calls, ['attach', 'attached', 'detach']);
  await nothingLeft(id);
  await harness.engine.remove(id);
});

test('a monitor that is killed while the runtime is at work is a start that failed', { skip }, async () => {
  createTakes('30');
  const { record } = await harness.engine.create({ ...bridged, Image: 'busybox', Cmd: ['true'] });
  const starting = harness.engine.start(record.id);
  starting.catch(() => undefined);
  const monitors = () => processesOf(record.id).filter(({ line }) => line.startsWith('/usr/bin/conmon\0'));
  await eventually(() => processesOf(record.id).some(({ line }) => line.includes('slow\0')), 'the runtime is at work');
  for (const { pid } of monitors()) process.kill(pid, 'SIGKILL');
  await assert.rejects(starting, /OCI runtime create failed: the monitor ended without an answer/);
  await nothingLeft(record.id);
  createTakes('0');
  await harness.engine.start(record.id);
  assert.equal((await harness.engine.wait(record.id)).exitCode, 0);
  await harness.engine.remove(record.id);
});

test('a container whose start waits is not in the way of another one, nor of its own removal once that is over', { skip }, async () => {
  createTakes('waits');
  const slow = startIn(harness, ['sleep', '60'], { HostConfig: { Runtime: 'slow' } });
  const other = await startIn(harness, ['true']);
  await harness.engine.wait(other);
  assert.equal(await Promise.race([slow.then(() => 'started'), sleep(0).then(() => 'still starting')]), 'still starting');
  createTakes('0');
  await harness.engine.remove(await slow, { force: true });
  await harness.engine.remove(other);
});

test('a hundred side by side all run, and the event loop stays free', { skip }, async () => {
  const delays = monitorEventLoopDelay({ resolution: 5 });
  delays.enable();
  const startedAt = performance.now();
  const ids = await Promise.all(
    Array.from({ length: 100 }, () => startIn(harness, ['sh', '-c', 'exit 3'], { HostConfig: { NetworkMode: 'none' } })),
  );
  const exits = await Promise.all(ids.map((id) => harness.engine.wait(id)));
  assert.deepEqual([...new Set(exits.map(({ exitCode }) => exitCode))], [3]);
  const tookMs = performance.now() - startedAt;
  delays.disable();
  assert.ok(tookMs < 60_000, `${tookMs} ms`);
  // Generous: other tests share the processors, and what is looked for is one long turn for all of them.
  assert.ok(delays.percentile(99) / 1e6 < 250, `99 of 100 turns take at most ${delays.percentile(99) / 1e6} ms`);
  await Promise.all(ids.map((id) => harness.engine.remove(id)));
});
