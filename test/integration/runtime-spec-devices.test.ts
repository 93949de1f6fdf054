import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DeviceRequest, HostConfig } from '../../src/api-types/container.ts';
import { mknod } from '../../src/kernel/files.ts';
import { S_IFCHR } from '../../src/kernel/stat.ts';
import { cannotRun, closeHarness, type Harness, makeHarness, run } from './runtime-support.ts';

/** Devices by path, by rule and by the names of CDI specifications. */

const skip = cannotRun;
let harness: Harness;
let directory: string;

const gpu = (level: string) => ({
  cdiVersion: '0.5.0',
  kind: 'nvidia.com/gpu',
  devices: ['0', '1', 'all'].map((name) => ({ name, containerEdits: { env: [`GPU_${name}=${level}`] } })),
});

const yaml = `
cdiVersion: 0.7.0
kind: vendor.com/net
annotations: {what: test}
devices:
  - name: first
    containerEdits:
      env: [FIRST=yes]
      deviceNodes:
        - {path: /dev/vendor0, hostPath: $DIRECTORY/nodes/zero, permissions: rw, fileMode: 0600, uid: 0}
      additionalGids: [4711]
  - name: second
    containerEdits:
      hooks:
        - {hookName: createRuntime, path: $DIRECTORY/hook, args: [hook, made]}
containerEdits:
  env: [ALL=yes]
  mounts:
    - {hostPath: $DIRECTORY/library, containerPath: /usr/lib/vendor/library, options: [ro, nosuid]}
`;
before(async () => {
  if (skip) return;
  directory = mkdtempSync(join(tmpdir(), 'slipway-devices-'));
  mkdirSync(join(directory, 'nodes/deep'), { recursive: true });
  // The devices of /dev/zero and /dev/full, by names that nothing else has.
  mknod(join(directory, 'nodes/zero'), S_IFCHR | 0o640, 1, 5);
  mknod(join(directory, 'nodes/deep/full'), S_IFCHR | 0o600, 1, 7);
  symlinkSync('nodes/zero', join(directory, 'link'));
  writeFileSync(join(directory, 'library'), 'the library\n');
  writeFileSync(join(directory, 'hook'), `#!/bin/sh\ncat > ${directory}/hook-state; echo "$@" > ${directory}/hook-args\n`, { mode: 0o755 });
  for (const name of ['low', 'high']) mkdirSync(join(directory, name));
  writeFileSync(join(directory, 'low/vendor.yaml'), yaml.replaceAll('$DIRECTORY', directory));
  writeFileSync(join(directory, 'low/broken.json'), '{"cdiVersion": "0.6.0"');
  writeFileSync(join(directory, 'low/a.json'), JSON.stringify(gpu('low')));
  writeFileSync(join(directory, 'high/b.json'), JSON.stringify(gpu('high')));
  harness = await makeHarness({}, { settings: { cdiDirectories: [join(directory, 'low'), join(directory, 'high')] } });
});
after(async () => {
  if (skip) return;
  await closeHarness(harness);
  rmSync(directory, { recursive: true, force: true });
});

const cdi = (...DeviceIDs: string[]): DeviceRequest => ({ Driver: 'cdi', DeviceIDs });

const shell = async (script: string, HostConfig: HostConfig = {}) => {
  const { stdout, stderr, exitCode } = await run(harness, ['sh', '-c', script], {
    HostConfig: { NetworkMode: 'none', Init: false, ...HostConfig },
  });
  return { stdout, stderr, exitCode };
};
const device = (PathOnHost: string, PathInContainer = '', CgroupPermissions = '') => ({ PathOnHost, PathInContainer, CgroupPermissions });

test('devices by path, behind a symlink and in a directory', { skip }, async () => {
  const { stdout } = await shell(
    'stat -c "%n %F %a" /dev/mine /dev/linked /dev/all/zero /dev/all/deep/full; dd if=/dev/mine bs=1 count=3 2>/dev/null | wc -c',
    {
      Devices: [
        device(`${directory}/nodes/zero`, '/dev/mine', 'r'),
        device(`${directory}/link`, '/dev/linked'),
        device(`${directory}/nodes`, '/dev/all'),
      ],
    },
  );
  assert.equal(
    stdout,
    [
      '/dev/mine character special file 640',
      '/dev/linked character special file 640',
      '/dev/all/zero character special file 640',
      '/dev/all/deep/full character special file 600',
      '3',
      '',
    ].join('\n'),
  );
});

