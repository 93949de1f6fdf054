import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { check, declare } from '../../src/kernel/libc.ts';
import { bindMount, listMounts, mount } from '../../src/kernel/mount.ts';
import { cannotRunDaemon, DaemonPlace } from './api-daemon-harness.ts';

const docker = findProgram('docker');
// Docker's own takes image mounts since 28 only.
const cli = join(import.meta.dirname, '../../src/cli/main.ts');
const skip = cannotRunDaemon || (docker === undefined && 'needs the docker command line');
const outside = 500_000;

/** Containers in user namespaces on real snapshots: whose the files are inside, on the host, in an image, in a volume and through docker cp. */
describe('files of containers in user namespaces', { skip, timeout: 120_000 }, () => {
  const here = new DaemonPlace();
  const env = { PATH: process.env.PATH ?? '', HOME: here.folder, DOCKER_HOST: `unix://${here.socket}`, DOCKER_BUILDKIT: '0' };

  function succeed(args: string[], input: string | Buffer = ''): string {
    const [program, ...first] = args.some((word) => word.startsWith('type=image')) ? [process.execPath, cli] : [docker ?? ''];
    const { status, stdout, stderr } = spawnSync(program ?? '', [...first, ...args], { env, input, timeout: 30_000 });
    assert.equal(status, 0, `docker ${args.join(' ')}: ${stderr.toString()}`);
    return stdout.toString().trim();
  }
  const sh = (args: string[], script: string) => succeed(['run', '--rm', '--network', 'none', ...args, 'bb:1', 'sh', '-c', script]);
  const owner = (path: string) => `${statSync(path).uid}:${statSync(path).gid}`;

  before(async () => {
    giveSubordinateIds(here.folder);
    spawnSync('chmod', ['711', here.folder]);
    await here.start('--userns-remap', 'root');
    succeed(['import', here.imageTar(), 'bb:1']);
  });
  after(() => here.remove());

  test("the image's files are root's inside, and what is written lies on disk with the image's ids", () => {
    assert.match(sh([], 'cat /proc/self/uid_map'), new RegExp(`^0 +${outside} +65536$`));
    assert.equal(sh(['--userns', 'host'], 'cat /proc/self/uid_map').split(/\s+/)[1], '0');
    const script =
      'stat -c %u:%g / /bin/busybox; echo x > /new; chown 1234:1235 /new; chmod 700 /data/seed; mkdir /made; stat -c %u:%g /new /data/seed /made';
    const id = succeed(['create', '--network', 'none', 'bb:1', 'sh', '-c', script]);
    assert.equal(succeed(['start', '-a', id]), '0:0\n0:0\n1234:1235\n0:0\n0:0');
    const upper = join(here.root, 'snapshots', id, 'upper');
    assert.deepEqual(
      [owner(upper), owner(join(upper, 'new')), owner(join(upper, 'data/seed')), owner(join(upper, 'made'))],
      ['0:0', '1234:1235', '0:0', '0:0'],
    );
    assert.deepEqual(succeed(['diff', id]).split('\n').sort(), ['A /made', 'A /new', 'C /data', 'C /data/seed']);
    succeed(['commit', id, 'committed:1']);
    succeed(['rm', id]);
    const seen = 'stat -c %u:%g /new /made /data/seed';
    for (const userns of [[], ['--userns', 'host']]) {
      assert.equal(succeed(['run', '--rm', '--network', 'none', ...userns, 'committed:1', 'sh', '-c', seen]), '1234:1235\n0:0\n0:0');
    }
  });

  test('a volume is filled for the root inside, and belongs to it', () => {
    assert.equal(sh(['-v', 'filled:/data'], 'stat -c %u:%g /data /data/seed; echo x > /data/new'), '0:0\n0:0');
    const data = succeed(['volume', 'inspect', '-f', '{{.Mountpoint}}', 'filled']);
    assert.deepEqual([owner(data), owner(join(data, 'seed')), owner(join(data, 'new'))], Array(3).fill(`${outside}:${outside}`));
    assert.equal(sh(['-v', 'bare:/nowhere/yet'], 'echo x > /nowhere/yet/file; stat -c %u /nowhere/yet/file'), '0');
    assert.equal(
      sh(['--mount', 'type=image,src=bb:1,dst=/image'], 'stat -c %u:%g /image/bin/busybox; cat /image/data/seed'),
      '0:0\nfrom the image',
    );
    const bound = join(here.folder, 'bound');
    mkdirSync(bound);
    assert.equal(
      sh(['-v', `${bound}:/bound`], 'stat -c %u /bound; touch /bound/x 2>/dev/null || echo refused'),
      '65534\nrefused',
      "a bind is the host's",
    );
  });

  test('docker cp tells and sets owners as inside, whether it runs or not', () => {
    const source = join(here.folder, 'source');
    mkdirSync(source);
    writeFileSync(join(source, 'file'), 'copied');
    const made = [
      '--network',
      'none',
      '-u',
      'app',
      '-v',
      'cp:/deep/volume',
      'bb:1',
      'sh',
      '-c',
      'stat -c %u:%g /deep/volume/source/file; exec sleep 1000',
    ];
    succeed(['create', '--name', 'copied', ...made]);
    for (const running of [false, true]) {
      if (running) succeed(['start', 'copied']);
      succeed(['cp', source, 'copied:/deep/volume']);
      succeed(['cp', source, 'copied:/home/app/']);
      succeed(['cp', '-a', join(source, 'file'), 'copied:/home/app/archive']);
      const tar = spawnSync(docker ?? '', ['cp', 'copied:/home/app', '-'], { env }).stdout;
      const lines = spawnSync('tar', ['--numeric-owner', '-tv'], { input: tar, encoding: 'utf8' }).stdout.trim().split('\n');
      const owners = lines.map((line) => line.split(/\s+/)[1]);
      assert.deepEqual(owners, ['0/0', '1234/1235', '0/0', '0/0'], lines.join('\n'));
    }
    assert.equal(succeed(['exec', 'copied', 'stat', '-c', '%u:%g', '/deep/volume/source/file', '/home/app/archive']), '0:0\n1234:1235');
    const { uid } = statSync(join(succeed(['volume', 'inspect', '-f', '{{.Mountpoint}}', 'cp']), 'source/file'));
    assert.equal(uid, outside);
    const changes = succeed(['diff', 'copied']).split('\n').sort();
    assert.deepEqual(changes, ['A /home/app/archive', 'A /home/app/source', 'A /home/app/source/file', 'C /home', 'C /home/app']);
    succeed(['rm', '-f', 'copied']);
  });

  test('nothing is left mounted for the maps', () => {
    assert.deepEqual(readdirSync(join(here.run, 'map')), []);
    assert.deepEqual(
      listMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${here.run}/map/`)),
      [],
    );
  });
});

/** In a mount name space of this process and its children, so that the host's own files stay as they are. */
function giveSubordinateIds(folder: string): void {
  const CLONE_NEWNS = 0x0002_0000;
  const [MS_REC, MS_PRIVATE] = [16_384, 1 << 18];
  check(declare('int unshare(int)')(CLONE_NEWNS), 'unshare');
  mount({ source: 'none', target: '/', type: 'none', flags: MS_REC | MS_PRIVATE });
  for (const name of ['subuid', 'subgid']) {
    writeFileSync(join(folder, name), `root:${outside}:65536\n`);
    bindMount(join(folder, name), `/etc/${name}`);
  }
}
