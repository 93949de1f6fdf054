import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { HostConfig } from '../../src/api-types/container.ts';
import { cannotRun, closeHarness, type Harness, makeHarness, run } from './runtime-support.ts';

/** What a process may do, read back from /proc/self and tried. */

const skip = cannotRun;
let harness: Harness;
before(async () => {
  if (!skip) harness = await makeHarness();
});
after(async () => {
  if (!skip) await closeHarness(harness);
});

const shell = async (script: string, HostConfig: HostConfig = {}, config = {}) =>
  (await run(harness, ['sh', '-c', script], { ...config, HostConfig: { NetworkMode: 'none', Init: false, ...HostConfig } })).stdout.trim();

const status = (text: string) => Object.fromEntries(text.split('\n').map((line) => line.split(/:\s+/) as [string, string]));

test('capabilities by either name, all and none', { skip }, async () => {
  const bounding = async (host: HostConfig) => BigInt(`0x${status(await shell('cat /proc/self/status', host)).CapBnd ?? ''}`);
  const bit = (value: bigint, number: bigint) => (value >> number) & 1n;
  const [some, none, all] = await Promise.all([
    bounding({ CapAdd: ['CAP_NET_ADMIN'], CapDrop: ['chown'] }),
    bounding({ CapDrop: ['ALL'] }),
    bounding({ CapAdd: ['all'] }),
  ]);
  assert.deepEqual([bit(some, 12n), bit(some, 0n), bit(some, 1n)], [1n, 0n, 1n]);
  assert.equal(none, 0n);
  const own = BigInt(`0x${status(readFileSync('/proc/self/status', 'latin1')).CapBnd ?? ''}`);
  assert.equal(all, own);
});

test('no new privileges, and a filter that can be taken away or replaced', { skip }, async () => {
  const of = async (...SecurityOpt: string[]) => {
    const { NoNewPrivs, Seccomp } = status(await shell('cat /proc/self/status', { SecurityOpt }));
    return [NoNewPrivs, Seccomp];
  };
  assert.deepEqual(await of(), ['0', '2']);
  assert.deepEqual(await of('no-new-privileges=true', 'seccomp=unconfined'), ['1', '0']);
  assert.deepEqual(await of('no-new-privileges:false', 'seccomp=builtin'), ['0', '2']);
  const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }] };
  const said = await shell('mkdir /x 2>&1; echo $?', { SecurityOpt: [`seccomp=${JSON.stringify(profile)}`] });
  assert.match(said, /Operation not permitted\n1$/);
});

test('kernel settings are masked and read-only until somebody says otherwise', { skip }, async () => {
  const look = 'wc -c < /proc/timer_list; echo 1 > /proc/sys/vm/drop_caches && echo written || echo refused';
  assert.equal(await shell(`(${look}) 2>/dev/null`), '0\nrefused');
  assert.match(await shell('wc -c < /proc/interrupts', { SecurityOpt: ['systempaths=unconfined'] }), /^[1-9]/);
  assert.match(await shell('wc -c < /proc/interrupts', { MaskedPaths: ['/proc/kcore'] }), /^[1-9]/);
  assert.equal(await shell('wc -c < /etc/seen', { MaskedPaths: ['/etc/seen'] }).catch(() => ''), '');
});

test('control groups can be written to only when that is asked', { skip }, async () => {
  const group = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes') ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
  const attempt = `mkdir ${group}/x 2>/dev/null; echo $?`;
  assert.equal(await shell(attempt), '1');
  assert.equal(await shell(attempt, { SecurityOpt: ['writable-cgroups'] }), '0');
});

test('settings of own namespaces are set, and those of the host refused', { skip }, async () => {
  const set = { 'kernel.msgmax': '4242', 'net.ipv4.ip_forward': '1', 'net.ipv4.ip_unprivileged_port_start': '500' };
  const read = Object.keys(set).map((name) => `cat /proc/sys/${name.replaceAll('.', '/')}`);
  assert.equal(await shell(read.join(';'), { Sysctls: set }), '4242\n1\n500');
  assert.equal(await shell('cat /proc/sys/net/ipv4/ip_unprivileged_port_start'), '0', "Docker's default");
  const refused = (Sysctls: Record<string, string>, more: HostConfig = {}) =>
    harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { NetworkMode: 'none', Sysctls, ...more } });
  await assert.rejects(refused({ 'vm.swappiness': '1' }), /sysctl "vm.swappiness" is not in a separate kernel namespace/);
  await assert.rejects(refused({ 'net.ipv4.ip_forward': '1' }, { NetworkMode: 'host' }), /not allowed in host network namespace/);
  await assert.rejects(refused({ 'kernel.shmmax': '1' }, { IpcMode: 'host' }), /not allowed in host IPC namespace/);
  await assert.rejects(refused({ 'kernel.hostname': 'x' }), /is not in a separate kernel namespace/);
});

test('groups by name and number, and a user that only has a number', { skip }, async () => {
  assert.equal(await shell('id -G', { GroupAdd: ['other', '4711'] }, { User: '999' }), '0 88 4711');
});

test('tmpfs options win over the defaults, and shared memory has its size', { skip }, async () => {
  const mounts = await shell('cat /proc/self/mounts', {
    Tmpfs: { '/t': 'exec,size=1m,mode=1770,uid=5' },
    Mounts: [{ Type: 'tmpfs', Target: '/m', TmpfsOptions: { SizeBytes: 2 << 20, Mode: 0o700, Options: [['exec']] } }],
    ShmSize: 3 << 20,
  });
  const line = (path: string) => mounts.split('\n').find((each) => each.split(' ')[1] === path) ?? '';
  assert.match(line('/t'), /nosuid,nodev.*size=1024k,mode=1770,uid=5/);
  assert.doesNotMatch(line('/t'), /noexec/);
  assert.match(line('/m'), /size=2048k,mode=700/);
  assert.doesNotMatch(line('/m'), /noexec/);
  assert.match(line('/dev/shm'), /size=3072k/);
});
