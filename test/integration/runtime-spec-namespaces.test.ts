import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { HostConfig } from '../../src/api-types/container.ts';
import { OciRuntime } from '../../src/runtime/drivers/oci-runtime.ts';
import { EmptyNetworks } from './runtime-spec-support.ts';
import { cannotRun, closeHarness, collect, type Harness, makeHarness, run } from './runtime-support.ts';

/** Every namespace, own, shared and the host's, and user namespaces with the ids of a configuration. */

const skip = cannotRun;
const outside = 300_000;
const idMap = { uids: [{ inside: 0, outside, count: 65_536 }], gids: [{ inside: 0, outside, count: 65_536 }] };
let harness: Harness;
let mapped: Harness;

before(async () => {
  if (skip) return;
  const networks = new EmptyNetworks();
  [harness, mapped] = await Promise.all([makeHarness(), makeHarness({}, { settings: { idMap }, networks })]);
  networks.directory = join(mapped.directory, 'run/netns');
  // Ids without rights on the host have to get to the root.
  for (const path of ['', 'run', 'run/snap', 'root', 'root/containers']) {
    mkdirSync(join(mapped.directory, path), { recursive: true });
    chmodSync(join(mapped.directory, path), 0o711);
  }
});
after(async () => {
  if (skip) return;
  await closeHarness(harness);
  for (const id of (await mapped.engine.list()).map((record) => record.id)) await mapped.engine.remove(id, { force: true, volumes: true });
  await closeHarness(mapped);
});

async function start(HostConfig: HostConfig, on = harness): Promise<{ id: string; pid: number }> {
  const { record } = await on.engine.create({
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { NetworkMode: 'none', Init: false, ...HostConfig },
  });
  await on.engine.start(record.id);
  const { state } = await on.engine.get(record.id);
  return { id: record.id, pid: state.status === 'running' ? state.pid : 0 };
}

const namespace = (pid: number | string, kind: string) => readlinkSync(`/proc/${pid}/ns/${kind}`);

test("the host's namespaces are the host's, own ones are not", { skip }, async () => {
  const shared = await start({ NetworkMode: 'host', PidMode: 'host', IpcMode: 'host', UTSMode: 'host', CgroupnsMode: 'host' });
  const own = await start({ CgroupnsMode: 'private' });
  for (const kind of ['net', 'pid', 'ipc', 'uts', 'cgroup']) {
    assert.equal(namespace(shared.pid, kind), namespace('self', kind), kind);
    assert.notEqual(namespace(own.pid, kind), namespace('self', kind), kind);
  }
  for (const { id } of [shared, own]) await harness.engine.remove(id, { force: true });
});

test("another container's namespaces are joined, by whatever name it goes later", { skip }, async () => {
  const donor = await start({ IpcMode: 'shareable' });
  const joined = `container:${donor.id.slice(0, 12)}`;
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { NetworkMode: joined, PidMode: joined, IpcMode: joined, Init: false },
  });
  assert.equal(record.hostConfig.PidMode, `container:${donor.id}`);
  await harness.engine.rename(donor.id, 'renamed-donor');
  await harness.engine.start(record.id);
  const { state } = await harness.engine.get(record.id);
  const pid = state.status === 'running' ? state.pid : 0;
  for (const kind of ['net', 'pid', 'ipc']) assert.equal(namespace(pid, kind), namespace(donor.pid, kind), kind);
  for (const id of [record.id, donor.id]) await harness.engine.remove(id, { force: true });
});

test('without IPC there is no shared memory, and a private one is not lent', { skip }, async () => {
  const { stdout } = await run(harness, ['sh', '-c', 'test -e /dev/shm && echo there || echo none'], { HostConfig: { IpcMode: 'none' } });
  assert.equal(stdout, 'none\n');
  const donor = await start({});
  const borrower = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['true'],
    HostConfig: { IpcMode: `container:${donor.id}`, NetworkMode: 'none' },
  });
  await assert.rejects(harness.engine.start(borrower.record.id), /non-shareable IPC/);
  await harness.engine.remove(donor.id, { force: true });
});

