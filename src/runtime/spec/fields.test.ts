import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ContainerConfig, HostConfig } from '../../api-types/container.ts';
import { buildSpec, encodeSpec, type HostFacts, type SpecInput } from './build.ts';
import type { Controls } from './controls.ts';
import { devices, parseDeviceRule } from './devices.ts';
import { defaultSettings } from './facts.ts';
import { seccompFor } from './seccomp-profile.ts';
import { parseSecurityOptions, securityWarnings } from './security.ts';
import { checkSysctls } from './sysctls.ts';
import { mergeTmpfsOptions } from './tmpfs.ts';

/** Each field of HostConfig in the specification that it becomes. */

const on = <K extends string>(...keys: K[]) => Object.fromEntries(keys.map((key) => [key, true])) as Record<K, boolean>;
const controls: Controls = {
  ...on('memory', 'memoryReservation', 'swappiness', 'oomKillDisable', 'kernelMemoryTcp', 'pids', 'cpuShares', 'cpuQuota', 'cpuRealtime'),
  ...on('ioWeight', 'ioWeightDevice', 'ioReadBytes', 'ioWriteBytes', 'ioReadOperations', 'ioWriteOperations', 'cgroupNamespaces'),
  cpuset: { cpus: '0-3', mems: '0' },
};
const facts: HostFacts = {
  capabilities: ['CAP_CHOWN', 'CAP_KILL', 'CAP_SYS_RESOURCE'],
  hardLimits: new Map(),
  swapAccounting: true,
  cgroupVersion: 2,
  apparmor: ['docker-default'],
  selinux: false,
  cpus: 4,
  oomScoreAdj: 0,
  recursiveReadOnly: true,
  controls,
  settings: defaultSettings,
};

function build(hostConfig: HostConfig = {}, more: Partial<SpecInput> & { config?: ContainerConfig; host?: Partial<HostFacts> } = {}) {
  const { config, host, ...input } = more;
  return buildSpec({
    record: { config: { Hostname: 'box', ...config }, hostConfig, mounts: [] },
    rootfs: '/r',
    cgroupsPath: '/c',
    facts: { ...facts, ...host },
    user: { uid: 0, gid: 0, additionalGids: [], home: '/' },
    env: [],
    args: ['sh'],
    cwd: '/',
    namespaces: { network: 'own', pid: 'own', ipc: 'own', uts: 'own' },
    files: [],
    ...input,
  }).spec;
}

test('limits of memory, processors and block devices', () => {
  const { memory, cpu, pids, blockIO } = build({
    Memory: 1 << 27,
    MemoryReservation: 1 << 26,
    MemorySwap: -1,
    MemorySwappiness: 0,
    OomKillDisable: true,
    KernelMemoryTCP: 1 << 20,
    CpuRealtimePeriod: 1_000_000,
    CpuRealtimeRuntime: 950_000,
    CpusetCpus: '0-1',
    CpusetMems: '0',
    CpuPeriod: 50_000,
    CpuQuota: 20_000,
    PidsLimit: -5,
    BlkioWeight: 300,
  }).linux.resources;
  assert.deepEqual(memory, { limit: 1 << 27, reservation: 1 << 26, swap: -1, kernelTCP: 1 << 20, swappiness: 0, disableOOMKiller: true });
  assert.deepEqual(cpu, { period: 50_000, quota: 20_000, realtimePeriod: 1_000_000, realtimeRuntime: 950_000, cpus: '0-1', mems: '0' });
  assert.deepEqual([pids, blockIO], [{ limit: -1 }, { weight: 300 }]);
});

test('what this host has not is left out when a container of another host starts', () => {
  const bare = { ...controls, swappiness: false, oomKillDisable: false, cpuset: undefined, cpuRealtime: false };
  const { memory, cpu } = build(
    { Memory: 1 << 27, MemorySwappiness: 5, OomKillDisable: true, CpusetCpus: '0', CpuRealtimeRuntime: 5 },
    { host: { controls: bare, swapAccounting: false } },
  ).linux.resources;
  assert.deepEqual([memory, cpu], [{ limit: 1 << 27 }, undefined]);
});

