import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import type { CreateContainerRequest, HostConfig } from '../../api-types/container.ts';
import { EngineError } from '../../base/errors.ts';
import { run, runFlags } from '../commands/run.ts';
import { parse } from '../parser.ts';
import { createRequest } from './request.ts';

const folder = mkdtempSync(join(tmpdir(), 'slipway-request-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

function request(...argv: string[]): CreateContainerRequest {
  const { values, args } = parse('run', { ...run, flags: runFlags }, argv, { write() {} });
  return createRequest(values, args, { detach: values.detach === true, env: { HOME: '/home/me', EMPTY: '' } });
}
const host = (...argv: string[]): HostConfig => request(...argv, 'img').HostConfig ?? {};

test('the plain request', () => {
  assert.deepEqual(request('img'), {
    Image: 'img',
    Env: [],
    Labels: {},
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    ExposedPorts: {},
    HostConfig: { PortBindings: {}, NetworkMode: 'default', AutoRemove: false },
  });
});

test('what follows the image belongs to the command', () => {
  const made = request('-it', '--rm', 'img', 'ls', '-l', '--rm');
  assert.deepEqual(made.Cmd, ['ls', '-l', '--rm']);
  assert.deepEqual([made.Tty, made.OpenStdin, made.StdinOnce, made.AttachStdin], [true, true, true, true]);
  assert.equal(made.HostConfig?.AutoRemove, true);
});

test('a detached container keeps stdin open and attaches nothing', () => {
  const made = request('-dit', 'img');
  assert.deepEqual(
    [made.OpenStdin, made.StdinOnce, made.AttachStdin, made.AttachStdout, made.AttachStderr],
    [true, false, false, false, false],
  );
});

test('-a chooses streams', () => {
  const made = request('-a', 'stdin', '-a', 'STDERR', '-i', 'img');
  assert.deepEqual([made.AttachStdin, made.AttachStdout, made.AttachStderr], [true, false, true]);
});

test('variables: files first, names from the environment, unset ones as names', () => {
  const envFile = file('env', '# comment\n  A=1\nHOME\nMISSING\nB= spaced \n');
  assert.deepEqual(request('--env-file', envFile, '-e', 'A=2', '-e', 'HOME', '-e', 'EMPTY', '-e', 'GONE', 'img').Env, [
    'A=1',
    'HOME=/home/me',
    'B= spaced ',
    'A=2',
    'HOME=/home/me',
    'EMPTY=',
    'GONE',
  ]);
});

test('labels', () => {
  const labels = file('labels', 'tier=db\nonly\n');
  assert.deepEqual(request('--label-file', labels, '-l', 'a=b=c', '-l', 'tier=web', 'img').Labels, { tier: 'web', only: '', a: 'b=c' });
});

test('an empty entrypoint removes the image’s', () => {
  assert.deepEqual(request('--entrypoint', '', 'img').Entrypoint, ['']);
  assert.deepEqual(request('--entrypoint', '/bin/sh', 'img', '-c', 'x').Entrypoint, ['/bin/sh']);
});

test('volumes: binds, names, anonymous, relative', () => {
  const made = request('-v', '/a:/b:ro', '-v', 'data:/var/lib', '-v', '/anon', '-v', './src:/src', 'img');
  assert.deepEqual(made.HostConfig?.Binds, ['/a:/b:ro', 'data:/var/lib', `${resolve('src')}:/src`]);
  assert.deepEqual(made.Volumes, { '/anon': {} });
});

test('mounts', () => {
  assert.deepEqual(host('--mount', 'type=bind,source=/a,target=/b,readonly,bind-propagation=rslave').Mounts, [
    { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true, BindOptions: { Propagation: 'rslave' } },
  ]);
  assert.deepEqual(host('--mount', 'src=v,dst=/v,"volume-label=a=b,c",volume-nocopy').Mounts, [
    { Type: 'volume', Source: 'v', Target: '/v', VolumeOptions: { Labels: { a: 'b,c' }, NoCopy: true } },
  ]);
  assert.deepEqual(host('--mount', 'type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1777').Mounts, [
    { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 64 * 1024 ** 2, Mode: 0o1777 } },
  ]);
  assert.deepEqual(host('--tmpfs', '/run', '--tmpfs', '/t:size=1m,mode=700').Tmpfs, { '/run': '', '/t': 'size=1m,mode=700' });
});

test('mounts of images, and how far binds are read-only', () => {
  assert.deepEqual(host('--mount', 'type=image,src=web:2,dst=/i,image-subpath=etc').Mounts, [
    { Type: 'image', Source: 'web:2', Target: '/i', ImageOptions: { Subpath: 'etc' } },
  ]);
  const bind = (fields: string) => host('--mount', `type=bind,src=/a,dst=/b,${fields}`).Mounts?.[0]?.BindOptions;
  assert.deepEqual(bind('bind-recursive=enabled'), {});
  assert.deepEqual(bind('bind-recursive=disabled'), { NonRecursive: true });
  assert.deepEqual(bind('ro,bind-recursive=writable'), { ReadOnlyNonRecursive: true });
  assert.deepEqual(bind('ro,bind-propagation=rprivate,bind-recursive=readonly'), {
    Propagation: 'rprivate',
    ReadOnlyForceRecursive: true,
  });
});

test('every field of --network', () => {
  const fields = 'ip=10.0.0.7,ip6=fd00::7,mac-address=02:42:ac:11:00:02,gw-priority=-5,link-local-ip=169.254.1.1,driver-opt=a=b=c';
  assert.deepEqual(request('--network', `name=app,${fields}`, 'img').NetworkingConfig?.EndpointsConfig, {
    app: {
      IPAMConfig: { IPv4Address: '10.0.0.7', IPv6Address: 'fd00::7', LinkLocalIPs: ['169.254.1.1'] },
      MacAddress: '02:42:ac:11:00:02',
      GwPriority: -5,
      DriverOpts: { a: 'b=c' },
    },
  });
});

const portTable: [spec: string, bindings: HostConfig['PortBindings']][] = [
  ['80', { '80/tcp': [{ HostIp: '', HostPort: '' }] }],
  ['8080:80', { '80/tcp': [{ HostIp: '', HostPort: '8080' }] }],
  ['8080:80/UDP', { '80/udp': [{ HostIp: '', HostPort: '8080' }] }],
  ['127.0.0.1:8080:80', { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '8080' }] }],
  ['127.0.0.1::80', { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] }],
  ['[::1]:53:53/udp', { '53/udp': [{ HostIp: '::1', HostPort: '53' }] }],
  ['::1:53:53', { '53/tcp': [{ HostIp: '::1', HostPort: '53' }] }],
  ['8000-8001:80-81', { '80/tcp': [{ HostIp: '', HostPort: '8000' }], '81/tcp': [{ HostIp: '', HostPort: '8001' }] }],
  ['8000-8010:80', { '80/tcp': [{ HostIp: '', HostPort: '8000-8010' }] }],
  ['80-81', { '80/tcp': [{ HostIp: '', HostPort: '' }], '81/tcp': [{ HostIp: '', HostPort: '' }] }],
  ['target=80,published=8080,protocol=udp', { '80/udp': [{ HostIp: '', HostPort: '8080' }] }],
];
for (const [spec, bindings] of portTable) {
  test(`port ${spec}`, () => {
    const made = request('-p', spec, 'img');
    assert.deepEqual(made.HostConfig?.PortBindings, bindings);
    assert.deepEqual(Object.keys(made.ExposedPorts ?? {}), Object.keys(bindings ?? {}));
  });
}

