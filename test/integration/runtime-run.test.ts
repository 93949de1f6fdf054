import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { cannotRun, closeHarness, collect, type Harness, makeHarness, run } from './runtime-support.ts';

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

test('exit codes arrive as they are', { skip }, async () => {
  for (const code of [0, 1, 42, 255]) assert.equal((await run(harness, ['sh', '-c', `exit ${code}`])).exitCode, code);
});

test('a process that a signal ends exits with 128 and its number, with an init and without', { skip }, async () => {
  assert.equal((await run(harness, ['sh', '-c', 'kill -TERM $$'])).exitCode, 143);
  // PID 1 of a namespace is not killed by its own signals: the engine's reach it.
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { NetworkMode: 'none', Init: false },
  });
  await harness.engine.start(record.id);
  const exit = harness.engine.wait(record.id, 'next-exit');
  await harness.engine.kill(record.id);
  assert.equal((await exit).exitCode, 137);
});

test('a missing command is 127 and one that cannot be executed 126, said by the engine', { skip }, async () => {
  const failure = (exitCode: number, pattern: RegExp) => (error: unknown) =>
    error instanceof EngineError && error.exitCode === exitCode && pattern.test(error.message);
  await assert.rejects(run(harness, ['no-such-command']), failure(127, /exec: "no-such-command": executable file not found in \$PATH/));
  await assert.rejects(run(harness, ['/no/such/file']), failure(127, /stat \/no\/such\/file: no such file or directory/));
  await assert.rejects(run(harness, ['/etc/not-executable']), failure(126, /permission denied/));
  await assert.rejects(run(harness, ['/etc']), failure(126, /is a directory/));
  const failed = (await harness.engine.list()).find(({ args }) => args[0] === 'no-such-command');
  assert.deepEqual(failed?.state.status === 'created' && failed.state.exitCode, 127);
});

test('stdout and stderr come apart and byte for byte, without a newline at their end when there was none', { skip }, async () => {
  const { stdout, stderr } = await run(harness, ['sh', '-c', 'printf "a\\nb"; printf "x\\0y\\n" >&2']);
  assert.equal(stdout, 'a\nb');
  assert.equal(stderr, 'x\0y\n');
});

test('a program can open its own /dev/stdout again', { skip }, async () => {
  assert.equal((await run(harness, ['sh', '-c', 'echo again > /dev/stdout'])).stdout, 'again\n');
});

test('user, groups, home, environment and working directory are those that were asked', { skip }, async () => {
  const { stdout } = await run(harness, ['sh', '-c', 'id; pwd; echo $HOME $A; echo $HOSTNAME; hostname'], {
    User: 'app',
    WorkingDir: '/made/on/the/way',
    Env: ['A=1'],
    Hostname: 'box',
    HostConfig: { NetworkMode: 'none', GroupAdd: ['other'] },
  });
  assert.equal(stdout, 'uid=1234(app) gid=1235(appgroup) groups=77(extra),88(other)\n/made/on/the/way\n/home/app 1\nbox\nbox\n');
  assert.equal((await run(harness, ['id', '-u'], { User: '4321:5' })).stdout, '4321\n');
  await assert.rejects(run(harness, ['true'], { User: 'nobody-here' }), /unable to find user nobody-here/);
});

test('a read-only root refuses writes, its tmpfs takes them, and the init still runs', { skip }, async () => {
  const { stdout, exitCode } = await run(
    harness,
    ['sh', '-c', 'touch /x 2>/dev/null || echo refused; touch /scratch/y && echo taken; cat /proc/1/cmdline | tr "\\0" " "'],
    {
      HostConfig: { ReadonlyRootfs: true, Tmpfs: { '/scratch': 'size=1m' } },
    },
  );
  assert.equal(exitCode, 0);
  assert.match(stdout, /^refused\ntaken\n\/dev\/init -- sh/);
});