test('what is no device is refused when the container is made', { skip }, async () => {
  const refused = (...Devices: HostConfig['Devices'] & object) =>
    harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { Devices } });
  await assert.rejects(
    refused(device('/dev/absent')),
    /error gathering device information while adding custom device "\/dev\/absent": no such file or directory/,
  );
  await assert.rejects(refused(device('/etc/passwd')), /"\/etc\/passwd": not a device node/);
  await assert.rejects(refused(device('/dev/null', 'null')), /null is not an absolute path/);
  await assert.rejects(refused(device('/dev/null', '/dev/x', 'rx')), /invalid device mode: rx/);
});

test('a rule opens devices that the container makes itself', { skip }, async () => {
  // A kernel without FUSE has no such device, which is another answer than that it is not permitted.
  const script = 'mknod /m c 10 229 && (exec 3< /m) 2>&1 | grep -q "not permitted" && echo closed || echo open';
  assert.equal((await shell(script)).stdout, 'closed\n');
  assert.equal((await shell(script, { DeviceCgroupRules: ['c 10:* rwm'] })).stdout, 'open\n');
  await assert.rejects(
    harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { DeviceCgroupRules: ['c 10 rwm'] } }),
    /invalid device cgroup rule format: 'c 10 rwm'/,
  );
});

test('CDI devices bring variables, nodes, groups, mounts and hooks', { skip }, async () => {
  const { stdout, stderr } = await shell(
    'echo $ALL $FIRST; stat -c "%a %F" /dev/vendor0; cat /usr/lib/vendor/library; id -G; touch /usr/lib/vendor/library',
    {
      DeviceRequests: [cdi('vendor.com/net=first', 'vendor.com/net=second')],
    },
  );
  assert.equal(stdout, 'yes yes\n600 character special file\nthe library\n0 4711\n');
  assert.match(stderr, /Read-only file system/);
  assert.equal(readFileSync(join(directory, 'hook-args'), 'utf8'), 'made\n');
  const state = JSON.parse(readFileSync(join(directory, 'hook-state'), 'utf8')) as { status: string; pid: number };
  assert.match(state.status, /^creat(ing|ed)$/);
});

test('GPUs come through CDI, the specification of the later folder first', { skip }, async () => {
  const env = async (request: DeviceRequest) => (await shell('env | grep GPU_ | sort', { DeviceRequests: [request] })).stdout;
  assert.equal(await env({ Count: -1, Capabilities: [['gpu']] }), 'GPU_all=high\n');
  assert.equal(await env({ Count: 2, Capabilities: [['gpu', 'compute']] }), 'GPU_0=high\nGPU_1=high\n');
  assert.equal(await env({ Driver: 'nvidia', DeviceIDs: ['1'], Capabilities: [['gpu']] }), 'GPU_1=high\n');
});

test('devices that nobody brings are refused when the container is made', { skip }, async () => {
  const refused = (...DeviceRequests: DeviceRequest[]) =>
    harness.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { DeviceRequests } });
  await assert.rejects(refused(cdi('vendor.com/net=absent', 'other.com/x=y')), (error: Error & { hint?: string; kind?: string }) => {
    assert.match(error.message, /CDI device injection failed: unresolvable CDI devices vendor\.com\/net=absent, other\.com\/x=y/);
    assert.match(error.hint ?? '', /broken\.json/, 'a file that could not be read may be why');
    return error.kind === 'InvalidArgument';
  });
  await assert.rejects(refused({ Capabilities: [['tpu']], Count: 1 }), /could not select device driver "" with capabilities: \[\[tpu\]\]/);
  await assert.rejects(
    refused({ Driver: 'amd', Capabilities: [['gpu']], Count: 1 }),
    /could not select device driver "amd" with capabilities: \[\[gpu\]\]/,
  );
  await assert.rejects(
    refused({ Count: 1, DeviceIDs: ['0'], Capabilities: [['gpu']] }),
    /cannot set both Count and DeviceIDs on device request/,
  );
  await assert.rejects(refused({ ...cdi('nvidia.com/gpu=0'), Count: 1 }), /unexpected count in CDI device request/);
  const without = await makeHarness({}, { settings: { cdiDirectories: [] } });
  try {
    await assert.rejects(
      without.engine.create({ Image: 'busybox', Cmd: ['true'], HostConfig: { DeviceRequests: [{ Count: -1, Capabilities: [['gpu']] }] } }),
      /could not select device driver "" with capabilities: \[\[gpu\]\]/,
    );
  } finally {
    await closeHarness(without);
  }
});
