import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram } from '../../src/host/programs.ts';
import { listMounts, mount } from '../../src/kernel/mount.ts';
import { call, cannotRunDaemon, DaemonPlace, type DaemonProcess } from './api-daemon-harness.ts';

const docker = findProgram('docker');
// Docker's own takes image mounts since 28 only.
const cli = join(import.meta.dirname, '../../src/cli/main.ts');
const skip = cannotRunDaemon || (docker === undefined && 'needs the docker command line');

/** Volumes, binds and docker cp as people use them, against the real daemon. */
describe('volumes of containers', { skip, timeout: 180_000 }, () => {
  const here = new DaemonPlace();
  const folder = realpathSync(here.folder);
  const env = { PATH: process.env.PATH ?? '', HOME: here.folder, DOCKER_HOST: `unix://${here.socket}`, DOCKER_BUILDKIT: '0' };
  let daemon: DaemonProcess;

  function docker_(args: string[], input: string | Buffer = '') {
    const [program, ...first] = args.some((word) => word.startsWith('type=image')) ? [process.execPath, cli] : [docker ?? ''];
    const { status, stdout, stderr } = spawnSync(program ?? '', [...first, ...args], { env, input, timeout: 30_000 });
    return { status, stdout: stdout.toString(), stderr: stderr.toString() };
  }
  function succeed(args: string[], input: string | Buffer = ''): string {
    const result = docker_(args, input);
    assert.equal(result.status, 0, `docker ${args.join(' ')}: ${result.stderr}`);
    return result.stdout.trim();
  }
  function fail(args: string[], words: RegExp): void {
    const result = docker_(args);
    assert.notEqual(result.status, 0, `docker ${args.join(' ')} succeeded: ${result.stdout}`);
    assert.match(result.stderr, words);
  }
  const sh = (args: string[], script: string) => succeed(['run', '--rm', '--network', 'none', ...args, 'bb:1', 'sh', '-c', script]);
  const data = (name: string) => succeed(['volume', 'inspect', '-f', '{{.Mountpoint}}', name]);
  const volumeNames = () => succeed(['volume', 'ls', '-q']).split('\n').filter(Boolean);

  before(async () => {
    daemon = await here.start();
    succeed(['import', '-c', 'VOLUME /image-volume', here.imageTar(), 'bb:1']);
  });
  after(() => here.remove());

  test("an empty volume gets the image's files and owners, once, and not with nocopy", () => {
    assert.equal(sh(['-v', 'filled:/data'], 'cat /data/seed; echo changed > /data/seed'), 'from the image');
    assert.equal(sh(['-v', 'filled:/data'], 'cat /data/seed'), 'changed');
    assert.equal(sh(['-v', 'filled:/elsewhere:ro'], 'cat /elsewhere/seed; touch /elsewhere/x || true'), 'changed');
    assert.equal(sh(['-v', 'bare:/data:nocopy'], 'ls /data'), '');
    assert.equal(sh(['--mount', 'type=volume,src=bare2,dst=/data,volume-nocopy'], 'ls /data'), '');
    assert.deepEqual(readdirSync(join(data('filled'), '..')).sort(), ['_data', 'volume.json']);
    const { mode } = statSync(data('filled'));
    assert.equal(mode & 0o777, 0o755);
  });

  test('anonymous volumes go with their container when asked, named ones never', () => {
    const before = volumeNames();
    sh(['-v', '/scratch', '-v', 'named:/data'], 'true');
    assert.deepEqual(volumeNames(), [...before, 'named'].sort());
    succeed(['create', '--name', 'anon', '-v', '/scratch', 'bb:1', 'true']);
    assert.equal(volumeNames().length, before.length + 3, "its own and the image's");
    assert.equal(succeed(['volume', 'ls', '-q', '-f', 'label=com.docker.volume.anonymous']).split('\n').length, 2);
    succeed(['rm', 'anon']);
    assert.equal(volumeNames().length, before.length + 3);
    succeed(['volume', 'prune', '-f']);
    assert.deepEqual(volumeNames(), [...before, 'named'].sort());
    succeed(['create', '--name', 'anon', '-v', '/scratch', 'bb:1', 'true']);
    succeed(['rm', '-v', 'anon']);
    assert.deepEqual(volumeNames(), [...before, 'named'].sort());
  });

  test('a volume in use is kept, and says by whom', () => {
    const id = succeed(['create', '-v', 'kept:/data', 'bb:1', 'true']);
    fail(['volume', 'rm', 'kept'], new RegExp(`remove kept: volume is in use - \\[${id}\\]`));
    succeed(['rm', id]);
    succeed(['volume', 'rm', 'kept']);
    fail(['volume', 'rm', 'kept'], /no such volume/);
    succeed(['volume', 'rm', '-f', 'kept']);
  });

  test("another container's volumes come along, read-only when asked", () => {
    succeed(['create', '--name', 'donor', '-v', 'shared:/data', '-v', `${folder}:/host:ro`, 'bb:1', 'true']);
    assert.equal(
      sh(['--volumes-from', 'donor:ro'], 'cat /data/seed; touch /data/x 2>/dev/null || echo refused'),
      'from the image\nrefused',
    );
    assert.equal(
      sh(['--volumes-from', 'donor'], 'touch /data/x && echo written; touch /host/x 2>/dev/null || echo refused'),
      'written\nrefused',
    );
    fail(['create', '--volumes-from', 'donor:rx', 'bb:1', 'true'], /invalid mode: rx/);
    succeed(['rm', 'donor']);
  });

  test('a part of a volume is mounted alone, and no symlink leads out of it', () => {
    sh(['-v', 'parts:/p'], 'mkdir -p /p/a/b; echo deep > /p/a/b/file; ln -s /etc /p/out; ln -s ../../.. /p/up; ln -s a/b /p/in');
    const part = (subpath: string) => ['--mount', `type=volume,src=parts,dst=/mnt,volume-subpath=${subpath}`];
    assert.equal(sh(part('a/b'), 'cat /mnt/file; ls -a /mnt/..|grep -c parts || true'), 'deep\n0');
    assert.equal(sh(part('a/b/file'), 'cat /mnt'), 'deep');
    assert.equal(sh(part('in'), 'ls /mnt'), 'file');
    const started = (subpath: string) => ['run', '--rm', '--network', 'none', ...part(subpath), 'bb:1', 'ls', '/mnt'];
    fail(started('none'), /cannot access path .*\/none: no such file or directory/);
    for (const way of ['out', 'up', 'up/etc']) fail(started(way), /cannot access path .*: path concatenation escapes the base directory/);
    fail(['create', ...part('../x'), 'bb:1', 'true'], /subpath must be a relative path within the volume/);
    const id = succeed(['create', ...part('a'), 'bb:1', 'ls', '/mnt']);
    sh(['-v', 'parts:/p'], 'mv /p/a /p/gone; ln -s /etc /p/a');
    fail(['start', '-a', id], /escapes the base directory/);
    succeed(['rm', id]);
    assert.deepEqual(readdirSync(join(here.run, 'volumes/subpaths')), []);
  });

  test("an image's files are mounted read-only, whole or in part", () => {
    const image = (more = '') => ['--mount', `type=image,src=bb:1,dst=/mnt${more}`];
    assert.equal(sh(image(), 'cat /mnt/data/seed; touch /mnt/x 2>/dev/null || echo refused'), 'from the image\nrefused');
    assert.equal(sh(image(',image-subpath=data'), 'ls /mnt'), 'seed');
    fail(['run', '--rm', ...image(',image-subpath=none'), 'bb:1', 'true'], /cannot access path none/);
    fail(['create', '--mount', 'type=image,src=none:1,dst=/mnt', 'bb:1', 'true'], /No such image/);
    assert.deepEqual(readdirSync(join(here.run, 'view')), []);
  });

  test('a device is mounted while containers use it, over a daemon that is killed', async () => {
    succeed(['volume', 'create', '-d', 'local', '-o', 'type=tmpfs', '-o', 'device=tmpfs', '-o', 'o=size=1m,mode=0711', 'fast']);
    const mounts = () => listMounts().filter(({ mountPoint }) => mountPoint === data('fast')).length;
    assert.equal(mounts(), 0);
    const starts = (name: string) =>
      succeed(['run', '-d', '--name', name, '--network', 'none', '-v', 'fast:/fast', 'bb:1', 'sleep', '1000']);
    starts('one');
    starts('two');
    assert.equal(mounts(), 1);
    succeed(['exec', 'one', 'sh', '-c', 'echo kept > /fast/file']);
    succeed(['stop', '-t', '0', 'two']);
    assert.equal(mounts(), 1);
    await daemon.kill();
    process.kill(pidOf('one'), 'SIGKILL');
    daemon = await here.start();
    for (let waited = 0; mounts() > 0 && waited < 300; waited++) await sleep(100);
    assert.equal(mounts(), 0, 'the last user ended while no daemon was there');
    succeed(['start', 'one']);
    succeed(['start', 'two']);
    await daemon.kill();
    daemon = await here.start();
    assert.equal(mounts(), 1);
    succeed(['rm', '-f', 'one']);
    assert.equal(mounts(), 1);
    succeed(['rm', '-f', 'two']);
    assert.equal(mounts(), 0);
    fail(['volume', 'create', '-o', 'type=tmpfs', '-o', 'device=tmpfs', 'fast'], /create fast: .*volume name must be unique/);
    succeed(['volume', 'rm', 'fast']);
  });

  test('a device that cannot be mounted keeps a container from starting, and says why', () => {
    succeed(['volume', 'create', '-o', 'type=none', '-o', 'o=bind', '-o', 'device=/no/such/folder', 'broken']);
    fail(
      ['run', '--rm', '--network', 'none', '-v', 'broken:/x:nocopy', 'bb:1', 'true'],
      /error while mounting volume '.*broken\/_data': failed to mount local volume/,
    );
    succeed(['volume', 'rm', 'broken']);
  });

  test('mounts propagate where the host lets them, and nowhere else', () => {
    const shared = join(folder, 'shared');
    const apart = join(folder, 'private');
    for (const path of [shared, apart]) {
      mkdirSync(path);
      mount({ source: 'none', target: path, type: 'tmpfs' });
    }
    const [MS_PRIVATE, MS_SHARED] = [1 << 18, 1 << 20];
    mount({ source: 'none', target: shared, type: 'none', flags: MS_SHARED });
    mount({ source: 'none', target: apart, type: 'none', flags: MS_PRIVATE });
    const bind = (path: string, how: string) => ['run', '--rm', '--network', 'none', '--privileged', '-v', `${path}:/mnt:${how}`, 'bb:1'];
    fail([...bind(apart, 'rshared'), 'true'], new RegExp(`path ${apart} is mounted on ${apart} but it is not a shared mount`));
    fail([...bind(apart, 'rslave'), 'true'], /but it is not a shared or slave mount/);
    succeed([...bind(shared, 'rshared'), 'sh', '-c', 'mkdir /mnt/in; mount -t tmpfs none /mnt/in']);
    assert.ok(listMounts().some(({ mountPoint }) => mountPoint === join(shared, 'in')));
    assert.equal(succeed([...bind(apart, 'rprivate'), 'ls', '/mnt']), '');
  });

  test('cp reaches the volumes and binds of a container that was never started, and leaves nothing in its root', () => {
    const bound = join(folder, 'bound');
    mkdirSync(bound);
    writeFileSync(join(bound, 'file'), 'on the host');
    succeed([
      'create',
      '--name',
      'cold',
      '-v',
      'cold:/volume/deep',
      '-v',
      `${bound}:/bound:ro`,
      '--tmpfs',
      '/tmp',
      'bb:1',
      'ls',
      '/volume/deep',
    ]);
    const source = join(folder, 'source');
    mkdirSync(join(source, 'dir'), { recursive: true });
    writeFileSync(join(source, 'dir/file'), 'copied');
    succeed(['cp', join(source, 'dir'), 'cold:/volume/deep']);
    assert.equal(readFileSync(join(data('cold'), 'dir/file'), 'utf8'), 'copied');
    assert.equal(succeed(['start', '-a', 'cold']), 'dir');
    const target = join(folder, 'target');
    succeed(['cp', 'cold:/bound/file', target]);
    assert.equal(readFileSync(target, 'utf8'), 'on the host');
    fail(['cp', target, 'cold:/bound/new'], /mounted volume is marked read-only/);
    succeed(['cp', 'cold:/volume/deep/dir/.', join(folder, 'deep')]);
    assert.equal(readFileSync(join(folder, 'deep/file'), 'utf8'), 'copied');
    assert.equal(succeed(['diff', 'cold']), '', 'mount points are not changes');
    assert.deepEqual(
      listMounts().filter(({ mountPoint }) => mountPoint.startsWith(folder) && /deep|bound/.test(mountPoint)),
      [],
    );
    succeed(['rm', 'cold']);
  });

  test('cp follows what Docker follows, streams tars, and keeps owners', () => {
    succeed([
      'run',
      '-d',
      '--name',
      'warm',
      '--network',
      'none',
      '-u',
      'app',
      '-v',
      'warm:/data',
      '--tmpfs',
      '/tmp',
      'bb:1',
      'sleep',
      '1000',
    ]);
    succeed([
      'exec',
      '-u',
      '0',
      'warm',
      'sh',
      '-c',
      'mkdir -p /srv/real; ln -s real /srv/link; ln -s /srv/link /srv/far; echo x > /srv/real/file',
    ]);
    const file = join(folder, 'a-file');
    writeFileSync(file, 'new');
    succeed(['cp', file, 'warm:/srv/far']);
    assert.equal(succeed(['exec', 'warm', 'cat', '/srv/real/a-file']), 'new', 'into the directory that symlinks lead to');
    succeed(['cp', file, 'warm:/tmp/in-tmpfs']);
    assert.equal(succeed(['exec', 'warm', 'cat', '/tmp/in-tmpfs']), 'new');
    succeed(['cp', '-a', file, 'warm:/data/owned']);
    assert.equal(succeed(['exec', 'warm', 'stat', '-c', '%u:%g', '/data/owned']), '1234:1235');
    succeed(['cp', 'warm:/srv/far/', join(folder, 'far')]);
    assert.deepEqual(readdirSync(join(folder, 'far')).sort(), ['a-file', 'file']);
    succeed(['cp', '-L', 'warm:/srv/link/file', join(folder, 'followed')]);
    const archive = spawnSync(docker ?? '', ['cp', 'warm:/srv', '-'], { env });
    assert.equal(archive.status, 0);
    const listing = spawnSync('tar', ['-t'], { input: archive.stdout, encoding: 'utf8' }).stdout.trim().split('\n').sort();
    assert.deepEqual(listing, ['srv/', 'srv/far', 'srv/link', 'srv/real/', 'srv/real/a-file', 'srv/real/file']);
    succeed(['exec', '-u', '0', 'warm', 'mkdir', '/srv/again']);
    succeed(['cp', '-', 'warm:/srv/again'], archive.stdout);
    assert.equal(succeed(['exec', 'warm', 'readlink', '/srv/again/srv/far']), '/srv/link');
    fail(['cp', 'warm:/none', folder], /Could not find the file \/none in container warm/);
    fail(['cp', folder, 'warm:/srv/real/file'], /cannot copy directory|cannot overwrite non-directory/);
    symlinkSync('/etc/passwd', join(folder, 'host-link'));
    succeed(['cp', join(folder, 'host-link'), 'warm:/srv/host-link']);
    assert.equal(succeed(['exec', 'warm', 'readlink', '/srv/host-link']), '/etc/passwd');
    succeed(['rm', '-f', 'warm']);
  });

  test('cp into a read-only root is refused, into its writable volume not, and is told of', async () => {
    succeed(['create', '--name', 'fixed', '--read-only', '-v', 'fixed:/data', 'bb:1', 'true']);
    const file = join(folder, 'a-file');
    fail(['cp', file, 'fixed:/root/'], /container rootfs is marked read-only/);
    succeed(['cp', file, 'fixed:/data/']);
    assert.ok(existsSync(join(data('fixed'), 'a-file')));
    succeed(['cp', 'fixed:/etc/passwd', join(folder, 'passwd')]);
    const filters = encodeURIComponent(JSON.stringify({ container: ['fixed'] }));
    const { text } = await call(here.socket, 'GET', `/v1.43/events?since=0&until=${Date.now() / 1000}&filters=${filters}`);
    const actions = text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
    assert.deepEqual(actions, ['create', 'extract-to-dir', 'archive-path']);
    succeed(['rm', 'fixed']);
  });

  test('sizes and reclaimed bytes are told', async () => {
    sh(['-v', 'large:/large'], 'dd if=/dev/zero of=/large/file bs=1024 count=2048 2>/dev/null');
    const usage = JSON.parse((await call(here.socket, 'GET', '/v1.43/system/df?type=volume')).text) as {
      Volumes: { Name: string; UsageData: { Size: number; RefCount: number } }[];
    };
    const found = usage.Volumes.find(({ Name }) => Name === 'large');
    assert.ok((found?.UsageData.Size ?? 0) >= 2 << 20, JSON.stringify(found));
    assert.equal(found?.UsageData.RefCount, 0);
    const pruned = JSON.parse((await call(here.socket, 'POST', '/v1.43/volumes/prune?filters={"all":["true"]}')).text) as {
      VolumesDeleted: string[];
      SpaceReclaimed: number;
    };
    assert.ok(pruned.VolumesDeleted.includes('large'));
    assert.ok(pruned.SpaceReclaimed >= 2 << 20, String(pruned.SpaceReclaimed));
    assert.deepEqual(volumeNames(), []);
    assert.deepEqual(readdirSync(join(here.root, 'volumes')), []);
  });

  function pidOf(name: string): number {
    const record = readdirSync(join(here.root, 'containers'))
      .map((id) => JSON.parse(readFileSync(join(here.root, 'containers', id, 'container.json'), 'utf8')))
      .find(({ record }) => record.name === name);
    return record.record.state.pid;
  }
});