test('limits', () => {
  const made = host(
    ...['-m', '512m', '--memory-swap', '-1', '--memory-reservation', '1.5g', '--cpus', '1.25', '-c', '512', '--cpuset-cpus', '0-1'],
    ...['--pids-limit', '100', '--shm-size', '64kb', '--ulimit', 'nofile=1024:2048', '--ulimit', 'core=0'],
  );
  assert.deepEqual(
    [made.Memory, made.MemorySwap, made.MemoryReservation, made.NanoCpus, made.CpuShares, made.CpusetCpus, made.PidsLimit, made.ShmSize],
    [512 * 1024 ** 2, -1, 1.5 * 1024 ** 3, 1.25e9, 512, '0-1', 100, 65_536],
  );
  assert.deepEqual(made.Ulimits, [
    { Name: 'nofile', Soft: 1024, Hard: 2048 },
    { Name: 'core', Soft: 0, Hard: 0 },
  ]);
});

test('isolation', () => {
  const profile = file('seccomp.json', '{\n "defaultAction": "SCMP_ACT_ALLOW"\n}');
  const made = host(
    ...[
      '--cap-add',
      'NET_ADMIN',
      '--cap-drop',
      'ALL',
      '--privileged',
      '--read-only',
      '--device',
      '/dev/fuse',
      '--device',
      '/dev/sda:/dev/xvda:r',
    ],
    ...['--security-opt', 'no-new-privileges', '--security-opt', `seccomp=${profile}`, '--security-opt', 'systempaths=unconfined'],
    ...['--sysctl', 'net.core.somaxconn=1', '--group-add', 'audio', '--pid', 'host', '--ipc', 'private', '--uts', 'host', '--no-init'],
  );
  assert.deepEqual(
    [made.CapAdd, made.CapDrop, made.Privileged, made.ReadonlyRootfs, made.Init],
    [['NET_ADMIN'], ['ALL'], true, true, false],
  );
  assert.deepEqual(made.SecurityOpt, ['no-new-privileges', 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']);
  assert.deepEqual([made.MaskedPaths, made.ReadonlyPaths], [[], []]);
  assert.deepEqual(made.Devices, [
    { PathOnHost: '/dev/fuse', PathInContainer: '/dev/fuse', CgroupPermissions: 'rwm' },
    { PathOnHost: '/dev/sda', PathInContainer: '/dev/xvda', CgroupPermissions: 'r' },
  ]);
  assert.deepEqual([made.Sysctls, made.GroupAdd, made.PidMode, made.UTSMode], [{ 'net.core.somaxconn': '1' }, ['audio'], 'host', 'host']);
});

test('networks and names', () => {
  const made = request(
    '--net',
    'app',
    '--network-alias',
    'db',
    '--ip',
    '10.0.0.7',
    '--add-host',
    'x:10.0.0.1',
    '--add-host',
    'y=[fe80::1]',
    'img',
  );
  assert.equal(made.HostConfig?.NetworkMode, 'app');
  assert.deepEqual(made.NetworkingConfig, { EndpointsConfig: { app: { Aliases: ['db'], IPAMConfig: { IPv4Address: '10.0.0.7' } } } });
  assert.deepEqual(made.HostConfig?.ExtraHosts, ['x:10.0.0.1', 'y:fe80::1']);
  const two = request('--network', 'name=a,alias=x,alias=y', '--network', 'b', 'img');
  assert.deepEqual(two.NetworkingConfig, { EndpointsConfig: { a: { Aliases: ['x', 'y'] }, b: {} } });
});

test('restart, logs, health', () => {
  assert.deepEqual(host('--restart', 'on-failure:3').RestartPolicy, { Name: 'on-failure', MaximumRetryCount: 3 });
  assert.deepEqual(host('--log-driver', 'json-file', '--log-opt', 'max-size=1m').LogConfig, {
    Type: 'json-file',
    Config: { 'max-size': '1m' },
  });
  assert.deepEqual(request('--health-cmd', 'true', '--health-interval', '1m30s', '--health-retries', '3', 'img').Healthcheck, {
    Test: ['CMD-SHELL', 'true'],
    Interval: 90e9,
    Retries: 3,
  });
  assert.deepEqual(request('--no-healthcheck', 'img').Healthcheck, { Test: ['NONE'] });
});

const refused: [argv: string[], message: RegExp][] = [
  [['-p', '80:81-82'], /not equally long/],
  [['-p', '70000'], /up to 65535/],
  [['-p', 'x:80'], /not a port/],
  [['-p', '256.0.0.1:80:80'], /not an IP address/],
  [['-p', '80/icmp'], /tcp, udp or sctp/],
  [['-p', '9-8'], /ends before it starts/],
  [['-v', 'a:b:c:d'], /invalid volume/],
  [['-v', ':/x'], /invalid volume/],
  [['--mount', 'type=bind,target=/x'], /needs a source/],
  [['--mount', 'type=magic,target=/x'], /bind, volume, tmpfs or image/],
  [['--mount', 'type=bind,source=/a,target=/b,colour=red'], /unknown field "colour"/],
  [['--mount', 'type=bind,source=/a'], /no target/],
  [['-m', '12x'], /--memory/],
  [['--cpus', 'two'], /--cpus/],
  [['--ulimit', 'files=1'], /invalid ulimit/],
  [['--ulimit', 'nofile=2:1'], /over the hard/],
  [['--restart', 'sometimes'], /invalid restart policy/],
  [['--rm', '--restart', 'always'], /exclude each other/],
  [['-d', '-a', 'stdout'], /exclude each other/],
  [['-a', 'stdfoo'], /--attach/],
  [['--device', 'fuse'], /invalid device/],
  [['--health-interval', 'soon', '--health-cmd', 'x'], /--health-interval/],
  [['--no-healthcheck', '--health-cmd', 'x'], /exclude each other/],
  [['--add-host', 'db'], /--add-host/],
  [['--sysctl', 'x'], /--sysctl/],
  [['--network', 'host', '--network', 'app'], /cannot be combined/],
  [['--network', 'none', '--ip', '10.0.0.1'], /do not go with/],
  [['--network', 'name=app,ip=10.0.0.1', '--ip', '10.0.0.2'], /--ip is given twice/],
  [['--network', 'name=app,gw-priority=high'], /gw-priority/],
  [['--network', 'name=app,colour=red'], /unknown field "colour"/],
  [['--link', 'a:b:c'], /invalid link/],
  [['--gpus', 'some'], /neither a number/],
  [['--gpus', 'count=1,count=2'], /count is given twice/],
  [['--gpus', 'colour=red'], /unknown key "colour"/],
  [['--blkio-weight', '5'], /10 to 1000/],
  [['--blkio-weight-device', '/dev/sda:5'], /10 to 1000/],
  [['--device-read-bps', 'sda:1mb'], /--device-read-bps/],
  [['--device-write-iops', '/dev/sda:1mb'], /--device-write-iops/],
  [['--device-cgroup-rule', 'x 1:1 r'], /--device-cgroup-rule/],
  [['--storage-opt', 'size'], /--storage-opt/],
  [['--annotation', '=x'], /--annotation/],
  [['--disable-content-trust=false'], /signatures/],
  [['--mount', 'type=image,target=/x'], /needs a source/],
  [['--mount', 'type=bind,source=/a,target=/b,bind-recursive=readonly,ro'], /rprivate/],
  [['--mount', 'type=bind,source=/a,target=/b,bind-recursive=writable'], /go with readonly/],
  [['--mount', 'type=bind,source=/a,target=/b,bind-recursive=maybe'], /enabled, disabled, writable or readonly/],
  [['--log-driver', 'none', '--log-opt', 'a=b'], /--log-opt/],
  [['--pull', 'sometimes'], /sometimes/],
  [['--env-file', '/nonexistent/file'], /\/nonexistent\/file.*ENOENT/],
  [['-e', '=x'], /invalid environment variable/],
  [['-l', '=x'], /no name/],
  [['--security-opt', 'seccomp=/nonexistent'], /seccomp profile/],
];
for (const [argv, message] of refused) {
  test(`refused: ${argv.join(' ')}`, () => {
    assert.throws(
      () => request(...argv, 'img'),
      (error) => error instanceof EngineError && error.exitCode === 125 && message.test(error.message),
    );
  });
}