test('limits reach the control groups', { skip }, async () => {
  const { stdout } = await run(
    harness,
    [
      'sh',
      '-c',
      'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max',
    ],
    {
      HostConfig: { Memory: 64 << 20, PidsLimit: 50, NanoCpus: 500_000_000 },
    },
  );
  assert.match(stdout, /^67108864\n50\n50000/);
});

test('a process over its memory is killed and the container says so', { skip }, async () => {
  const { exitCode, id } = await run(harness, ['sh', '-c', 'x=$(head -c 60000000 /dev/zero | tr "\\0" "x"); echo "$x" | wc -c'], {
    HostConfig: { Memory: 10 << 20, Init: false },
  });
  assert.equal(exitCode, 137);
  const { state } = await harness.engine.get(id);
  assert.ok(state.status === 'exited' && state.oomKilled, JSON.stringify(state));
  assert.ok(harness.events.includes('oom'));
});

test('ulimits are cut to what the host allows, with a warning', { skip }, async () => {
  const { record, warnings } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sh', '-c', 'ulimit -n'],
    HostConfig: { NetworkMode: 'host', Ulimits: [{ Name: 'nofile', Soft: 512, Hard: 1024 }] },
  });
  assert.deepEqual(warnings, []);
  const attachment = await harness.engine.attach(record.id, { stdin: false, stdout: true, stderr: true, logs: false, stream: true });
  await harness.engine.start(record.id);
  assert.equal((await collect(attachment)).stdout, '512\n');
});

test('the default profile refuses what it should and answers ENOSYS for clone3', { skip }, async () => {
  const { stdout } = await run(harness, [
    'sh',
    '-c',
    'grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp 2>&1; grep CapBnd /proc/self/status',
  ]);
  assert.match(stdout, /Seccomp:\t2/);
  assert.match(stdout, /permission denied|not permitted/i);
  assert.match(stdout, /CapBnd:\t00000000a80425fb/);
});

test('binds: -v makes the host folder, --mount says that it is missing, ro is read-only', { skip }, async () => {
  const host = join(harness.directory, 'bind-made');
  const { stdout } = await run(harness, ['sh', '-c', 'echo hi > /in/file; cat /in/file'], { HostConfig: { Binds: [`${host}:/in`] } });
  assert.equal(stdout, 'hi\n');
  assert.equal(readFileSync(join(host, 'file'), 'utf8'), 'hi\n');
  assert.notEqual((await run(harness, ['touch', '/in/new'], { HostConfig: { Binds: [`${host}:/in:ro`] } })).exitCode, 0);
  await assert.rejects(
    run(harness, ['true'], { HostConfig: { Mounts: [{ Type: 'bind', Source: join(harness.directory, 'absent'), Target: '/in' }] } }),
    /bind source path does not exist/,
  );
});

test('a command that lives on a mount is found there', { skip }, async () => {
  const tools = join(harness.directory, 'tools');
  mkdirSync(tools, { recursive: true });
  writeFileSync(join(tools, 'hello'), '#!/bin/sh\necho from a mount\n', { mode: 0o755 });
  assert.equal((await run(harness, ['/tools/hello'], { HostConfig: { Binds: [`${tools}:/tools`] } })).stdout, 'from a mount\n');
});

test('a named volume starts with what the image has there, and keeps what was written', { skip }, async () => {
  const request = { HostConfig: { Binds: ['stuff:/data'] } };
  assert.equal((await run(harness, ['sh', '-c', 'cat /data/seed; echo mine > /data/seed'], request)).stdout, 'from the image\n');
  assert.equal((await run(harness, ['cat', '/data/seed'], request)).stdout, 'mine\n');
  const volume = await harness.volumes.get('stuff');
  assert.equal(statSync(volume.mountpoint).isDirectory(), true);
  await assert.rejects(harness.volumes.remove('stuff'), (error: unknown) => error instanceof EngineError && error.code === 'VOLUME_IN_USE');
});

