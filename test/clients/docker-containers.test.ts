import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cli, Engine, newDocker, oldDocker, until } from './support.ts';

/** What the docker command lines do with containers that exist: copy, change, watch, wait. */
describe('docker on containers', { timeout: 300_000, skip: newDocker.skip }, () => {
  const engine = new Engine();
  before(() => engine.start());
  after(() => engine.remove());

  for (const client of [oldDocker, newDocker]) {
    describe(client.name, { skip: client.skip }, () => {
      const docker = new Cli(client, engine);
      afterEach(() => docker.sweep());
      after(() => docker.remove());

      const sleeper = (name: string, ...options: string[]) => docker.ok(['run', '-d', '--name', name, ...options, 'bb:1', 'sleep', '1000']);
      const inside = (name: string, line: string) => docker.ok(['exec', name, 'sh', '-c', line]);

      test('cp follows its rules for files, folders, links and streams', () => {
        sleeper('files');
        const source = docker.folder('source', { 'one.txt': 'one', 'sub/two.txt': 'two' });
        symlinkSync('one.txt', join(source, 'link'));
        docker.ok(['cp', join(source, 'one.txt'), 'files:/tmp']);
        docker.ok(['cp', join(source, 'one.txt'), 'files:/tmp/renamed.txt']);
        docker.ok(['cp', source, 'files:/tmp/made']);
        docker.ok(['cp', source, 'files:/tmp/made']);
        docker.ok(['cp', `${source}/.`, 'files:/var']);
        assert.equal(
          inside('files', 'cd /tmp; find . | sort | tr "\\n" " "; cat one.txt renamed.txt; readlink /var/link; stat -c %u /var/one.txt'),
          [
            '. ./made ./made/link ./made/one.txt ./made/source ./made/source/link ./made/source/one.txt ./made/source/sub',
            './made/source/sub/two.txt ./made/sub ./made/sub/two.txt ./one.txt ./renamed.txt oneoneone.txt\n0',
          ].join(' '),
        );
        const target = docker.folder('target');
        docker.ok(['cp', 'files:/tmp/made', target]);
        docker.ok(['cp', 'files:/tmp/made/sub/.', join(target, 'contents')]);
        docker.ok(['cp', 'files:/var/link', join(target, 'kept')]);
        docker.ok(['cp', '-L', 'files:/var/link', join(target, 'followed')]);
        assert.equal(
          readFileSync(join(target, 'made/sub/two.txt'), 'utf8') + readFileSync(join(target, 'contents/two.txt'), 'utf8'),
          'twotwo',
        );
        assert.equal(readlinkSync(join(target, 'kept')), 'one.txt');
        assert.ok(lstatSync(join(target, 'followed')).isFile());
        const listed = execFileSync('sh', ['-c', '"$0" cp files:/tmp/made - | tar t', docker.path], { env: docker.env, encoding: 'utf8' });
        assert.match(listed, /^made\/\nmade\/link\n/);
        const archive = join(docker.home, 'in.tar');
        execFileSync('tar', ['-C', source, '-cf', archive, 'sub']);
        docker.ok(['cp', '-', 'files:/root'], { input: readFileSync(archive) });
        assert.equal(inside('files', 'cat /root/sub/two.txt'), 'two');
        docker.fails(
          ['cp', 'files:/no/such', target],
          1,
          /(Could not find the file \/no\/such in container|No such container:path: files:\/no\/such)/,
        );
        docker.fails(['cp', join(source, 'one.txt'), 'files:/no/such/'], 1, /(no such directory|Could not find the file \/no\/such)/);
        docker.fails(['cp', source, 'files:/etc/passwd'], 1, /cannot copy directory/);
        docker.fails(['cp', join(source, 'one.txt'), 'nobody:/tmp/f'], 1, /No such container(:path)?: nobody/i);
      });

      test('cp works on stopped containers, into volumes, and not onto a read-only root', () => {
        const source = docker.folder('stopped', { f: 'content' });
        docker.ok(['create', '--name', 'still', '-v', '/vol', 'bb:1', 'cat', '/vol/f']);
        docker.ok(['cp', join(source, 'f'), 'still:/vol/f']);
        assert.equal(docker.ok(['start', '-a', 'still']), 'content');
        sleeper('locked', '--read-only');
        docker.fails(['cp', join(source, 'f'), 'locked:/f'], 1, /container rootfs is marked read-only/);
      });

      test('diff, commit, export and import carry changes on', () => {
        sleeper('changed');
        inside('changed', 'echo new > /tmp/new; rm /www/index.html; echo more >> /etc/group');
        assert.deepEqual(docker.ok(['diff', 'changed']).split('\n').sort(), [
          'A /tmp/new',
          'C /etc',
          'C /etc/group',
          'C /tmp',
          'C /www',
          'D /www/index.html',
        ]);
        const change = [
          '-c',
          'CMD ["cat", "/tmp/new"]',
          '-c',
          'ENV A=1',
          '-c',
          'EXPOSE 80',
          '-c',
          'LABEL k=v',
          '-c',
          'USER app',
          '-c',
          'WORKDIR /var',
        ];
        const id = docker.ok(['commit', '-a', 'me', '-m', 'why', ...change, 'changed', 'kept:1']);
        assert.match(id, /^sha256:/);
        assert.equal(docker.ok(['run', '--rm', 'kept:1']), 'new');
        assert.equal(
          docker.show('kept:1', '{{.Author}} {{.Comment}} {{.Config.User}} {{.Config.WorkingDir}} {{index .Config.Labels "k"}}'),
          'me why app /var v',
        );
        assert.match(docker.ok(['history', '--no-trunc', '--format', '{{.Comment}}', 'kept:1']), /^why$/m);
        const tar = join(docker.home, 'export.tar');
        docker.ok(['export', '-o', tar, 'changed']);
        assert.match(execFileSync('tar', ['tf', tar], { encoding: 'utf8' }), /^tmp\/new$/m);
        assert.match(docker.ok(['import', '-m', 'flat', '-c', 'CMD ["cat", "/tmp/new"]', tar, 'flat:1']), /^sha256:/);
        assert.equal(docker.ok(['run', '--rm', 'flat:1']), 'new');
        docker.ok(['rmi', 'kept:1', 'flat:1']);
      });

      test('top, stats, port, rename, pause, unpause and update', async () => {
        sleeper('busy', '-p', '127.0.0.1::80', '--memory', '64m');
        await until(
          () => /^UID +PID +PPID .*\n(.*\n)?.* sleep 1000$/.test(docker.ok(['top', 'busy'])) || undefined,
          'sleep beside its init',
        );
        assert.match(docker.ok(['top', 'busy', '-o', 'pid,comm']), /^PID +COMMAND\n(.*\n)?\d+ +sleep$/);
        const stats = docker.ok(['stats', '--no-stream', '--format', '{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}|{{.NetIO}}', 'busy']);
        assert.match(stats, /^busy\|\d+\.\d\d%\|[\d.]+[KMG]?i?B \/ 64MiB\|[12]\|[\d.]+k?B \/ [\d.]+k?B$/);
        assert.match(docker.ok(['stats', '--no-stream', '--all', '--format', '{{.Container}}']), /^[0-9a-f]{12}$/);
        docker.fails(['stats', '--no-stream', 'nobody'], 1, /No such container: nobody/);
        docker.ok(['rename', 'busy', 'busier']);
        docker.fails(['rename', 'nobody', 'x'], 1, /No such container: nobody/);
        sleeper('other');
        docker.fails(['rename', 'other', 'busier'], 1, /The container name "\/busier" is already in use/);
        docker.ok(['pause', 'busier']);
        assert.match(docker.ok(['ps', '--format', '{{.Status}}', '-f', 'name=busier']), /\(Paused\)$/);
        docker.fails(['pause', 'busier'], 1, /is already paused/);
        docker.ok(['unpause', 'busier']);
        docker.fails(['unpause', 'busier'], 1, /is not paused/);
        assert.equal(
          docker.ok([
            'update',
            '--memory',
            '96m',
            '--memory-swap',
            '192m',
            '--cpus',
            '0.25',
            '--pids-limit',
            '40',
            '--restart',
            'unless-stopped',
            'busier',
          ]),
          'busier',
        );
        assert.equal(
          docker.show(
            'busier',
            '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}',
          ),
          '100663296 250000000 40 unless-stopped',
        );
        assert.match(docker.ok(['stats', '--no-stream', '--format', '{{.MemUsage}}', 'busier']), /\/ 96MiB$/);
        docker.fails(['update', '--memory', '1m', 'busier'], 1, /Minimum memory limit allowed is 6MB/);
        docker.ok(['stop', '-t', '0', 'busier']);
        docker.fails(['top', 'busier'], 1, /Container [0-9a-f]{64} is not running/i);
      });

      test('stats streams until it is cut off', async () => {
        sleeper('watched');
        const stream = docker.start(['stats', '--format', '{{.Name}} {{.PIDs}}', 'watched']);
        await stream.shows(/watched [12][\s\S]*watched [12]/);
        await stream.kill();
      });

      test('wait tells the status at the end, of several', async () => {
        docker.ok(['run', '-d', '--name', 'w1', 'bb:1', 'sh', '-c', 'sleep 0.5; exit 3']);
        docker.ok(['run', '-d', '--name', 'w2', 'bb:1', 'sh', '-c', 'sleep 0.7; exit 4']);
        assert.equal(docker.ok(['wait', 'w1', 'w2']), '3\n4');
        assert.equal(docker.ok(['wait', 'w1']), '3');
        docker.fails(['wait', 'nobody'], 1, /No such container: nobody/);
      });

      test('a health check is watched and shown', async () => {
        const check = ['--health-cmd', 'test -f /ok', '--health-interval', '200ms', '--health-retries', '2', '--health-timeout', '5s'];
        docker.ok(['run', '-d', '--name', 'sick', ...check, 'bb:1', 'sleep', '1000']);
        assert.match(docker.ok(['ps', '--format', '{{.Status}}']), /\((health: starting|unhealthy)\)$/);
        await until(() => docker.show('sick', '{{.State.Health.Status}}') === 'unhealthy' || undefined, 'unhealthy');
        assert.equal(docker.show('sick', '{{(index .State.Health.Log 0).ExitCode}}'), '1');
        assert.match(docker.ok(['ps', '-f', 'health=unhealthy', '--format', '{{.Names}} {{.Status}}']), /^sick .*\(unhealthy\)$/);
        inside('sick', 'touch /ok');
        await until(
          () => docker.show('sick', '{{.State.Health.Status}} {{.State.Health.FailingStreak}}') === 'healthy 0' || undefined,
          'healthy',
        );
      });

      test('events are told as they happen and afterwards, and filtered', async () => {
        const since = String(Math.floor(Date.now() / 1000));
        const live = docker.start(['events', '--filter', 'type=container', '--format', '{{.Action}} {{.Actor.Attributes.name}}']);
        await new Promise((resolve) => setTimeout(resolve, 300));
        assert.equal(docker.run(['run', '--name', 'told', '-l', 'x=y', 'bb:1', 'sh', '-c', 'exit 3']).status, 3);
        docker.ok(['rm', 'told']);
        await live.shows(/destroy told/);
        await live.kill();
        assert.equal(live.stdout.replaceAll(' told', '').trim().split('\n').join(' '), 'create attach start die destroy');
        const until = String(Math.ceil(Date.now() / 1000));
        const past = (...filters: string[]) =>
          docker.ok([
            'events',
            '--since',
            since,
            '--until',
            until,
            ...filters.flatMap((filter) => ['-f', filter]),
            '--format',
            '{{.Type}} {{.Action}} {{.Actor.Attributes.exitCode}}',
          ]);
        assert.equal(past('container=told', 'event=die'), 'container die 3');
        assert.equal(past('label=x=y', 'event=die'), 'container die 3');
        assert.match(past('type=network'), /^network connect .*\nnetwork disconnect/m);
        assert.match(
          docker.ok(['events', '--since', since, '--until', until, '-f', 'image=bb:1']),
          /container die [0-9a-f]{64} \(.*exitCode=3, image=bb:1, name=told, x=y\)/,
        );
      });
    });
  }
});
