import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { HostConfig } from '../../src/api-types/container.ts';
import { listMounts } from '../../src/kernel/mount.ts';
import { readControls } from '../../src/runtime/spec/controls.ts';
import { cannotRun, closeHarness, collect, type Harness, makeHarness, run } from './runtime-support.ts';

/** Limits, read back from the control groups and from /proc of what runs. */

const skip = cannotRun;
const controls = readControls();
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

const legacy = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');

/** What `files` (v1, v2) say inside. */
async function inside(host: HostConfig, files: [string, string][]): Promise<string[]> {
  const paths = files.map(([v1, v2]) => `/sys/fs/cgroup/${legacy ? v1 : v2}`);
  const { stdout, stderr, exitCode } = await run(harness, ['cat', ...paths], { HostConfig: { NetworkMode: 'none', ...host } });
  assert.equal(exitCode, 0, stderr);
  return stdout.trim().split('\n');
}

test('memory, its reservation, swap and swappiness', { skip }, async () => {
  const values = await inside({ Memory: 64 << 20, MemoryReservation: 32 << 20, MemorySwap: 96 << 20, MemorySwappiness: 7 }, [
    ['memory/memory.limit_in_bytes', 'memory.max'],
    ['memory/memory.soft_limit_in_bytes', 'memory.low'],
    ...(legacy
      ? ([
          ['memory/memory.memsw.limit_in_bytes', ''],
          ['memory/memory.swappiness', ''],
        ] as [string, string][])
      : ([['', 'memory.swap.max']] as [string, string][])),
  ]);
  assert.deepEqual(values, legacy ? ['67108864', '33554432', '100663296', '7'] : ['67108864', '33554432', '33554432']);
});

test('processors, shares and processes', { skip }, async () => {
  const values = await inside({ CpuPeriod: 50_000, CpuQuota: 25_000, CpuShares: 512, CpusetCpus: '0', PidsLimit: 77 }, [
    ['cpu/cpu.cfs_quota_us', 'cpu.max'],
    ['cpuset/cpuset.cpus', 'cpuset.cpus'],
    ['pids/pids.max', 'pids.max'],
    ['cpu/cpu.shares', 'cpu.weight'],
  ]);
  assert.deepEqual(values.slice(0, 3), [legacy ? '25000' : '25000 50000', '0', '77']);
  if (legacy) assert.equal(values[3], '512');
});

test('the OOM killer can be turned off where the kernel lets it, and says what it means', {
  skip: skip || (!controls.oomKillDisable && 'cgroup v2'),
}, async () => {
  const values = await inside({ OomKillDisable: true, Memory: 64 << 20 }, [['memory/memory.oom_control', '']]);
  assert.equal(values[0], 'oom_kill_disable 1');
  const { warnings } = await harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { OomKillDisable: true } });
  assert.match(warnings.join(), /OOM killer is disabled for the container, but no memory limit is set/);
});

const disk = readdirSync('/sys/block').find((name) => existsSync(`/dev/${name}`) && /^(vd|sd|nvme|loop)/.test(name));

test('rates of block devices', {
  skip: skip || (disk === undefined && 'no block device') || (!controls.ioReadBytes && 'no io controller'),
}, async () => {
  const path = `/dev/${disk}`;
  const number = readFileSync(`/sys/block/${disk}/dev`, 'latin1').trim();
  const values = await inside(
    {
      BlkioDeviceReadBps: [{ Path: path, Rate: 1_048_576 }],
      BlkioDeviceWriteBps: [{ Path: path, Rate: 2_097_152 }],
      BlkioDeviceReadIOps: [{ Path: path, Rate: 100 }],
      BlkioDeviceWriteIOps: [{ Path: path, Rate: 200 }],
    },
    legacy
      ? (['read_bps', 'write_bps', 'read_iops', 'write_iops'].map((name) => [`blkio/blkio.throttle.${name}_device`, '']) as [
          string,
          string,
        ][])
      : [['', 'io.max']],
  );
  const v1 = [1_048_576, 2_097_152, 100, 200].map((rate) => `${number} ${rate}`);
  assert.deepEqual(values, legacy ? v1 : [`${number} rbps=1048576 wbps=2097152 riops=100 wiops=200`]);
});