test("what namespaces exclude is refused in Docker's words", { skip }, async () => {
  const donor = await start({});
  const refused = (HostConfig: HostConfig, config = {}) =>
    harness.engine.create({ Image: 'busybox', Cmd: ['true'], ...config, HostConfig });
  const NetworkMode = `container:${donor.id}`;
  await assert.rejects(refused({ NetworkMode }, { Hostname: 'x' }), /conflicting options: hostname and the network mode/);
  await assert.rejects(refused({ NetworkMode, Dns: ['1.1.1.1'] }), /conflicting options: dns and the network mode/);
  await assert.rejects(refused({ NetworkMode, PortBindings: { '80/tcp': [{}] } }), /port publishing and the container type network mode/);
  await assert.rejects(refused({ NetworkMode, ExtraHosts: ['a:1.2.3.4'] }), /custom host-to-IP mapping and the network mode/);
  await assert.rejects(refused({ UTSMode: 'host' }, { Hostname: 'x' }), /conflicting options: hostname and the UTS mode/);
  await assert.rejects(refused({ NetworkMode: 'host', Links: ['a'] }), /host type networking can't be used with links/);
  await assert.rejects(
    refused({ PidMode: 'container:absent' }),
    (error: Error & { kind?: string }) => error.kind === 'InvalidArgument' && /No such container/.test(error.message),
  );
  await assert.rejects(refused({ IpcMode: 'sharable' }), /invalid IPC mode: sharable/);
  await assert.rejects(refused({ CgroupnsMode: 'x' }), /invalid cgroup namespace mode: x/);
  await harness.engine.remove(donor.id, { force: true });
});

test('with a user namespace root inside is nobody outside, and owns its network', { skip }, async () => {
  const script = [
    'id -u; cat /proc/self/uid_map | tr -s " "',
    'stat -c %u /etc/passwd /etc/hosts /proc/self/',
    'echo made > /root/made && stat -c %u /root/made',
    'cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
    'test -d /sys/class/net/lo && echo sys; cat /sys/class/net/lo/flags',
  ].join(';');
  for (const NetworkMode of ['bridge', 'none']) {
    const { stdout, stderr, exitCode, id } = await run(mapped, ['sh', '-c', script], { HostConfig: { NetworkMode } });
    assert.equal(exitCode, 0, stderr);
    assert.equal(stdout, `0\n 0 ${outside} 65536\n0\n0\n0\n0\n0\nsys\n0x9\n`, NetworkMode);
    const made = join(mapped.snapshotter.upper(id), 'root/made');
    assert.equal(statSync(made).uid, outside);
    await mapped.engine.remove(id);
  }
});

test('a process that is added is in the user namespace too, and nothing of it stays', { skip }, async () => {
  const { id, pid } = await start({ NetworkMode: 'bridge' }, mapped);
  assert.equal(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1], String(outside));
  const exec = await mapped.engine.execCreate(id, {
    args: ['id', '-u'],
    tty: false,
    openStdin: false,
    attachStdout: true,
    attachStderr: true,
    env: [],
    privileged: false,
  });
  const attachment = await mapped.engine.execStart(exec.id, { detach: false });
  assert.ok(attachment);
  assert.equal((await collect(attachment)).stdout, '0\n');
  await mapped.engine.remove(id, { force: true });
  const mounts = readFileSync('/proc/self/mountinfo', 'latin1');
  assert.ok(!mounts.includes(id), 'no mount by its id');
  assert.deepEqual(readdirSync(join(mapped.directory, 'run/c')), []);
});

test('user namespaces are shared with the other namespaces, and left with --userns host', { skip }, async () => {
  const donor = await start({ NetworkMode: 'none', IpcMode: 'shareable' }, mapped);
  const { record } = await mapped.engine.create({
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { NetworkMode: `container:${donor.id}`, Init: false },
  });
  await mapped.engine.start(record.id);
  const { state } = await mapped.engine.get(record.id);
  assert.equal(namespace(state.status === 'running' ? state.pid : 0, 'user'), namespace(donor.pid, 'user'));
  const host = await start({ UsernsMode: 'host', Privileged: true }, mapped);
  assert.equal(namespace(host.pid, 'user'), namespace('self', 'user'));
  for (const id of [record.id, donor.id, host.id]) await mapped.engine.remove(id, { force: true });
});

test('volumes and tmpfs of a user namespace belong to its root', { skip }, async () => {
  const { stdout, exitCode } = await run(
    mapped,
    [
      'sh',
      '-c',
      'stat -c "%u %n" /empty /t /data/seed /bound; touch /empty/x /t/x /data/x && echo written; touch /bound/x || echo refused',
    ],
    {
      HostConfig: {
        NetworkMode: 'none',
        Binds: ['empty:/empty', 'filled:/data', `${join(mapped.directory, 'lower/home')}:/bound`],
        Tmpfs: { '/t': '' },
      },
    },
  );
  assert.equal(exitCode, 0);
  assert.equal(stdout, '0 /empty\n0 /t\n0 /data/seed\n65534 /bound\nwritten\nrefused\n');
});

test("what a user namespace cannot have is refused in Docker's words", { skip }, async () => {
  const refused = (HostConfig: HostConfig) => mapped.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig });
  await assert.rejects(refused({ Privileged: true }), /privileged mode is incompatible with user namespaces/);
  await assert.rejects(refused({ NetworkMode: 'host' }), /cannot share the host's network namespace when user namespaces are enabled/);
  await assert.rejects(refused({ PidMode: 'host' }), /cannot share the host PID namespace when user namespaces are enabled/);
  await assert.rejects(refused({ UsernsMode: 'keep-id' }), /invalid user namespace mode: keep-id/);
});

test('a runtime of the configuration runs with its own arguments; an unknown one is refused', { skip }, async () => {
  const path = join(harness.directory, 'logging-runc');
  const seen = join(harness.directory, 'arguments');
  writeFileSync(path, `#!/bin/sh\necho "$@" >> ${seen}\nshift\nexec runc "$@"\n`, { mode: 0o755 });
  const other = new OciRuntime({ name: 'logging', command: path, args: ['--its-own'], root: join(harness.directory, 'run/logging') });
  const own = await makeHarness({}, { runtimes: [other] });
  try {
    const { stdout } = await run(own, ['echo', 'ran'], { HostConfig: { Runtime: 'logging', NetworkMode: 'none' } });
    assert.equal(stdout, 'ran\n');
    assert.match(readFileSync(seen, 'utf8'), /^--its-own --root=\S+\/run\/logging /);
    await assert.rejects(
      own.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { Runtime: 'runsc' } }),
      /unknown or invalid runtime name: runsc/,
    );
  } finally {
    await closeHarness(own);
  }
});