test('with AutoRemove container, folder, mount and anonymous volume go after the exit', { skip }, async () => {
  const { id } = await run(harness, ['true'], { Volumes: { '/data': {} }, HostConfig: { AutoRemove: true } });
  await harness.engine.wait(id, 'removed').catch(() => undefined);
  await assert.rejects(harness.engine.get(id), (error: unknown) => error instanceof EngineError && error.code === 'CONTAINER_NOT_FOUND');
  for (const path of [`root/containers/${id}`, `root/snapshots/${id}`, `run/c/${id}`, `run/snap/${id}`, `run/runc/${id}`]) {
    assert.equal(existsSync(join(harness.directory, path)), false, path);
  }
  assert.deepEqual(
    (await harness.volumes.list()).filter(({ anonymous }) => anonymous),
    [],
  );
});

test('a name is free as soon as its last holder, which removes itself, has ended', { skip }, async () => {
  for (let round = 0; round < 3; round++) {
    const { record } = await harness.engine.create(
      { Image: 'busybox', Cmd: ['true'], HostConfig: { NetworkMode: 'host', AutoRemove: true } },
      { name: 'again' },
    );
    const exit = harness.engine.wait(record.id, 'next-exit');
    await harness.engine.start(record.id);
    assert.equal((await exit).exitCode, 0);
  }
});

test('a failed creation leaves neither folder nor name nor volume', { skip }, async () => {
  const request = {
    Image: 'busybox',
    Cmd: ['true'],
    HostConfig: {
      NetworkMode: 'host',
      Mounts: [
        { Type: 'volume' as const, Target: '/v' },
        { Type: 'bind' as const, Source: '/no/where', Target: '/b' },
      ],
    },
  };
  await assert.rejects(harness.engine.create(request, { name: 'failed' }));
  await assert.rejects(
    harness.engine.create({ ...request, HostConfig: { ...request.HostConfig, Mounts: [] }, Image: 'absent' }, { name: 'failed' }),
    /No such image/,
  );
  assert.deepEqual(
    (await harness.volumes.list()).filter(({ anonymous }) => anonymous),
    [],
  );
  const { record } = await harness.engine.create({ Image: 'busybox', Cmd: ['true'] }, { name: 'failed' });
  await assert.rejects(
    harness.engine.create({ Image: 'busybox', Cmd: ['true'] }, { name: 'failed' }),
    (error: unknown) => error instanceof EngineError && error.code === 'NAME_IN_USE' && error.message.includes(record.id),
  );
});

test('what is wrong with a request is said by field', { skip }, async () => {
  const create = (request: Parameters<Harness['engine']['create']>[0], name?: string) =>
    harness.engine.create({ Image: 'busybox', Cmd: ['true'], ...request }, name === undefined ? {} : { name });
  await assert.rejects(create({}, '-bad'), /Invalid container name/);
  await assert.rejects(create({ Cmd: [] }), /no command specified/);
  await assert.rejects(create({ WorkingDir: 'here' }), /needs to be an absolute path/);
  await assert.rejects(create({ WorkingDir: '/proc/self/fd/8' }), /would lead out/);
  await assert.rejects(create({ HostConfig: { Memory: 1024 } }), /Minimum memory limit/);
  await assert.rejects(create({ HostConfig: { CapAdd: ['FLY'] } }), /invalid CapAdd: unknown capability: "CAP_FLY"/);
  await assert.rejects(create({ HostConfig: { Runtime: 'nope' } }), /unknown or invalid runtime name: nope/);
  await assert.rejects(create({ HostConfig: { Binds: ['/a:/b:zz'] } }), /invalid mode: zz/);
  await assert.rejects(create({ HostConfig: { Binds: ['/a:/b', '/c:/b'] } }), /Duplicate mount point/);
  await assert.rejects(create({ HostConfig: { RestartPolicy: { Name: 'always' }, AutoRemove: true } }), /AutoRemove/);
  await assert.rejects(create({ HostConfig: { SecurityOpt: ['seccomp={"x"'] } }), /decoding seccomp profile failed/);
  await assert.rejects(create({ HostConfig: { NetworkMode: 'container:absent' } }), /No such container/);
});
