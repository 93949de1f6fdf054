import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MountInfo, parseMountInfo } from '../kernel/mount.ts';
import { cgroupItems, chooseCgroupDriver, readCgroups } from './cgroups.ts';

const mounts = (...lines: string[]): MountInfo[] => parseMountInfo(lines.map((line, i) => `${30 + i} 1 0:${i} / ${line}`).join('\n'));
const v1 = ['/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory', '/sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct'];
const v2 = '/nonexistent/unified rw - cgroup2 cgroup2 rw';

test('the mode is read from what is mounted', () => {
  assert.equal(readCgroups(mounts(...v1)).mode, 'v1');
  assert.equal(readCgroups(mounts(v2)).mode, 'v2');
  assert.equal(readCgroups(mounts(...v1, v2)).mode, 'hybrid');
  assert.equal(
    readCgroups(mounts('/sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd', v2)).mode,
    'v2',
    'a named hierarchy has no controllers',
  );
  assert.equal(readCgroups(mounts('/proc rw - proc proc rw')).mode, 'none');
});

test('missing controllers are named, missing groups keep the engine from running', () => {
  const some = readCgroups(mounts(...v1));
  assert.deepEqual(some.controllers.sort(), ['cpu', 'cpuacct', 'memory']);
  assert.match(cgroupItems(some)[1]?.why ?? '', /pids, cpuset/);
  const none = readCgroups([]);
  assert.equal(cgroupItems(none)[0]?.status, 'missing');
  assert.equal(chooseCgroupDriver(none).name, undefined);
  assert.equal(chooseCgroupDriver(some).name, 'cgroupfs');
});
