import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bindMount, isMountPoint, listMounts, mount, mountFilesystem, parseMountInfo, unmount, unmountIfMounted } from './mount.ts';
import { createNetns, inNetns } from './namespace.ts';
import { killProcess, pidfdExitCode, pidfdHasEnded, pidfdOpen, pidfdSendSignal } from './process.ts';
import { bindTcp, bindUdp, ipv6Groups } from './socket.ts';

const needsRoot = { skip: process.getuid?.() !== 0 && 'needs root' };
const folder = mkdtempSync(join(tmpdir(), 'slipway-kernel-'));
after(() => {
  for (const { mountPoint } of listMounts().reverse()) if (mountPoint.startsWith(`${folder}/`)) unmountIfMounted(mountPoint);
  rmSync(folder, { recursive: true, force: true });
});
const made = (name: string) => {
  mkdirSync(join(folder, name));
  return join(folder, name);
};

test('mountinfo is read field by field, escapes too', () => {
  const [entry] = parseMountInfo('36 35 98:0 /a\\040b /mnt\\134x rw,noatime master:1 shared:2 - ext4 /dev/root rw,errors=continue\n');
  assert.deepEqual(entry, {
    id: 36,
    parentId: 35,
    major: 98,
    minor: 0,
    root: '/a b',
    mountPoint: '/mnt\\x',
    options: ['rw', 'noatime'],
    propagation: ['master:1', 'shared:2'],
    type: 'ext4',
    source: '/dev/root',
    superOptions: 'rw,errors=continue',
  });
});

test('both ways of mounting work, and mount points are seen', needsRoot, () => {
  const target = made('space here');
  assert.equal(isMountPoint(target), false);
  mount({ source: 'tmpfs', target, type: 'tmpfs', data: 'size=64k' });
  assert.equal(isMountPoint(target), true);
  assert.ok(listMounts().some((entry) => entry.mountPoint === target && entry.type === 'tmpfs'));
  mountFilesystem({ type: 'tmpfs', source: 'x', options: [['size', '64k']], target });
  assert.equal(unmountIfMounted(target), true);
  assert.equal(isMountPoint(target), false);
  assert.equal(unmountIfMounted(target), false);
  assert.throws(() => unmount(target), { code: 'EINVAL' });
});

test('a refused option is named, with what the kernel said', needsRoot, () => {
  const target = made('refused');
  assert.throws(
    () => mountFilesystem({ type: 'tmpfs', source: 'x', options: [['nonsense', '1']], target }),
    (error: Error) => /nonsense=1/.test(error.message) && /Unknown parameter/.test(error.message),
  );
  assert.equal(isMountPoint(target), false);
});

test('a read-only bind cannot be written', needsRoot, () => {
  const [source, target] = [made('source'), made('target')];
  writeFileSync(join(source, 'file'), 'x');
  bindMount(source, target, { readOnly: true, recursive: true });
  assert.equal(readFileSync(join(target, 'file'), 'latin1'), 'x');
  assert.throws(() => writeFileSync(join(target, 'file'), 'y'), { code: 'EROFS' });
  unmount(target);
});

test('a network namespace has only its loopback, and the thread comes back', needsRoot, () => {
  const path = join(folder, 'netns');
  const before = readlinkSync('/proc/thread-self/ns/net');
  createNetns(path);
  const links = inNetns(path, () => execFileSync('cat', ['/proc/net/dev'], { encoding: 'utf8' }));
  assert.equal(links.trim().split('\n').length, 3, links);
  assert.equal(readlinkSync('/proc/thread-self/ns/net'), before);
  assert.throws(() => createNetns(path), { code: 'EEXIST' });
  assert.throws(() => inNetns(path, () => assert.fail('inside')), /inside/);
  unmount(path);
  unlinkSync(path);
  assert.equal(existsSync(path), false);
});

test('a bound port is taken and accepts connections', async () => {
  const { fd, port } = bindTcp({ ip: '127.0.0.1', port: 0 });
  assert.throws(() => bindTcp({ ip: '127.0.0.1', port }), { code: 'EADDRINUSE' });
  const client = connect(port, '127.0.0.1');
  await once(client, 'connect');
  client.destroy();
  const udp = bindUdp({ ip: '127.0.0.1', port: 0 });
  assert.throws(() => bindUdp({ ip: '127.0.0.1', port: udp.port }), { code: 'EADDRINUSE' });
  closeSync(fd);
  closeSync(udp.fd);
  assert.deepEqual(ipv6Groups('fe80::1:10.0.0.1%eth0'), [0xfe80, 0, 0, 0, 0, 1, 0x0a00, 1]);
});

test('a process is watched and ended through its descriptor', async () => {
  const child = spawn('sleep', ['60']);
  assert.ok(child.pid !== undefined);
  const fd = pidfdOpen(child.pid);
  assert.equal(pidfdHasEnded(fd), false);
  pidfdSendSignal(fd, 9);
  await once(child, 'exit');
  assert.equal(pidfdHasEnded(fd), true);
  // 128 + SIGKILL, where the kernel tells at all (6.15).
  assert.ok([137, undefined].includes(pidfdExitCode(fd)), String(pidfdExitCode(fd)));
  assert.throws(() => pidfdSendSignal(fd, 9), { code: 'ESRCH' });
  assert.equal(killProcess(child.pid, 0), false);
});
