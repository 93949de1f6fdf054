import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerConfig, HostConfig } from '../../api-types/container.ts';
import { buildSpec, encodeSpec, type HostFacts, type SpecInput } from './build.ts';
import type { Controls } from './controls.ts';
import { defaultSettings } from './facts.ts';

const all = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
  'CAP_SYS_ADMIN',
  'CAP_NET_ADMIN',
];
const allControls: Controls = {
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
const facts: HostFacts = {
  capabilities: all,
  hardLimits: new Map([['nofile', 20_000]]),
  swapAccounting: true,
  cgroupVersion: 1,
  apparmor: undefined,
  selinux: false,
  cpus: 4,
  oomScoreAdj: 0,
  recursiveReadOnly: true,
  controls: allControls,
  settings: defaultSettings,
};

function build(hostConfig: HostConfig = {}, config: ContainerConfig = {}, more: Partial<SpecInput> = {}) {
  return buildSpec({
    record: { config: { Hostname: 'box', ...config }, hostConfig, mounts: [] },
    rootfs: '/root-fs',
    cgroupsPath: '/slipway-1/abc',
    facts,
    user: { uid: 0, gid: 0, additionalGids: [], home: '/root' },
    env: ['A=b'],
    args: ['sh'],
    cwd: '/',
    namespaces: { network: 'own', pid: 'own', ipc: 'own', uts: 'own' },
    files: [{ source: '/state/hosts', destination: '/etc/hosts' }],
    ...more,
  });
}

test('a container without any option has the defaults of Docker', () => {
  const { spec, warnings } = build();
  assert.deepEqual(warnings, []);
  assert.deepEqual([...spec.process.capabilities.bounding].sort(), all.slice(0, 14).sort());
  assert.deepEqual(spec.process.capabilities.inheritable, []);
  assert.ok(spec.linux.maskedPaths.includes('/proc/kcore') && spec.linux.readonlyPaths.includes('/proc/sys'));
  assert.equal(spec.linux.seccomp?.defaultAction, 'SCMP_ACT_ERRNO');
  assert.deepEqual(
    spec.mounts.map(({ destination }) => destination),
    ['/proc', '/dev', '/sys', '/dev/pts', '/dev/mqueue', '/dev/shm', '/etc/hosts', '/sys/fs/cgroup'],
  );
  assert.ok(spec.mounts.find(({ destination }) => destination === '/sys')?.options.includes('ro'));
  assert.ok(spec.mounts.find(({ destination }) => destination === '/dev/shm')?.options.includes('size=67108864'));
  assert.deepEqual(spec.linux.namespaces.map(({ type }) => type).sort(), ['ipc', 'mount', 'network', 'pid', 'uts']);
  assert.equal(spec.hostname, 'box');
});

test('privileged takes the restrictions away, and cannot give more than the engine holds', () => {
  const { spec } = build({ Privileged: true });
  assert.deepEqual(spec.process.capabilities.effective, all);
  assert.deepEqual([spec.linux.seccomp, spec.linux.maskedPaths, spec.linux.readonlyPaths], [undefined, [], []]);
  assert.deepEqual(spec.linux.resources.devices, [{ allow: true, type: 'a', access: 'rwm' }]);
});

test('a capability that the engine lacks is left out with a warning', () => {
  const { spec, warnings } = build({ CapAdd: ['SYS_BOOT', 'net_admin'], CapDrop: ['CAP_KILL'] });
  assert.ok(spec.process.capabilities.bounding.includes('CAP_NET_ADMIN'));
  assert.ok(!spec.process.capabilities.bounding.includes('CAP_KILL'));
  assert.match(warnings.join(), /CAP_SYS_BOOT/);
});

test('limits become those of the specification', () => {
  const { spec, warnings } = build({
    Memory: 1 << 26,
    NanoCpus: 1.5e9,
    PidsLimit: 9,
    CpuShares: 7,
    Ulimits: [
      { Name: 'nofile', Soft: 1, Hard: 30_000 },
      { Name: 'core', Soft: -1, Hard: -1 },
    ],
  });
  const { memory, cpu, pids } = spec.linux.resources;
  assert.deepEqual(memory, { limit: 1 << 26, swap: 1 << 27 });
  assert.deepEqual(cpu, { shares: 7, period: 100_000, quota: 150_000 });
  assert.deepEqual(pids, { limit: 9 });
  assert.match(warnings.join(), /nofile was cut/);
  assert.match(encodeSpec(spec), /"type":"RLIMIT_CORE","soft":18446744073709551615,"hard":18446744073709551615/);
});

test('a user mount replaces the default of its place and comes after what it lies in', () => {
  const { spec } = build(
    { Tmpfs: { '/run/x/deep': '' } },
    {},
    {
      record: {
        config: {},
        hostConfig: { Tmpfs: { '/dev/shm': 'size=1m' } },
        mounts: [
          { type: 'tmpfs', source: '', destination: '/dev/shm', readOnly: false },
          { type: 'bind', source: '/h/deep', destination: '/a/deep', readOnly: true },
          { type: 'volume', name: 'v', source: '/v', destination: '/a', readOnly: false, propagation: 'rslave' },
        ],
      },
    },
  );
  const destinations = spec.mounts.map(({ destination }) => destination);
  assert.ok(destinations.indexOf('/a') < destinations.indexOf('/a/deep'));
  assert.equal(destinations.filter((destination) => destination === '/dev/shm').length, 1);
  assert.deepEqual(spec.mounts.find(({ destination }) => destination === '/a/deep')?.options, ['rbind', 'ro', 'rprivate']);
  assert.equal(spec.linux.rootfsPropagation, 'rslave');
});

test('shared and host namespaces are joined or left out', () => {
  const { spec } = build(
    {},
    {},
    { namespaces: { network: { path: '/run/netns/x' }, pid: 'host', ipc: { path: '/proc/7/ns/ipc' }, uts: 'host' } },
  );
  assert.deepEqual(spec.linux.namespaces, [
    { type: 'mount' },
    { type: 'network', path: '/run/netns/x' },
    { type: 'ipc', path: '/proc/7/ns/ipc' },
  ]);
  assert.equal(spec.hostname, undefined);
});

test('an init goes ahead of the command', () => {
  const { spec } = build({}, {}, { init: { source: '/usr/bin/catatonit', destination: '/dev/init' } });
  assert.deepEqual(spec.process.args, ['/dev/init', '--', 'sh']);
  assert.deepEqual(spec.mounts.find(({ destination }) => destination === '/dev/init')?.options, ['rbind', 'rprivate', 'ro']);
});