test('the weight of block devices is set, or left out with a warning', { skip }, async () => {
  const { record, warnings } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sh', '-c', 'cd /sys/fs/cgroup; cat blkio/blkio.weight io.bfq.weight io.weight 2>/dev/null; true'],
    HostConfig: { NetworkMode: 'none', Init: false, BlkioWeight: 321 },
  });
  const attachment = await harness.engine.attach(record.id, { stdin: false, stdout: true, stderr: true, logs: false, stream: true });
  await harness.engine.start(record.id);
  const { stdout } = await collect(attachment);
  if (warnings.length === 0) assert.match(stdout, /\b\d+\b/);
  else assert.deepEqual(warnings, ['Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.']);
  if (legacy && warnings.length === 0) assert.match(stdout, /\b321\b/);
});

test('real-time scheduling is given where the kernel has it, and refused elsewhere', { skip }, async () => {
  const host = { CpuRealtimePeriod: 1_000_000, CpuRealtimeRuntime: 10_000 };
  if (!controls.cpuRealtime) {
    await assert.rejects(
      harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: host }),
      /kernel does not support CPU real-time scheduler/,
    );
    return;
  }
  assert.deepEqual(await inside(host, [['cpu/cpu.rt_runtime_us', '']]), ['10000']);
});

test("a parent of its own is taken, and only the container's group goes with it", { skip }, async () => {
  const parent = `spec-test-${process.pid}`;
  const { stdout, id } = await run(harness, ['cat', '/proc/self/cgroup'], {
    HostConfig: { NetworkMode: 'none', CgroupParent: parent, CgroupnsMode: 'host' },
  });
  try {
    assert.match(stdout, new RegExp(`:/${parent}/[0-9a-f]{64}$`, 'm'));
    // A removal waits for what is left to do after the end.
    await harness.engine.remove(id);
    for (const hierarchy of cgroupRoots()) {
      const path = join(hierarchy, parent);
      if (existsSync(path))
        assert.deepEqual(
          readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
          [],
          path,
        );
    }
  } finally {
    for (const hierarchy of cgroupRoots()) if (existsSync(join(hierarchy, parent))) rmdirSync(join(hierarchy, parent));
  }
});

function cgroupRoots(): string[] {
  return listMounts().flatMap(({ type, mountPoint }) => (type === 'cgroup' || type === 'cgroup2' ? [mountPoint] : []));
}

test('ulimits and the score for the OOM killer', { skip }, async () => {
  const { stdout } = await run(harness, ['sh', '-c', 'ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj'], {
    HostConfig: {
      OomScoreAdj: 321,
      Ulimits: [
        { Name: 'nofile', Soft: 100, Hard: 200 },
        { Name: 'core', Soft: 0, Hard: 0 },
      ],
    },
  });
  assert.equal(stdout, '100\n200\n0\n321\n');
});

test("a process that is added has the container's ulimits", { skip }, async () => {
  const { record } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { NetworkMode: 'none', Ulimits: [{ Name: 'nofile', Soft: 111, Hard: 222 }] },
  });
  await harness.engine.start(record.id);
  const exec = await harness.engine.execCreate(record.id, {
    args: ['sh', '-c', 'ulimit -n; ulimit -Hn'],
    tty: false,
    openStdin: false,
    attachStdout: true,
    attachStderr: true,
    env: [],
    privileged: false,
  });
  const attachment = await harness.engine.execStart(exec.id, { detach: false });
  assert.ok(attachment);
  assert.equal((await collect(attachment)).stdout, '111\n222\n');
  await harness.engine.remove(record.id, { force: true });
});

test("a score below the engine's own is raised to it when nobody may lower it", { skip }, async () => {
  const { record, warnings } = await harness.engine.create({
    Image: 'busybox',
    Cmd: ['true'],
    HostConfig: { NetworkMode: 'none', OomScoreAdj: -900 },
  });
  await harness.engine.start(record.id);
  assert.equal((await harness.engine.wait(record.id)).exitCode, 0);
  const mayLower = /^CapBnd:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  if (((BigInt(`0x${mayLower}`) >> 24n) & 1n) === 0n) assert.match(warnings.join(), /OomScoreAdj -900 was raised/);
});