test('namespaces: cgroup by version and mode, user with its ids', () => {
  const types = (...args: Parameters<typeof build>) => build(...args).linux.namespaces.map(({ type }) => type);
  assert.ok(types().includes('cgroup'), 'private with v2');
  assert.ok(!types({}, { host: { cgroupVersion: 1 } }).includes('cgroup'), "the host's with v1");
  assert.ok(types({ CgroupnsMode: 'private' }, { host: { cgroupVersion: 1 } }).includes('cgroup'));
  assert.ok(!types({ CgroupnsMode: 'host' }).includes('cgroup'));
  const idMap = { uids: [{ inside: 0, outside: 1000, count: 5 }], gids: [{ inside: 0, outside: 2000, count: 6 }] };
  const spec = build(
    {},
    {
      record: { config: {}, hostConfig: {}, mounts: [{ type: 'bind', source: '/proc', destination: '/p', readOnly: false }], idMap },
      namespaces: { network: { path: '/n' }, pid: 'own', ipc: 'own', uts: 'own', user: { path: '/u' } },
    },
  );
  assert.deepEqual(spec.linux.namespaces[1], { type: 'user', path: '/u' });
  assert.deepEqual(spec.linux.uidMappings, [{ containerID: 0, hostID: 1000, size: 5 }]);
  assert.deepEqual(spec.linux.gidMappings, [{ containerID: 0, hostID: 2000, size: 6 }]);
  assert.ok(
    spec.mounts.find(({ destination }) => destination === '/sys/fs/cgroup')?.options.includes('rw'),
    'nothing could make it read-only',
  );
  assert.equal(spec.linux.sysctl?.['net.ipv4.ping_group_range'], undefined);
  assert.ok(
    spec.mounts.find(({ destination }) => destination === '/p')?.options.some((option) => ['nosuid', 'relatime'].includes(option)),
    'locked flags are kept',
  );
});

