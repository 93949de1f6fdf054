import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { needsRegistry, startRegistry } from '../support/registry-server.ts';
import { againstDocker, buildx, Cli, type Client, compose2, Engine, newDocker, type Outcome, oldDocker, until } from './support.ts';

/** How each client is told to build over a session, and what it calls that. */
type Builder = { name: string; client: Client; build: string[]; plugins: boolean };

const builders: Builder[] = [
  { name: `${newDocker.name} with buildx`, client: newDocker, build: ['build', '--progress', 'plain'], plugins: true },
  { name: 'docker buildx build', client: newDocker, build: ['buildx', 'build', '--progress', 'plain'], plugins: true },
  { name: `${oldDocker.name} with its own BuildKit client`, client: oldDocker, build: ['build', '--progress', 'plain'], plugins: false },
];

const engine = new Engine();
const skip = newDocker.skip || oldDocker.skip || buildx.skip || compose2.skip || (againstDocker && 'a reference without these routes');

describe('builds over sessions', { skip }, () => {
  before(() => engine.start());
  after(() => engine.remove());

  for (const { name, client, build, plugins } of builders) {
    describe(name, () => {
      let cli: Cli;
      before(() => {
        cli = new Cli(client, engine);
        cli.env.DOCKER_BUILDKIT = '1';
        if (plugins) addPlugins(cli);
      });
      after(() => cli.remove());
      afterEach(() => cli.sweep());

      const log = (outcome: Outcome) => outcome.stdout + outcome.stderr;
      const built = (args: string[], options: Parameters<Cli['run']>[1] = {}) => {
        const outcome = cli.run([...build, ...args], options);
        assert.equal(outcome.status, 0, log(outcome));
        return log(outcome);
      };

      test('an image has what the Dockerfile says, and its steps are told', () => {
        const folder = cli.folder('image', {
          Dockerfile:
            'FROM bb:1\nARG WHO=nobody\nLABEL who=$WHO\nRUN echo "hello $WHO" | tee /greeting\nCOPY . /app\nCMD ["cat", "/greeting"]\n',
          '.dockerignore': '# comment\nsecret.txt\n*.tmp\n!keep.tmp\n',
          'secret.txt': 'no',
          'a.tmp': 'no',
          'keep.tmp': 'yes',
          'dir/file.txt': 'text',
        });
        const told = built(['--no-cache', '--build-arg', 'WHO=world', '--label', 'more=1', '-t', 'image:1', folder]);
        assert.match(told, /\[internal\] load build definition from Dockerfile/);
        assert.match(told, /RUN echo "hello \$WHO"/);
        assert.match(told, /hello world/);
        assert.match(told, /exporting to image/);
        assert.equal(cli.ok(['run', '--rm', 'image:1']), 'hello world');
        assert.equal(cli.show('image:1', '{{index .Config.Labels "who"}} {{index .Config.Labels "more"}}'), 'world 1');
        const files = cli.ok(['run', '--rm', 'image:1', 'sh', '-c', 'cd /app; find . -type f | sort']).split('\n');
        assert.deepEqual(files, ['./.dockerignore', './Dockerfile', './dir/file.txt', './keep.tmp']);
      });

      test('only what changed travels again', () => {
        const folder = cli.folder('changes', { Dockerfile: 'FROM scratch\nCOPY . /\n', 'small.txt': 'one\n' });
        writeFileSync(join(folder, 'large.bin'), Buffer.alloc(3_000_000, 7));
        assert.match(built(['-t', 'changes:1', folder]), /transferring context: 3\.00MB/);
        assert.match(built(['-t', 'changes:1', folder]), /CACHED/);
        writeFileSync(join(folder, 'small.txt'), 'other\n');
        const told = built(['-t', 'changes:2', folder]);
        assert.match(told, /transferring context: 6B/);
        assert.doesNotMatch(told, /MB/);
        assert.equal(read(cli, 'changes:2', 'small.txt'), 'other\n');
        assert.equal(read(cli, 'changes:2', 'large.bin').length, 3_000_000);
      });

      test('types, modes and links of files arrive as they are', () => {
        const folder = cli.folder('kinds', { Dockerfile: 'FROM bb:1\nCOPY . /in\n', 'run.sh': '#!/bin/sh\n', 'ünï/cödé.txt': 'x' });
        execFileSync('chmod', ['4751', join(folder, 'run.sh')]);
        execFileSync('ln', [join(folder, 'run.sh'), join(folder, 'same.sh')]);
        symlinkSync('run.sh', join(folder, 'link'));
        mkdirSync(join(folder, 'empty'), { mode: 0o700 });
        built(['-t', 'kinds:1', folder]);
        const shown = cli.ok([
          'run',
          '--rm',
          'kinds:1',
          'sh',
          '-c',
          'cd /in; stat -c "%n %A %U %h" run.sh same.sh empty; readlink link; cat ünï/cödé.txt',
        ]);
        assert.deepEqual(shown.split('\n'), [
          'run.sh -rwsr-x--x root 2',
          'same.sh -rwsr-x--x root 2',
          'empty drwx------ root 2',
          'run.sh',
          'x',
        ]);
      });

      test('a secret reaches its step and nothing else', () => {
        const folder = cli.folder('secret', {
          Dockerfile: 'FROM bb:1\nRUN --mount=type=secret,id=token,required=true rev /run/secrets/token\n',
        });
        const file = join(cli.folder('secrets', { token: 'abcdef' }), 'token');
        assert.match(built(['--no-cache', '--secret', `id=token,src=${file}`, '-t', 'secret:1', folder]), /fedcba/);
        assert.equal(cli.run(['run', '--rm', 'secret:1', 'cat', '/run/secrets/token']).status, 1);
        const without = cli.run([...build, '--no-cache', folder]);
        assert.notEqual(without.status, 0);
        assert.match(log(without), /token/);
      });

      test('a failing step and a wrong Dockerfile say where', () => {
        const folder = cli.folder('failing', { Dockerfile: 'FROM bb:1\nRUN echo before; exit 7\n', Wrong: 'FROM bb:1\nCOPPY a b\n' });
        const failed = cli.run([...build, folder]);
        assert.notEqual(failed.status, 0);
        assert.match(log(failed), /before/);
        assert.match(log(failed), /Dockerfile:2[\s\S]*exit code 7/);
        const wrong = cli.run([...build, '-f', join(folder, 'Wrong'), folder]);
        assert.notEqual(wrong.status, 0);
        assert.match(log(wrong), /Wrong:2:1: unknown instruction COPPY/);
        const missing = cli.run([...build, '-f', join(folder, 'Missing'), folder]);
        assert.notEqual(missing.status, 0);
      });

      test('the context may come through standard input, as a tar or as no more than a Dockerfile', () => {
        const folder = cli.folder('piped', { Dockerfile: 'FROM scratch\nCOPY f /\n', f: 'piped\n' });
        const tar = execFileSync('tar', ['-C', folder, '-c', '.']);
        built(['-t', 'piped:1', '-'], { input: tar });
        assert.equal(read(cli, 'piped:1', 'f'), 'piped\n');
        built(['-t', 'piped:2', '-'], { input: 'FROM bb:1\nENV FROM_STDIN=1\n' });
        assert.match(cli.show('piped:2', '{{.Config.Env}}'), /FROM_STDIN=1/);
        built(['-t', 'piped:3', '-f', '-', folder], { input: 'FROM scratch\nCOPY f /g\n' });
        assert.equal(read(cli, 'piped:3', 'g'), 'piped\n');
      });

      test('a result goes into a folder of the client', () => {
        const folder = cli.folder('local', { Dockerfile: 'FROM scratch\nCOPY d /d\n', 'd/one': '1', 'd/two/three': '3' });
        execFileSync('chmod', ['755', join(folder, 'd/one')]);
        const into = cli.folder('local-out');
        built(['-o', into, folder]);
        assert.deepEqual(readdirSync(join(into, 'd')).sort(), ['one', 'two']);
        assert.equal(readFileSync(join(into, 'd/two/three'), 'utf8'), '3');
        assert.equal(statSync(join(into, 'd/one')).mode & 0o777, 0o755);
        assert.equal(cli.ok(['images', '-q', '--filter', 'dangling=true']), '', 'no image stays of a build that asked for none');
      });

      test('-q prints the id, --iidfile keeps it', () => {
        const folder = cli.folder('quiet', { Dockerfile: 'FROM bb:1\nENV QUIET=1\n' });
        const quiet = [...build.filter((word) => word !== '--progress' && word !== 'plain'), '-q'];
        const id = cli.ok([...quiet, folder]);
        assert.match(id, /^sha256:[0-9a-f]{64}$/);
        const file = join(folder, 'iid');
        built(['--iidfile', file, folder]);
        assert.match(cli.show(readFileSync(file, 'utf8').trim(), '{{.Config.Env}}'), /QUIET=1/);
      });

      test('a client that is interrupted ends the step that it waits for', async () => {
        const mark = `31${Math.floor(Math.random() * 1e6)}`;
        const folder = cli.folder('interrupted', { Dockerfile: `FROM bb:1\nRUN echo up; sleep ${mark}\n` });
        const running = cli.start([...build, folder]);
        await until(() => (isRunning(mark) ? true : undefined), 'the step to run', 30_000);
        running.child.kill('SIGINT');
        assert.notEqual(await running.ended, 0);
        await until(() => (isRunning(mark) ? undefined : true), 'the step to end');
      });
    });
  }

  describe('docker buildx', () => {
    let cli: Cli;
    before(() => {
      cli = new Cli(newDocker, engine);
      addPlugins(cli);
    });
    after(() => cli.remove());
    afterEach(() => cli.sweep());

    test('outputs of every kind hold the same files', () => {
      const folder = cli.folder('outputs', { Dockerfile: 'FROM scratch\nCOPY f /\n', f: 'same\n' });
      const out = (type: string) => {
        const file = join(cli.home, `${type}.tar`);
        cli.ok(['buildx', 'build', '-t', 'outputs:1', '-o', `type=${type},dest=${file}`, folder]);
        return file;
      };
      assert.equal(execFileSync('tar', ['-xOf', out('tar'), 'f'], { encoding: 'utf8' }), 'same\n');
      for (const type of ['docker', 'oci']) {
        const file = out(type);
        cli.ok(['rmi', 'outputs:1']);
        cli.ok(['load', '-i', file]);
        assert.equal(read(cli, 'outputs:1', 'f'), 'same\n', type);
      }
    });

    test('named contexts are folders, images and results of other targets', () => {
      const folder = cli.folder('bake', {
        'docker-bake.hcl': `
group "default" { targets = ["app", "side"] }
target "base" {
  dockerfile-inline = "FROM bb:1\\nENV BASE=yes\\nRUN echo base > /base.txt"
}
target "app" {
  contexts = { base = "target:base", files = "./files", tools = "docker-image://bb:1" }
  dockerfile-inline = "FROM base\\nCOPY --from=files f.txt /\\nCOPY --from=tools /etc/passwd /p\\nRUN cat /base.txt /f.txt /p > /all.txt"
  tags = ["app:1"]
}
target "side" {
  dockerfile-inline = "FROM scratch\\nCOPY files/f.txt /"
  tags = ["side:1", "side:2"]
}
`,
        'files/f.txt': 'from a folder\n',
      });
      cli.ok(['buildx', 'bake', '--progress', 'plain'], { cwd: folder });
      assert.match(cli.ok(['run', '--rm', 'app:1', 'cat', '/all.txt']), /^base\nfrom a folder\nroot:/);
      assert.match(cli.show('app:1', '{{.Config.Env}}'), /BASE=yes/);
      assert.equal(cli.show('side:1', '{{.Id}}'), cli.show('side:2', '{{.Id}}'));
    });

    test('--push brings the image into a registry', needsRegistry, async (t) => {
      const registry = await startRegistry(t);
      const folder = cli.folder('pushed', { Dockerfile: 'FROM scratch\nCOPY f /\n', f: 'pushed\n' });
      const name = `${registry.address}/team/pushed:1`;
      cli.ok(['buildx', 'build', '--push', '-t', name, folder]);
      cli.ok(['rmi', name]);
      cli.ok(['pull', name]);
      assert.equal(read(cli, name, 'f'), 'pushed\n');
    });

    test('the builder says what it is, and what it keeps', () => {
      assert.match(cli.ok(['buildx', 'inspect']), /Driver: +docker[\s\S]*Status: +running[\s\S]*Platforms: +linux\//);
      assert.match(cli.ok(['buildx', 'ls']), /default[\s\S]*running/);
      assert.match(cli.ok(['buildx', 'du']), /Total/);
      cli.ok(['buildx', 'prune', '-f']);
    });

    test('a client that is killed ends the step that it waited for', async () => {
      const mark = `32${Math.floor(Math.random() * 1e6)}`;
      const folder = cli.folder('killed', { Dockerfile: `FROM bb:1\nRUN sleep ${mark}\n` });
      const plugin = new Cli({ ...buildx, path: buildx.path }, engine);
      const running = plugin.start(['build', folder]);
      await until(() => (isRunning(mark) ? true : undefined), 'the step to run', 30_000);
      await running.kill();
      await until(() => (isRunning(mark) ? undefined : true), 'the step to end');
      plugin.remove();
    });

    test('what a step says without end is clipped', async () => {
      const folder = cli.folder('loud', { Dockerfile: 'FROM bb:1\nRUN yes 0123456789abcdef | head -c 6000000; echo the end\n' });
      const running = cli.start(['buildx', 'build', '--no-cache', '--progress', 'plain', folder]);
      assert.equal(await running.ended, 0);
      const told = running.stdout + running.stderr;
      assert.match(told, /output clipped, log limit 2MiB reached/);
      // Each line has the step and the time before it.
      assert.ok(told.length < 8_000_000, `${told.length}`);
    });
  });

  test('docker compose builds its services over sessions', async () => {
    const cli = new Cli(compose2, engine);
    addPlugins(cli);
    cli.env.DOCKER_BUILDKIT = '1';
    try {
      const folder = cli.folder('project', {
        'compose.yaml': `
name: sessions
services:
  web: { build: { context: ., args: { WHO: web } }, image: "web:1", command: cat /who }
  job: { build: { context: ., target: job, dockerfile_inline: "FROM bb:1 AS job\\nRUN echo job > /who\\n" }, image: "job:1", command: cat /who }
`,
        Dockerfile: 'FROM bb:1\nARG WHO\nRUN echo $WHO > /who\nCOPY compose.yaml /\n',
      });
      cli.ok(['build'], { cwd: folder });
      assert.equal(cli.ok(['run', '--rm', 'web'], { cwd: folder }), 'web');
      assert.equal(cli.ok(['run', '--rm', 'job'], { cwd: folder }), 'job');
    } finally {
      await cli.sweep();
      cli.remove();
    }
  });
});

function addPlugins(cli: Cli): void {
  const folder = join(cli.folder('.docker'), 'cli-plugins');
  mkdirSync(folder, { recursive: true });
  symlinkSync(buildx.path, join(folder, 'docker-buildx'));
  symlinkSync(compose2.path, join(folder, 'docker-compose'));
}

/** A file of an image, which need not have a program in it. */
function read(cli: Cli, image: string, path: string): string {
  const name = `read-${Math.floor(Math.random() * 1e9)}`;
  cli.ok(['create', '--name', name, image, 'none']);
  const into = join(cli.home, name);
  cli.ok(['cp', `${name}:/${path}`, into]);
  cli.ok(['rm', name]);
  return readFileSync(into, 'utf8');
}

/** Whether `sleep MARK` runs on this host. */
function isRunning(mark: string): boolean {
  return readdirSync('/proc').some((pid) => /^\d+$/.test(pid) && commandLine(pid) === `sleep\0${mark}\0`);
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
