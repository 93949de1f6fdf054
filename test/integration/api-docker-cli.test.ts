import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { cannotRunDaemon, DaemonPlace } from './api-daemon-harness.ts';

const docker = findProgram('docker');
const script = findProgram('script') ?? 'script';
const skip = cannotRunDaemon || (docker === undefined && 'needs the docker command line');

/** The docker command line against the real daemon: what people type, and the statuses and streams that they see. */
describe('the docker command line', { skip, timeout: 120_000 }, () => {
  const here = new DaemonPlace();
  const env = { PATH: process.env.PATH ?? '', HOME: here.folder, DOCKER_HOST: `unix://${here.socket}`, DOCKER_BUILDKIT: '0' };

  function run(args: string[], input = '') {
    const { status, stdout, stderr } = spawnSync(docker ?? '', args, { env, input, encoding: 'utf8', timeout: 30_000 });
    return { status, stdout, stderr };
  }

  function succeed(args: string[], input = ''): string {
    const result = run(args, input);
    assert.equal(result.status, 0, `docker ${args.join(' ')}: ${result.stderr}`);
    return result.stdout.trim();
  }

  before(async () => {
    await here.start();
    assert.match(succeed(['import', here.imageTar(), 'bb:1']), /^sha256:[0-9a-f]{64}$/);
  });
  after(() => here.remove());

  test('run passes output, input and exit status through', () => {
    const result = run(['run', '--rm', '--network', 'none', 'bb:1', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
    assert.deepEqual(result, { status: 3, stdout: 'out\n', stderr: 'err\n' });
    assert.equal(succeed(['run', '--rm', '-i', '--network', 'none', 'bb:1', 'cat'], 'some\ninput'), 'some\ninput');
    assert.equal(
      succeed(['run', '--rm', '--network', 'none', '-e', 'A=b', '-w', '/tmp', '-u', 'app', 'bb:1', 'sh', '-c', 'echo $A $PWD $(id -u)']),
      'b /tmp 1234',
    );
  });

  test('what cannot run says why, with the status of Docker', () => {
    const missing = run(['run', '--rm', '--network', 'none', 'bb:1', 'nope']);
    assert.equal(missing.status, 127);
    assert.match(missing.stderr, /Error response from daemon: .*"nope": executable file not found/);
    assert.doesNotMatch(missing.stderr, /\{"message"/);
    assert.equal(run(['run', '--rm', '--network', 'none', 'bb:1', '/etc/not-executable']).status, 126);
    const image = run(['run', '--rm', 'nope:1', 'true']);
    assert.equal(image.status, 125);
    assert.match(image.stderr, /Unable to find image 'nope:1' locally/);
    assert.equal(run(['inspect', 'nope']).status, 1);
  });

  test('a container lives through start, exec, logs, pause, rename, stop and rm', () => {
    succeed(['run', '-d', '--name', 'web', '-l', 'tier=front', '--network', 'none', 'bb:1', 'sh', '-c', 'echo ready; exec sleep 1000']);
    assert.equal(succeed(['ps', '--format', '{{.Names}} {{.State}}', '--filter', 'label=tier=front']), 'web running');
    assert.equal(succeed(['exec', 'web', 'sh', '-c', 'echo $HOSTNAME | wc -c']), '13');
    assert.equal(run(['exec', 'web', 'sh', '-c', 'exit 7']).status, 7);
    const missing = run(['exec', 'web', 'nope']);
    assert.equal(missing.status, 127);
    assert.match(missing.stdout, /"nope": executable file not found/);
    assert.equal(run(['exec', '-u', 'nobody-here', 'web', 'true']).status, 126);
    assert.equal(succeed(['exec', '-i', 'web', 'cat'], 'piped'), 'piped');
    assert.match(succeed(['logs', '-t', 'web']), /^\d{4}-\d\d-\d\dT[\d:.]+Z ready$/);
    assert.match(succeed(['top', 'web']), /sleep 1000/);
    succeed(['pause', 'web']);
    assert.equal(succeed(['inspect', '-f', '{{.State.Status}}', 'web']), 'paused');
    succeed(['unpause', 'web']);
    succeed(['rename', 'web', 'site']);
    succeed(['stop', '-t', '0', 'site']);
    assert.equal(succeed(['ps', '-a', '--format', '{{.Names}} {{.State}}', '--filter', 'name=site']), 'site exited');
    succeed(['rm', 'site']);
    assert.equal(succeed(['ps', '-aq']), '');
  });

  test('wait, kill and attach see the same end', async () => {
    succeed(['run', '-d', '-i', '--name', 'waiter', '--network', 'none', 'bb:1', 'sh', '-c', 'read line; echo got $line; sleep 1000']);
    const attached = spawn(docker ?? '', ['attach', 'waiter'], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    let output = '';
    attached.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    attached.stdin.write('hello\n');
    while (!output.includes('got hello')) await new Promise((resolve) => setTimeout(resolve, 10));
    const waiting = spawn(docker ?? '', ['wait', 'waiter'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let status = '';
    waiting.stdout.setEncoding('utf8').on('data', (text: string) => {
      status += text;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    succeed(['kill', '-s', 'KILL', 'waiter']);
    const code = await new Promise((resolve) => attached.on('close', resolve));
    await new Promise((resolve) => (waiting.exitCode === null ? waiting.on('close', resolve) : resolve(0)));
    assert.equal(status.trim(), '137');
    assert.equal(code, 137);
    succeed(['rm', '-f', 'waiter']);
  });

  test('a terminal is one, and has its size', () => {
    const tty = spawnSync(
      script,
      ['-qec', `${docker} run --rm -it --network none bb:1 sh -c 'test -t 0 && echo terminal; stty size'`, '/dev/null'],
      {
        env: { ...env, COLUMNS: '80', LINES: '24' },
        encoding: 'utf8',
        timeout: 30_000,
      },
    );
    assert.match(tty.stdout, /terminal/);
  });

  test('files go in and out, changes are told, and a commit keeps them', () => {
    succeed(['run', '-d', '--name', 'files', '--network', 'none', 'bb:1', 'sleep', '1000']);
    const source = join(here.folder, 'hello.txt');
    const target = join(here.folder, 'back.txt');
    writeFileSync(source, 'hello');
    succeed(['cp', source, 'files:/tmp/hello.txt']);
    succeed(['cp', 'files:/tmp/hello.txt', target]);
    assert.equal(readFileSync(target, 'utf8'), 'hello');
    assert.equal(succeed(['diff', 'files']), 'C /tmp\nA /tmp/hello.txt');
    assert.match(run(['cp', 'files:/nope', target]).stderr, /Could not find the file \/nope/);
    succeed(['commit', '-c', 'CMD ["cat", "/tmp/hello.txt"]', 'files', 'committed:1']);
    assert.equal(succeed(['run', '--rm', '--network', 'none', 'committed:1']), 'hello');
    const listing = spawnSync('sh', ['-c', `${docker} export files | tar t`], { env, encoding: 'utf8' }).stdout;
    assert.match(listing, /^tmp\/hello\.txt$/m);
    succeed(['rm', '-f', 'files']);
    succeed(['rmi', 'committed:1']);
  });

  test('build streams its steps, tags, and fails with the step named', () => {
    const context = join(here.folder, 'context');
    mkdirSync(context);
    writeFileSync(join(context, 'message'), 'built');
    writeFileSync(
      join(context, 'Dockerfile'),
      'FROM bb:1\nARG WHO=nobody\nRUN --network=none echo building for $WHO\nCOPY message /\nCMD ["cat", "/message"]\n',
    );
    const output = succeed(['build', '-t', 'built:1', '--build-arg', 'WHO=me', context]);
    assert.match(output, /building for me/);
    assert.match(output, /Successfully tagged built:1/);
    assert.equal(succeed(['run', '--rm', '--network', 'none', 'built:1']), 'built');
    assert.match(succeed(['build', '-q', '--build-arg', 'WHO=me', context]), /^sha256:[0-9a-f]{64}$/);
    writeFileSync(join(context, 'Dockerfile'), 'FROM bb:1\nRUN --network=none exit 4\n');
    const failed = run(['build', context]);
    assert.notEqual(failed.status, 0);
    assert.match(failed.stderr, /Dockerfile:2:1: .*exit 4/);
  });

  test('images are listed, tagged, saved, removed and loaded', () => {
    const archive = join(here.folder, 'saved.tar');
    succeed(['tag', 'bb:1', 'example.com/team/bb:2']);
    assert.equal(succeed(['images', '--format', '{{.Repository}}:{{.Tag}}', 'example.com/team/bb']), 'example.com/team/bb:2');
    succeed(['save', '-o', archive, 'example.com/team/bb:2']);
    assert.match(succeed(['rmi', 'example.com/team/bb:2']), /^Untagged: example\.com\/team\/bb:2$/);
    assert.match(succeed(['load', '-i', archive]), /Loaded image: example\.com\/team\/bb:2/);
    assert.match(succeed(['history', '--format', '{{.ID}}', 'bb:1']), /^[0-9a-f]{12}/);
    assert.equal(succeed(['image', 'inspect', '-f', '{{.Os}}', 'example.com/team/bb:2']), 'linux');
    succeed(['rmi', 'example.com/team/bb:2']);
  });

  test('volumes and networks are made, used, listed and removed', () => {
    succeed(['volume', 'create', 'data']);
    succeed(['run', '--rm', '--network', 'none', '-v', 'data:/v', 'bb:1', 'sh', '-c', 'echo kept > /v/f']);
    assert.equal(succeed(['run', '--rm', '--network', 'none', '-v', 'data:/v:ro', 'bb:1', 'cat', '/v/f']), 'kept');
    assert.equal(succeed(['volume', 'ls', '-q']), 'data');
    succeed(['volume', 'rm', 'data']);
    succeed(['network', 'create', 'backend']);
    assert.match(succeed(['network', 'ls', '--format', '{{.Name}}']), /^backend$/m);
    assert.match(succeed(['network', 'inspect', '-f', '{{(index .IPAM.Config 0).Subnet}}', 'backend']), /^\d+\.\d+\.\d+\.\d+\/\d+$/);
    succeed(['network', 'rm', 'backend']);
    assert.equal(run(['network', 'rm', 'bridge']).status, 1);
  });

  test('events tell what happened, with names and filters', () => {
    succeed(['run', '--rm', '--name', 'told', '--network', 'none', 'bb:1', 'true']);
    // The command line sends whole seconds.
    const until = String(Math.ceil(Date.now() / 1000));
    const actions = succeed(['events', '--since', '10m', '--until', until, '--filter', 'container=told', '--format', '{{.Action}}']).split(
      '\n',
    );
    for (const action of ['create', 'attach', 'start', 'die', 'destroy'])
      assert.ok(actions.includes(action), `${action} is not in ${actions}`);
  });

  test('info, version and df are readable', () => {
    assert.match(succeed(['version', '--format', '{{.Server.Version}}']), /^\d/);
    assert.equal(succeed(['info', '--format', '{{.OSType}} {{.Swarm.LocalNodeState}}']), 'linux inactive');
    succeed(['system', 'df']);
    assert.match(run(['service', 'ls']).stderr, /This node is not a swarm manager/);
  });
});