test("sysctls: Docker's own, and the container's over them", () => {
  assert.equal(build().linux.sysctl?.['net.ipv4.ip_unprivileged_port_start'], '0');
  assert.equal(
    build({ Sysctls: { 'net.ipv4.ip_unprivileged_port_start': '1024' } }).linux.sysctl?.['net.ipv4.ip_unprivileged_port_start'],
    '1024',
  );
  assert.equal(build({}, { namespaces: { network: 'host', pid: 'own', ipc: 'own', uts: 'own' } }).linux.sysctl, undefined);
  assert.equal(build({ NetworkMode: 'container:x' }).linux.sysctl, undefined);
  const own = { network: 'own', ipc: 'own' } as const;
  checkSysctls(
    { 'net.core.somaxconn': '1', 'fs.mqueue.msg_max': '1', 'kernel.shm_rmid_forced': '1', 'net/ipv4/conf/eth0.1/rp_filter': '1' },
    own,
  );
  for (const name of ['kernel.panic', 'vm.x', 'kernel.domainname', 'net', 'a..b', 'net.x\n'])
    assert.throws(() => checkSysctls({ [name]: '1' }, own), { code: 'SYSCTL_INVALID' }, name);
  assert.throws(() => checkSysctls({ 'net.x': '1' }, { network: 'container', ipc: 'own' }), /another container's/);
});

test('the rest of a process: annotations, console, score, profiles, limits of the configuration', () => {
  const settings = {
    ...defaultSettings,
    defaultUlimits: [
      { Name: 'nofile', Soft: 1, Hard: 2 },
      { Name: 'core', Soft: 0, Hard: 0 },
    ],
    defaultShmBytes: 4096,
  };
  const spec = build(
    { Annotations: { 'a.b/c': 'd' }, ConsoleSize: [24, 80], OomScoreAdj: -5, Ulimits: [{ Name: 'nofile', Soft: 7, Hard: 8 }] },
    { config: { Tty: true, Domainname: 'example.org' }, host: { settings } },
  );
  assert.deepEqual(spec.annotations, { 'a.b/c': 'd' });
  assert.deepEqual(spec.process.consoleSize, { height: 24, width: 80 });
  assert.deepEqual([spec.hostname, spec.domainname, spec.process.oomScoreAdj], ['box', 'example.org', -5]);
  assert.equal(spec.process.apparmorProfile, 'docker-default');
  assert.deepEqual(spec.process.rlimits, [
    { type: 'RLIMIT_NOFILE', soft: 7, hard: 8 },
    { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
  ]);
  assert.ok(spec.mounts.find(({ destination }) => destination === '/dev/shm')?.options.includes('size=4096'));
  const limited = build({ OomScoreAdj: -5 }, { host: { capabilities: [], oomScoreAdj: 3 } });
  assert.equal(limited.process.oomScoreAdj, 3);
});

test('shared memory: own, none, or none at all with a /dev of the host', () => {
  const has = (host: HostConfig) => build(host).mounts.some(({ destination }) => destination === '/dev/shm');
  assert.deepEqual([has({}), has({ IpcMode: 'none' }), has({ IpcMode: 'shareable' })], [true, false, true]);
});

test('binds: recursive or not, read-only all the way where that can be had', () => {
  const options = (BindOptions: object, readOnly = true, recursiveReadOnly = true, source = '/s') =>
    build(
      { Mounts: [{ Type: 'bind', Source: source, Target: '/d/', BindOptions }] },
      {
        record: {
          config: {},
          hostConfig: { Mounts: [{ Type: 'bind', Source: source, Target: '/d/', BindOptions }] },
          mounts: [{ type: 'bind', source, destination: '/d', readOnly, propagation: 'rslave' }],
        },
        recursiveReadOnly,
      },
    )
      .mounts.find(({ destination }) => destination === '/d')
      ?.options.join();
  assert.equal(options({}), 'rbind,rro,rslave');
  assert.equal(options({}, true, false), 'rbind,ro,rslave');
  assert.equal(options({ ReadOnlyNonRecursive: true }), 'rbind,ro,rslave');
  assert.equal(options({ NonRecursive: true }, false), 'bind,rw,slave');
  assert.equal(options({}, true, true, import.meta.filename), 'rbind,ro,rslave');
});

test('of tmpfs options the last of each kind counts', () => {
  assert.deepEqual(mergeTmpfsOptions(['noexec', 'nosuid', 'size=1m', 'exec', 'size=2m', 'defaults', 'mode=700']), [
    'nosuid',
    'exec',
    'size=2m',
    'mode=700',
  ]);
  for (const option of ['fast', 'size2=1', '']) assert.throws(() => mergeTmpfsOptions([option]), /Invalid tmpfs option/, option);
});

test('security options, and those that say nothing here', () => {
  assert.deepEqual(
    parseSecurityOptions(['no-new-privileges:true', 'label=disable', 'label:type:x', 'writable-cgroups=false', 'systempaths=unconfined']),
    {
      noNewPrivileges: true,
      unmaskAll: true,
      labels: ['disable', 'type:x'],
      writableCgroups: false,
    },
  );
  for (const [option, check] of [
    ['fly', 1],
    ['fly=1', 2],
    ['no-new-privileges=maybe', 2],
    ['seccomp=', 2],
    ['systempaths=all', 2],
  ] as const)
    assert.throws(() => parseSecurityOptions([option]), new RegExp(`^EngineError: invalid --security-opt ${check}: "${option}"$`));
  const said = (options: string[], host: { apparmor: string[] | undefined; selinux: boolean }) =>
    securityWarnings(parseSecurityOptions(options), host);
  assert.equal(said(['apparmor=x', 'label=level:s0'], { apparmor: undefined, selinux: false }).length, 2);
  assert.deepEqual(said(['apparmor=unconfined', 'label=disable'], { apparmor: undefined, selinux: true }), []);
});

test('seccomp profiles: of the configuration, by kernel, with wide numbers and maps of machines', () => {
  const allow = (more: object) => JSON.stringify({ defaultAction: 'SCMP_ACT_ERRNO', ...more });
  assert.equal(seccompFor(undefined, false, [], 'unconfined'), undefined);
  assert.equal(seccompFor(undefined, true, [], allow({})), undefined, 'privileged');
  assert.equal(seccompFor('builtin', false, [], 'unconfined')?.defaultAction, 'SCMP_ACT_ERRNO');
  const rules = [
    { names: ['old'], action: 'SCMP_ACT_ALLOW', includes: { minKernel: '3.0' } },
    { names: ['new'], action: 'SCMP_ACT_ALLOW', includes: { minKernel: '99.0' } },
    { name: 'masked', action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ' }] },
  ];
  const text = allow({ syscalls: rules, flags: ['SECCOMP_FILTER_FLAG_LOG'] }).replace('"value":1', '"value":18446744073709551615');
  const filter = seccompFor(text, false, []);
  assert.deepEqual(
    filter?.syscalls.flatMap(({ names }) => names),
    ['old', 'masked'],
  );
  assert.deepEqual(filter?.flags, ['SECCOMP_FILTER_FLAG_LOG']);
  assert.match(
    encodeSpec({ ...build(), linux: { ...build().linux, ...(filter ? { seccomp: filter } : {}) } }),
    /"value":18446744073709551615/,
  );
  const native = process.arch === 'arm64' ? 'SCMP_ARCH_AARCH64' : 'SCMP_ARCH_X86_64';
  const mapped = seccompFor(
    allow({ archMap: [{ architecture: native, subArchitectures: ['SCMP_ARCH_X86'] }, { architecture: 'SCMP_ARCH_S390X' }] }),
    false,
    [],
  );
  assert.deepEqual(mapped?.architectures, [native, 'SCMP_ARCH_X86']);
  for (const [more, why] of [
    [{ architectures: [native], archMap: [{ architecture: native }] }, /use only one/],
    [{ syscalls: [{ name: 'a', names: ['b'], action: 'x' }] }, /use only one/],
    [{ syscalls: [{}] }, /has no action/],
    [{ syscalls: {} }, /syscalls is no list/],
  ] as const)
    assert.throws(() => seccompFor(allow(more), false, []), why);
});

test('device rules, and devices behind links', (t) => {
  assert.deepEqual(parseDeviceRule('c 1:* rw'), { allow: true, type: 'c', major: 1, access: 'rw' });
  assert.deepEqual(parseDeviceRule('a *:* rwm'), { allow: true, type: 'a', access: 'rwm' });
  for (const text of ['', 'c 1:1', 'x 1:1 r', 'c 1:1 rwmr', 'c 99999999999:1 r', ' c 1:1 r'])
    assert.throws(() => parseDeviceRule(text), /invalid device cgroup rule format/, text);
  const directory = mkdtempSync(join(tmpdir(), 'slipway-devices-'));
  t.after(() => rmSync(directory, { recursive: true }));
  symlinkSync('/dev/null', join(directory, 'link'));
  const { devices: nodes, rules } = devices({
    Devices: [{ PathOnHost: join(directory, 'link'), PathInContainer: '/dev/x', CgroupPermissions: 'r' }],
  });
  assert.deepEqual(
    nodes.map(({ path, major, minor }) => [path, major, minor]),
    [['/dev/x', 1, 3]],
  );
  assert.deepEqual(rules.at(-1), { allow: true, type: 'c', major: 1, minor: 3, access: 'r' });
  const privileged = devices({
    Privileged: true,
    Devices: [{ PathOnHost: '/dev/zero', PathInContainer: '/dev/zero0', CgroupPermissions: 'rwm' }],
  });
  assert.ok(privileged.devices.some(({ path }) => path === '/dev/zero0') && privileged.devices.some(({ path }) => path === '/dev/null'));
});
