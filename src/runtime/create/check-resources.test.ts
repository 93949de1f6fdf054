import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Resources } from '../../api-types/container.ts';
import { parseMountInfo } from '../../kernel/mount.ts';
import { type Controls, readControls } from '../spec/controls.ts';
import { checkResources } from './check-resources.ts';
import { parseCpuList } from './cpu-list.ts';

const all: Controls = {
  memory: true,
  memoryReservation: true,
  swappiness: true,
  oomKillDisable: true,
  kernelMemoryTcp: true,
  pids: true,
  cpuShares: true,
  cpuQuota: true,
  cpuRealtime: true,
  cpuset: { cpus: '0-3', mems: '0' },
  ioWeight: true,
  ioWeightDevice: true,
  ioReadBytes: true,
  ioWriteBytes: true,
  ioReadOperations: true,
  ioWriteOperations: true,
  cgroupNamespaces: true,
};
const none = Object.fromEntries(Object.keys(all).map((key) => [key, key === 'cpuset' ? undefined : false])) as unknown as Controls;
const facts = { controls: all, swapAccounting: true, cpus: 4 };
const MiB = 1 << 20;

test('limits that cannot be are refused in the words of Docker', () => {
  const refused: [Resources, RegExp][] = [
    [{ Memory: 5 * MiB }, /^Minimum memory limit allowed is 6MB$/],
    [{ Memory: 8 * MiB, MemorySwap: 7 * MiB }, /^Minimum memoryswap limit should be larger than memory limit, see usage$/],
    [{ MemorySwap: 8 * MiB }, /^You should always set the Memory limit when using Memoryswap limit, see usage$/],
    [{ MemorySwappiness: 101 }, /^Invalid value: 101, valid memory swappiness range is 0-100$/],
    [{ MemoryReservation: MiB }, /^Minimum memory reservation allowed is 6MB$/],
    [{ Memory: 8 * MiB, MemoryReservation: 9 * MiB }, /^Minimum memory limit can not be less than memory reservation limit, see usage$/],
    [{ KernelMemory: MiB }, /^Minimum kernel memory limit allowed is 6MB$/],
    [{ NanoCpus: 1e9, CpuPeriod: 1000 }, /^Conflicting options: Nano CPUs and CPU Period cannot both be set$/],
    [{ NanoCpus: 1e9, CpuQuota: 1000 }, /^Conflicting options: Nano CPUs and CPU Quota cannot both be set$/],
    [{ NanoCpus: 4.01e9 }, /^range of CPUs is from 0\.01 to 4\.00, as there are only 4 CPUs available$/],
    [{ NanoCpus: -1 }, /^range of CPUs is from/],
    [{ CpuShares: -1 }, /^invalid CPU shares \(-1\): value must be a positive integer$/],
    [{ CpuPeriod: 999 }, /^CPU cfs period can not be less than 1ms/],
    [{ CpuQuota: 999 }, /^CPU cfs quota can not be less than 1ms/],
    [{ CpuRealtimePeriod: 10, CpuRealtimeRuntime: 11 }, /^cpu real-time runtime cannot be higher than cpu real-time period$/],
    [{ CpusetCpus: '0-4' }, /^Requested CPUs are not available - requested 0-4, available: 0-3$/],
    [{ CpusetCpus: '3-1' }, /^Invalid value 3-1 for cpuset cpus: invalid format: 3-1$/],
    [{ CpusetMems: '1' }, /^Requested memory nodes are not available - requested 1, available: 0$/],
    [{ BlkioWeight: 9 }, /^Range of blkio weight is from 10 to 1000$/],
    [{ BlkioDeviceReadBps: [{ Path: '/dev/no-such-disk', Rate: 1 }] }, /^stat \/dev\/no-such-disk: no such file or directory$/],
    [{ BlkioDeviceWriteIOps: [{ Path: '/dev/null', Rate: 1 }] }, /is not a block device/],
    [{ IOMaximumBandwidth: 1 }, /^invalid option: QoS maximum bandwidth configuration is not supported on linux$/],
    [{ IOMaximumIOps: 1 }, /^invalid option: QoS maximum IOPs configuration is not supported on linux$/],
  ];
  for (const [resources, message] of refused)
    assert.throws(() => checkResources(resources, facts), { kind: 'InvalidArgument', message }, JSON.stringify(resources));
});

test('what the host cannot do is taken out, each with its warning', () => {
  const asked: Resources = {
    MemorySwappiness: 1,
    MemoryReservation: 8 * MiB,
    OomKillDisable: true,
    KernelMemoryTCP: 1,
    PidsLimit: 5,
    CpuShares: 5,
    CpuPeriod: 2000,
    CpuQuota: 2000,
    CpusetCpus: '0',
    BlkioWeight: 100,
    BlkioWeightDevice: [{ Path: '/dev/x', Weight: 100 }],
    BlkioDeviceReadBps: [{ Path: '/dev/x', Rate: 1 }],
    CpuPercent: 3,
    CpuCount: 3,
  };
  const { resources, warnings } = checkResources(asked, { controls: none, swapAccounting: false, cpus: 4 });
  assert.deepEqual(resources, {});
  assert.equal(warnings.length, 13);
  for (const warning of warnings) assert.match(warning, /discarded\.$/i);
  assert.match(
    checkResources({ Memory: 8 * MiB }, { ...facts, controls: none }).warnings[0] ?? '',
    /^Your kernel does not support memory limit capabilities/,
  );
  const without = checkResources({ Memory: 8 * MiB, MemorySwap: 9 * MiB }, { ...facts, swapAccounting: false });
  assert.deepEqual([without.resources.MemorySwap, without.warnings.length], [-1, 1]);
});

test('what is right goes through as it is, and the kernel memory limit with its farewell', () => {
  const asked: Resources = { Memory: 64 * MiB, MemorySwap: -1, NanoCpus: 4e9, CpusetCpus: '0,2-3', PidsLimit: -1 };
  assert.deepEqual(checkResources(asked, facts), { resources: asked, warnings: [] });
  const { resources, warnings } = checkResources({ KernelMemory: 8 * MiB, Memory: 8 * MiB }, facts);
  assert.deepEqual(resources, { Memory: 8 * MiB });
  assert.match(warnings[0] ?? '', /^Specifying a kernel memory limit is deprecated/);
});

test('an update may set swap alone', () => {
  assert.deepEqual(checkResources({ MemorySwap: 8 * MiB }, facts, { update: true }).resources, { MemorySwap: 8 * MiB });
});

test('lists of processors', () => {
  assert.deepEqual([...(parseCpuList('0-2,7') ?? [])], [0, 1, 2, 7]);
  for (const text of ['', 'a', '1-', '-1', '0-99999', '2-1', '1,,2']) assert.equal(parseCpuList(text), undefined, text);
});

test('controllers are those of version 1 where there are any', () => {
  const mounts = (...lines: string[]) => parseMountInfo(lines.map((line, i) => `${30 + i} 1 0:${i} / ${line}`).join('\n'));
  const legacy = readControls(mounts('/nowhere/memory rw - cgroup cgroup rw,memory', '/nowhere/pids rw - cgroup cgroup rw,pids'));
  assert.deepEqual([legacy.pids, legacy.memory, legacy.cpuShares], [true, false, false]);
  assert.equal(readControls(mounts('/proc rw - proc proc rw')).pids, false);
});
