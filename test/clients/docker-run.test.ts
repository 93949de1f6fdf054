import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { Cli, Engine, newDocker, oldDocker, until } from './support.ts';

/** Running containers with the docker command lines that people have: what they print, and their exit statuses. */
describe('docker run and what follows', { timeout: 300_000, skip: newDocker.skip }, () => {
  const engine = new Engine();
  before(() => engine.start());
  after(() => engine.remove());

  for (const client of [oldDocker, newDocker]) {
    describe(client.name, { skip: client.skip }, () => {
      const docker = new Cli(client, engine);
      afterEach(() => docker.sweep());
      after(() => docker.remove());

      test('run gives output, errors, input and the exit status', () => {
        const both = docker.run(['run', '--rm', 'bb:1', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
        assert.deepEqual(both, { status: 3, stdout: 'out\n', stderr: 'err\n' });
        assert.equal(docker.ok(['run', '--rm', '-i', 'bb:1', 'wc', '-c'], { input: 'x'.repeat(200_000) }), '200000');
        assert.equal(docker.ok(['ps', '-aq']), '');
      });

      test('run passes the options that people use', () => {
        const options = ['-e', 'A=b', '-w', '/var', '-u', 'app', '-h', 'box', '--add-host', 'db:10.9.8.7', '--tmpfs', '/scratch:size=1m'];
        const seen = docker.ok([
          'run',
          '--rm',
          ...options,
          'bb:1',
          'sh',
          '-c',
          'echo $A $PWD $(id -u) $(hostname); grep db /etc/hosts; df -k /scratch',
        ]);
        assert.match(seen, /^b \/var 1234 box\n10\.9\.8\.7\s+db\n/);
        assert.match(seen, /tmpfs\s+1024\s/);
        const limits = [
          '--memory',
          '64m',
          '--cpus',
          '0.5',
          '--pids-limit',
          '50',
          '--ulimit',
          'nofile=100:200',
          '--shm-size',
          '2m',
          '--sysctl',
          'net.ipv4.ip_forward=0',
        ];
        const more = [
          '--cap-drop',
          'ALL',
          '--cap-add',
          'CHOWN',
          '--security-opt',
          'no-new-privileges',
          '--read-only',
          '--init',
          '--stop-signal',
          'INT',
          '--dns',
          '10.1.1.1',
        ];
        const id = docker.ok(['run', '-d', ...limits, ...more, '-l', 'a=b', 'bb:1', 'sleep', '1000']);
        assert.equal(docker.show(id, '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}'), '67108864 500000000 50');
        assert.equal(
          docker.ok(['exec', id, 'sh', '-c', 'ulimit -n; grep CapEff /proc/1/status; cat /etc/resolv.conf']).includes('0000000000000001'),
          true,
        );
        assert.equal(docker.run(['exec', id, 'touch', '/x']).status, 1);
        docker.ok(['rm', '-f', id]);
      });

      test('what cannot run ends with 125, 126 or 127 and says why', () => {
        docker.fails(['run', '--rm', 'bb:1', 'no-such-command'], 127, /executable file not found in \$PATH/);
        docker.fails(['run', '--rm', 'bb:1', '/etc/not-executable'], 126, /permission denied/i);
        docker.fails(['run', '--rm', '--pull', 'never', 'nope:1', 'true'], 125, /No such image: nope:1/);
        docker.fails(['run', '--rm', '--memory', '1m', 'bb:1', 'true'], 125, /Minimum memory limit allowed is [64]MB/);
        docker.fails(['run', '--rm', '-v', 'relative/path:/x', 'bb:1', 'true'], 125, /includes invalid characters for a local volume name/);
        docker.fails(['run', '--rm', '--network', 'nope', 'bb:1', 'true'], 125, /network nope not found/);
        docker.fails(
          ['run', '--rm', '-u', 'nobody-here', 'bb:1', 'true'],
          125,
          /unable to find user nobody-here: no matching entries in passwd file/,
        );
        docker.fails(
          ['create', '--name', 'bad/name', 'bb:1'],
          1,
          /Invalid container name \(bad\/name\), only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\] are allowed/,
        );
        assert.equal(docker.ok(['ps', '-aq', '--filter', 'status=running']), '');
        for (const id of docker.ok(['ps', '-aq']).split('\n').filter(Boolean)) docker.ok(['rm', id]);
      });

      test('a container is created, started, stopped, killed, restarted and removed', () => {
        const id = docker.ok(['create', '--name', 'life', 'bb:1', 'sh', '-c', 'trap "exit 9" TERM; echo up; while :; do sleep 0.05; done']);
        assert.match(id, /^[0-9a-f]{64}$/);
        docker.fails(
          ['create', '--name', 'life', 'bb:1'],
          1,
          new RegExp(`The container name "/life" is already in use by container "${id}"`),
        );
        assert.match(docker.ok(['ps', '-a', '--format', '{{.Names}}|{{.Status}}']), /^life\|Created$/);
        assert.equal(docker.ok(['start', 'life']), 'life');
        assert.equal(docker.show('life', '{{.State.Status}} {{.State.Running}}'), 'running true');
        docker.fails(['rm', 'life'], 1, /(You cannot remove a running container|cannot remove container .*: container is running)/);
        assert.equal(docker.ok(['stop', 'life']), 'life');
        assert.equal(docker.show('life', '{{.State.Status}} {{.State.ExitCode}}'), 'exited 9');
        assert.match(docker.ok(['ps', '-a', '--format', '{{.Status}}']), /^Exited \(9\) (Less than a|\d+) seconds? ago$/);
        assert.equal(docker.ok(['start', '-a', '--', 'life'].slice(0, 1).concat('life')), 'life');
        assert.equal(docker.ok(['restart', '-t', '1', 'life']), 'life');
        docker.ok(['kill', '-s', 'TERM', 'life']);
        assert.equal(docker.ok(['wait', 'life']), '9');
        docker.fails(
          ['kill', 'life'],
          1,
          /(Cannot kill container: life: Container [0-9a-f]{64} is not running|cannot kill container: life: container [0-9a-f]{64} is not running)/i,
        );
        assert.equal(docker.ok(['logs', 'life']), 'up\nup\nup');
        assert.equal(docker.ok(['rm', 'life']), 'life');
        docker.fails(['start', 'life'], 1, /No such container: life/);
        docker.fails(['rm', 'life'], 1, /No such container: life/i);
        assert.equal(docker.run(['rm', '-f', 'life']).stderr.includes('No such container: life'), true);
      });

      test('start -a shows the output and gives the status', () => {
        docker.ok(['create', '--name', 'again', 'bb:1', 'sh', '-c', 'echo once; exit 4']);
        const started = docker.run(['start', '-a', 'again']);
        assert.deepEqual({ status: started.status, stdout: started.stdout }, { status: 4, stdout: 'once\n' });
        docker.ok(['rm', 'again']);
      });

      test('ps lists with filters, formats, sizes and the last ones', () => {
        docker.ok(['run', '-d', '--name', 'p1', '-l', 'tier=front', '-p', '127.0.0.1:0:80/tcp', 'bb:1', 'sleep', '1000']);
        docker.ok(['run', '-d', '--name', 'p2', '-l', 'tier=back', 'bb:1', 'sleep', '1000']);
        docker.run(['run', '--name', 'p3', 'bb:1', 'sh', '-c', 'echo data > /f; exit 2']);
        const names = (...args: string[]) =>
          docker
            .ok(['ps', '--format', '{{.Names}}', ...args])
            .split('\n')
            .sort()
            .join(' ');
        assert.equal(names(), 'p1 p2');
        assert.equal(names('-a'), 'p1 p2 p3');
        assert.equal(names('-a', '-f', 'exited=2'), 'p3');
        assert.equal(names('-f', 'label=tier=front'), 'p1');
        assert.equal(names('-f', 'label=tier'), 'p1 p2');
        assert.equal(names('-f', 'name=^/p2$'), 'p2');
        assert.equal(names('-a', '-f', 'status=exited'), 'p3');
        assert.equal(names('-f', 'ancestor=bb:1'), 'p1 p2');
        assert.equal(names('-a', '-f', 'before=p3'), 'p1 p2');
        assert.equal(names('-a', '-f', 'since=p1'), 'p2 p3');
        assert.equal(names('-f', 'publish=80'), '');
        assert.equal(names('-f', 'expose=80'), 'p1');
        assert.equal(names('-f', 'network=bridge'), 'p1 p2');
        assert.equal(names('-l'), 'p3');
        assert.equal(names('-n', '2'), 'p2 p3');
        docker.fails(['ps', '-f', 'nonsense=1'], 1, /[Ii]nvalid filter '?nonsense'?/);
        docker.fails(['ps', '-f', 'status=nonsense'], 1, /nonsense/);
        assert.match(docker.ok(['ps', '-as', '--format', '{{.Names}} {{.Size}}']), /^p3 [\d.]+k?B \(virtual [\d.]+MB\)$/m);
        assert.match(docker.ok(['ps', '--format', '{{.Names}} {{.Ports}}']), /^p1 127\.0\.0\.1:\d+->80\/tcp$/m);
        assert.match(docker.ok(['port', 'p1']), /^80\/tcp -> 127\.0\.0\.1:\d+$/);
        assert.match(docker.ok(['port', 'p1', '80']), /^127\.0\.0\.1:\d+$/);
        docker.fails(['port', 'p2', '80'], 1, /No public port '80(\/tcp)?' published for p2/i);
        docker.ok(['rm', '-f', 'p1', 'p2', 'p3']);
      });

      test('inspect tells what was asked for and what came of it', () => {
        docker.ok([
          'run',
          '-d',
          '--name',
          'seen',
          '--restart',
          'on-failure:3',
          '-v',
          '/anon',
          '-v',
          'named:/data:ro',
          '--expose',
          '90',
          'bb:1',
          'sleep',
          '1000',
        ]);
        assert.equal(docker.show('seen', '{{.Name}} {{.Config.Image}} {{json .Config.Cmd}}'), '/seen bb:1 ["sleep","1000"]');
        assert.equal(
          docker.show('seen', '{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}'),
          'on-failure 3',
        );
        assert.equal(
          docker.show('seen', '{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}};{{end}}').split(';').sort().join(';'),
          ';volume /anon true;volume /data false',
        );
        assert.match(
          docker.show('seen', '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Networks.bridge.Gateway}}'),
          /^\d+\.\d+\.\d+\.\d+ \d+\.\d+\.\d+\.\d+$/,
        );
        assert.equal(docker.show('seen', '{{json .NetworkSettings.Ports}}'), '{"90/tcp":null}');
        assert.match(docker.show('seen', '{{.State.StartedAt}}'), /^20\d\d-\d\d-\d\dT/);
        assert.match(docker.ok(['inspect', '-s', '-f', '{{.SizeRw}} {{.SizeRootFs}}', 'seen']), /^\d+ \d{6,}$/);
        assert.equal(docker.ok(['inspect', '--type', 'image', '-f', '{{index .RepoTags 0}}', 'bb:1']), 'bb:1');
        docker.fails(['inspect', 'no-such-thing'], 1, /No such object: no-such-thing/i);
        docker.ok(['rm', '-fv', 'seen']);
        assert.equal(docker.ok(['volume', 'ls', '-q']), 'named');
        docker.ok(['volume', 'rm', 'named']);
      });

      test('logs are read whole, from the end, since a time, with times, and followed', async () => {
        docker.ok([
          'run',
          '-d',
          '--name',
          'talk',
          'bb:1',
          'sh',
          '-c',
          'for i in 1 2 3; do echo line $i; done; sleep 0.3; echo err >&2; sleep 0.3; echo late',
        ]);
        assert.equal(docker.ok(['logs', '-f', 'talk']), 'line 1\nline 2\nline 3\nlate');
        assert.deepEqual(docker.run(['logs', '-n', '2', 'talk']), { status: 0, stdout: 'late\n', stderr: 'err\n' });
        assert.match(docker.ok(['logs', '-t', '--tail', '1', 'talk']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z late$/);
        const late = docker.ok(['logs', '-t', '--tail', '1', 'talk']).split(' ')[0] ?? '';
        assert.equal(docker.run(['logs', '--since', late, 'talk']).stdout, 'late\n');
        assert.equal(
          docker.run(['logs', '--until', new Date(Date.parse(late) - 1).toISOString(), 'talk']).stdout,
          'line 1\nline 2\nline 3\n',
        );
        docker.ok(['rm', 'talk']);
        docker.fails(['logs', 'talk'], 1, /No such container: talk/);
      });

      test('attach shows and feeds a container; the detach keys leave it running', async () => {
        docker.ok(['run', '-dit', '--name', 'shell', 'bb:1', 'sh']);
        const terminal = docker.startOnTerminal(['attach', '--detach-keys', 'ctrl-x,x', 'shell']);
        terminal.type('echo $((40+2)); stty size\n');
        await terminal.shows(/\b42\r\n24 80/);
        terminal.type('\x18x');
        await terminal.ended;
        assert.equal(docker.show('shell', '{{.State.Running}}'), 'true');
        const again = docker.start(['attach', '--no-stdin', 'shell']);
        const other = docker.startOnTerminal(['attach', 'shell']);
        other.type('echo seen-$((1+1)); exit 6\n');
        assert.equal(await other.ended, 6);
        await again.shows(/seen-2/);
        assert.equal(await again.ended, 6);
        docker.fails(['attach', 'shell'], 1, /cannot attach to a stopped container/i);
        docker.ok(['rm', 'shell']);
      });

      test('attach passes signals on', async () => {
        docker.ok([
          'run',
          '-d',
          '--name',
          'sig',
          'bb:1',
          'sh',
          '-c',
          'trap "echo caught; exit 8" INT; echo ready; while :; do sleep 0.05; done',
        ]);
        const attached = docker.start(['attach', 'sig']);
        await until(() => docker.ok(['logs', 'sig']) === 'ready' || undefined, 'the container');
        await new Promise((resolve) => setTimeout(resolve, 300));
        attached.child.kill('SIGINT');
        assert.equal(await attached.ended, 8);
        assert.match(attached.stdout, /caught/);
        docker.ok(['rm', 'sig']);
      });

      test('run -it is a terminal that follows the size of the window', async () => {
        const resize = '(sleep 2; stty rows 40 cols 100 </dev/tty) &';
        const wait =
          'n=0; while [ "$(stty size 2>/dev/null)" != "24 80" ]; do sleep 0.05; done; echo first; while [ "$(stty size)" != "40 100" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done; stty size; exit 5';
        const terminal = docker.startOnTerminal(
          ['run', '--rm', '-it', '--name', 'tty', 'bb:1', 'sh', '-c', `test -t 0 && ${wait}`],
          resize,
        );
        assert.equal(await terminal.ended, 5);
        assert.match(terminal.stdout, /first\r\n40 100/);
        const keys = docker.startOnTerminal(['run', '-it', '--name', 'left', 'bb:1', 'sh']);
        await keys.shows(/[#$] /);
        keys.type('\x10\x11');
        await keys.ended;
        assert.equal(docker.show('left', '{{.State.Running}}'), 'true');
        docker.ok(['rm', '-f', 'left']);
      });

      test('exec runs beside, as another user, with variables, on a terminal, detached', async () => {
        docker.ok(['run', '-d', '--name', 'host', 'bb:1', 'sleep', '1000']);
        assert.deepEqual(docker.run(['exec', 'host', 'sh', '-c', 'echo o; echo e >&2; exit 7']), {
          status: 7,
          stdout: 'o\n',
          stderr: 'e\n',
        });
        assert.equal(
          docker.ok(['exec', '-u', 'app', '-w', '/www', '-e', 'X=1', 'host', 'sh', '-c', 'echo $(id -u) $PWD $X']),
          '1234 /www 1',
        );
        assert.equal(docker.ok(['exec', '-i', 'host', 'cat'], { input: 'fed' }), 'fed');
        assert.equal(docker.ok(['exec', '-d', 'host', 'touch', '/made']), '');
        await until(() => docker.run(['exec', 'host', 'test', '-f', '/made']).status === 0 || undefined, 'the detached command');
        docker.fails(['exec', 'host', 'no-such-command'], [126, 127], /executable file not found in \$PATH/);
        docker.fails(
          ['exec', '-w', '/no/such/folder', 'host', 'true'],
          [126, 127],
          /chdir to cwd \("\/no\/such\/folder"\).*no such (file or )?directory/,
        );
        docker.fails(['exec', '-u', 'nobody-here', 'host', 'true'], 126, /unable to find user nobody-here/);
        const terminal = docker.startOnTerminal(['exec', '-it', 'host', 'sh']);
        terminal.type('test -t 1 && stty size; exit 11\n');
        assert.equal(await terminal.ended, 11);
        assert.match(terminal.stdout, /24 80/);
        docker.ok(['pause', 'host']);
        docker.fails(['exec', 'host', 'true'], 1, /Container [0-9a-z]+ is paused, unpause the container before exec/i);
        docker.ok(['unpause', 'host']);
        docker.ok(['stop', '-t', '0', 'host']);
        docker.fails(['exec', 'host', 'true'], 1, /Container [0-9a-f]{64} is not running/i);
        docker.ok(['rm', 'host']);
      });

      test('--rm, --cidfile, --env-file and restart policies do what they say', async () => {
        const files = docker.folder('options', { 'vars.env': '# comment\nONE=1\nTWO=a b\n' });
        const cidfile = join(files, `cid-${Date.now()}`);
        assert.equal(
          docker.ok(['run', '--rm', '--cidfile', cidfile, '--env-file', join(files, 'vars.env'), 'bb:1', 'sh', '-c', 'echo $ONE $TWO']),
          '1 a b',
        );
        writeFileSync(join(files, 'count.sh'), '');
        docker.ok(['run', '-d', '--name', 'flap', '--restart', 'on-failure:2', 'bb:1', 'sh', '-c', 'echo try; exit 1']);
        await until(() => docker.show('flap', '{{.RestartCount}} {{.State.Status}}') === '2 exited' || undefined, 'two restarts');
        assert.equal(docker.ok(['logs', 'flap']), 'try\ntry\ntry');
        docker.ok(['rm', 'flap']);
        docker.fails(['run', '--rm', '--restart', 'always', 'bb:1', 'true'], 125, /onflicting options: .*--restart and --rm/);
      });
    });
  }
});
