import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { againstDocker, Cli, Engine, newDocker, oldDocker, until } from './support.ts';

/** Images, builds, volumes, networks and the system as the docker command lines show and change them. */
describe('docker on images, volumes, networks and the system', { timeout: 300_000, skip: newDocker.skip }, () => {
  const engine = new Engine();
  before(() => engine.start());
  after(() => engine.remove());

  for (const client of [oldDocker, newDocker]) {
    describe(client.name, { skip: client.skip }, () => {
      const docker = new Cli(client, engine);
      afterEach(() => docker.sweep());
      after(() => docker.remove());

      test('images are tagged, listed, inspected, saved, removed and loaded', () => {
        docker.ok(['tag', 'bb:1', 'example.com/team/app:1.0']);
        docker.ok(['image', 'tag', 'bb:1', 'app']);
        const rows = docker.ok(['images', '--format', '{{.Repository}} {{.Tag}} {{.ID}}']).split('\n').sort();
        assert.deepEqual(
          rows.map((row) => row.split(' ').slice(0, 2).join(':')),
          ['app:latest', 'bb:1', 'example.com/team/app:1.0'],
        );
        assert.equal(new Set(rows.map((row) => row.split(' ')[2])).size, 1);
        assert.equal(docker.ok(['images', '-q', 'app']), rows[0]?.split(' ')[2]);
        assert.equal(docker.ok(['images', '--format', '{{.Tag}}', '-f', 'reference=example.com/*/app']), '1.0');
        assert.match(docker.ok(['images', '--digests', '--no-trunc', 'bb']), /bb +1 +(<none>|sha256:[0-9a-f]{64}) +sha256:[0-9a-f]{64}/);
        assert.match(
          docker.ok(['image', 'inspect', '-f', '{{.Architecture}} {{.Os}} {{len .RootFS.Layers}} {{len .RepoTags}}', 'app']),
          /^(amd64|arm64) linux \d+ 3$/,
        );
        const tar = join(docker.home, 'saved.tar');
        docker.ok(['save', '-o', tar, 'app', 'example.com/team/app:1.0']);
        assert.match(execFileSync('tar', ['tf', tar], { encoding: 'utf8' }), /^manifest\.json$/m);
        assert.equal(docker.ok(['rmi', 'app', 'example.com/team/app:1.0']), 'Untagged: app:latest\nUntagged: example.com/team/app:1.0');
        assert.deepEqual(docker.ok(['load', '-i', tar]).split('\n').sort(), [
          'Loaded image: app:latest',
          'Loaded image: example.com/team/app:1.0',
        ]);
        docker.ok(['rmi', 'app', 'example.com/team/app:1.0']);
        assert.match(docker.ok(['load'], { input: readFileSync(tar) }), /Loaded image: app:latest/);
        docker.fails(['load'], 1, /(unexpected EOF|invalid|archive|tar|requested load from stdin, but stdin is empty)/i, {
          input: 'not a tar at all',
        });
        docker.ok(['run', '-d', '--name', 'user', 'app', 'sleep', '1000']);
        docker.ok(['rmi', 'app']);
        docker.fails(['rmi', 'no/such:1'], 1, /No such image: no\/such:1/);
        docker.fails(['tag', 'no/such:1', 'x'], 1, /No such image: no\/such:1/);
        docker.fails(['tag', 'bb:1', 'UPPERcase'], 1, /invalid reference format: repository name .*must be lowercase/);
        docker.ok(['rm', '-f', 'user']);
        docker.ok(['rmi', 'example.com/team/app:1.0']);
      });

      test('an image in use is not removed', () => {
        docker.ok(['run', '-d', '--name', 'own', 'bb:1', 'sh', '-c', 'echo x > /x; sleep 1000']);
        docker.ok(['commit', 'own', 'used:1']);
        const id = docker.ok(['create', '--name', 'holds', 'used:1', 'true']);
        docker.fails(
          ['rmi', 'used:1'],
          1,
          new RegExp(
            `conflict: unable to remove repository reference "used:1" \\(must force\\) - container ${id.slice(0, 12)} is using its referenced image [0-9a-f]{12}`,
          ),
        );
        const image = docker.ok(['images', '-q', 'used:1']);
        docker.fails(
          ['rmi', image],
          1,
          /conflict: unable to delete [0-9a-f]{12} \(must be forced\) - image is being used by stopped container [0-9a-f]{12}/,
        );
        docker.ok(['start', 'holds']);
        docker.ok(['rm', 'holds', '-f']);
        assert.match(docker.ok(['rmi', 'used:1']), /^Untagged: used:1\nDeleted: sha256:[0-9a-f]{64}/);
        docker.ok(['rm', '-f', 'own']);
      });

      test('pull, push, login and search fail with words when there is no registry', () => {
        docker.fails(['pull', '127.0.0.1:9/nothing:1'], 1, /connect: connection refused|cannot|registr|not implemented/i);
        docker.fails(['push', '127.0.0.1:9/nothing:1'], 1, /does not exist|not implemented|No such image/i);
        docker.fails(['login', '-u', 'me', '-p', 'secret', '127.0.0.1:9'], 1, /connection refused|not implemented|registr/i);
        assert.ok(
          !existsSync(join(docker.home, '.docker/config.json')) ||
            !readFileSync(join(docker.home, '.docker/config.json'), 'utf8').includes('127.0.0.1:9"'),
        );
      });

      test('build streams its steps, tags, uses arguments, targets and the cache, and fails with words', () => {
        const context = docker.folder('context', {
          Dockerfile: [
            'FROM bb:1 AS base',
            'ARG WHO=nobody',
            'RUN echo hello $WHO > /greeting',
            'COPY data /data/',
            'FROM base AS tool',
            'LABEL kind=tool',
            'FROM base',
            'COPY --from=tool /greeting /copied',
            'HEALTHCHECK --interval=1s CMD true',
            'CMD ["cat", "/greeting"]',
            '',
          ].join('\n'),
          'data/kept': 'kept',
          'data/ignored': 'ignored',
          '.dockerignore': 'data/ignored\n',
        });
        const out = docker.ok(['build', '-t', 'built:1', '-t', 'built:also', '--build-arg', 'WHO=me', '--label', 'l=m', context]);
        assert.match(out, /FROM bb:1/);
        assert.match(out, /Successfully built [0-9a-f]{12}\nSuccessfully tagged built:1\nSuccessfully tagged built:also$/);
        assert.equal(docker.ok(['run', '--rm', 'built:1']), 'hello me');
        assert.equal(docker.ok(['run', '--rm', 'built:1', 'ls', '/data', '/copied']).replaceAll('\n', ' '), '/copied  /data: kept');
        assert.equal(docker.show('built:1', '{{index .Config.Labels "l"}} {{.Config.Healthcheck.Interval}}'), 'm 1s');
        const again = docker.ok(['build', '--build-arg', 'WHO=me', '--label', 'l=m', context]);
        assert.match(again, /Using cache/);
        assert.match(docker.ok(['build', '-q', '--target', 'tool', context]), /^sha256:[0-9a-f]{64}$/);
        assert.match(docker.ok(['build', '-'], { input: 'FROM bb:1\nRUN echo from stdin\n' }), /Successfully built/);
        const iid = join(docker.home, 'iid');
        docker.ok(['build', '--iidfile', iid, '-f', join(context, 'Dockerfile'), context]);
        assert.match(readFileSync(iid, 'utf8'), /^sha256:[0-9a-f]{64}$/);
        writeFileSync(join(context, 'Bad'), 'FROM bb:1\nRUN exit 4\n');
        docker.fails(
          ['build', '-f', join(context, 'Bad'), context],
          4,
          /exit 4.*(returned a non-zero code: 4|exit(ed with)?( status| code)?:? 4)/,
        );
        writeFileSync(join(context, 'Worse'), 'FROM bb:1\nNONSENSE x\n');
        docker.fails(['build', '-f', join(context, 'Worse'), context], 1, /unknown instruction:? NONSENSE/);
        writeFileSync(join(context, 'Missing'), 'FROM bb:1\nCOPY nowhere /x\n');
        docker.fails(['build', '-f', join(context, 'Missing'), context], 1, /nowhere/);
        docker.ok(['rmi', 'built:1', 'built:also']);
      });

      test('volumes are made, used, listed, inspected, kept while used, and pruned', () => {
        assert.equal(docker.ok(['volume', 'create', '--label', 'k=v', 'data']), 'data');
        assert.match(docker.ok(['volume', 'create']), /^[0-9a-f]{64}$/);
        assert.equal(docker.ok(['volume', 'create', 'data']), 'data');
        docker.ok(['run', '--rm', '-v', 'data:/d', 'bb:1', 'sh', '-c', 'echo kept > /d/f']);
        docker.ok(['run', '-d', '--name', 'user', '--mount', 'type=volume,src=data,dst=/d,readonly', 'bb:1', 'sleep', '1000']);
        assert.equal(docker.ok(['exec', 'user', 'cat', '/d/f']), 'kept');
        assert.equal(docker.run(['exec', 'user', 'touch', '/d/g']).status, 1);
        assert.equal(docker.ok(['run', '--rm', '--volumes-from', 'user', 'bb:1', 'cat', '/d/f']), 'kept');
        assert.equal(docker.ok(['volume', 'ls', '-q', '-f', 'label=k=v']), 'data');
        assert.equal(docker.ok(['volume', 'ls', '-q', '-f', 'name=dat', '-f', 'dangling=false']), 'data');
        assert.equal(
          docker.ok(['volume', 'inspect', '-f', '{{.Name}} {{.Driver}} {{.Scope}} {{index .Labels "k"}}', 'data']),
          'data local local v',
        );
        assert.ok(statSync(docker.ok(['volume', 'inspect', '-f', '{{.Mountpoint}}', 'data'])).isDirectory());
        docker.fails(['volume', 'rm', 'data'], 1, /remove data: volume is in use - \[[0-9a-f]{64}\]/);
        docker.fails(['volume', 'inspect', 'nothing'], 1, /no such volume/i);
        docker.fails(['volume', 'create', 'bad/name'], 1, /"bad\/name" includes invalid characters for a local volume name/);
        docker.ok(['rm', '-f', 'user']);
        assert.match(
          docker.ok(['volume', 'prune', '-f', ...(client === newDocker && !againstDocker ? ['-a'] : [])]),
          /Deleted Volumes:\n[\s\S]*Total reclaimed space: /,
        );
        docker.run(['volume', 'rm', 'data']);
        assert.equal(docker.ok(['volume', 'ls', '-q', '-f', 'name=data']), '');
      });

      test('what an image has under a volume is copied into it once', () => {
        docker.ok(['run', '--rm', '-v', 'seeded:/www', 'bb:1', 'cat', '/www/index.html']);
        docker.ok(['run', '--rm', '-v', 'seeded:/www', 'bb:1', 'mv', '/www/index.html', '/www/mine']);
        assert.equal(docker.ok(['run', '--rm', '-v', 'seeded:/www', 'bb:1', 'ls', '/www']), 'mine');
        docker.ok(['volume', 'rm', 'seeded']);
      });

      test('networks join containers by name and alias, live', () => {
        // Another run of this test on the host must not have the same one.
        const net = `10.231.${process.pid % 250}`;
        docker.ok(['network', 'create', '--subnet', `${net}.0/24`, '--gateway', `${net}.254`, '--label', 'k=v', 'back']);
        assert.equal(docker.ok(['network', 'ls', '--format', '{{.Name}} {{.Driver}} {{.Scope}}', '-f', 'label=k=v']), 'back bridge local');
        assert.equal(
          docker.ok([
            'network',
            'inspect',
            '-f',
            '{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}} {{.Internal}}',
            'back',
          ]),
          `${net}.0/24 ${net}.254 false`,
        );
        docker.ok([
          'run',
          '-d',
          '--name',
          'server',
          '--network',
          'back',
          '--network-alias',
          'www',
          '--ip',
          `${net}.40`,
          'bb:1',
          'httpd',
          '-f',
          '-h',
          '/www',
        ]);
        const get = (host: string) => ['run', '--rm', '--network', 'back', 'bb:1', 'wget', '-qO-', `http://${host}/`];
        assert.equal(docker.ok(get('server')), 'hello from the web');
        assert.equal(docker.ok(get('www')), 'hello from the web');
        assert.equal(docker.ok(get(`${net}.40`)), 'hello from the web');
        docker.ok(['run', '-d', '--name', 'late', 'bb:1', 'sleep', '1000']);
        assert.notEqual(docker.run(['exec', 'late', 'wget', '-T', '2', '-qO-', 'http://server/']).status, 0);
        docker.ok(['network', 'connect', '--alias', 'tardy', 'back', 'late']);
        assert.equal(docker.ok(['exec', 'late', 'wget', '-qO-', 'http://server/']), 'hello from the web');
        assert.equal(docker.ok(['exec', 'server', 'ping', '-c', '1', '-W', '2', 'tardy']).includes('1 packets received'), true);
        assert.match(
          docker.show('late', '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}'),
          /^back=10\.231\.\d+\.\d+ bridge=\d+\.\d+\.\d+\.\d+/,
        );
        assert.match(
          docker.ok(['network', 'inspect', '-f', '{{range .Containers}}{{.Name}} {{.IPv4Address}};{{end}}', 'back']),
          /server 10\.231\.\d+\.40\/24;/,
        );
        docker.fails(['network', 'rm', 'back'], 1, /has active endpoints/);
        docker.fails(['network', 'create', 'back'], 1, /network with name back already exists/);
        docker.fails(['network', 'create', '--subnet', `${net}.0/25`, 'other'], 1, /Pool overlaps with other one on this address space/i);
        docker.fails(['network', 'rm', 'bridge'], 1, /bridge is a pre-defined network and cannot be removed/);
        docker.fails(['network', 'inspect', 'nothing'], 1, /(No such network: nothing|network nothing not found)/i);
        docker.fails(['network', 'connect', 'nothing', 'late'], 1, /network nothing not found/i);
        docker.ok(['network', 'disconnect', 'back', 'late']);
        assert.notEqual(docker.run(['exec', 'late', 'wget', '-T', '2', '-qO-', 'http://server/']).status, 0);
        docker.ok(['rm', '-f', 'server', 'late']);
        docker.ok(['network', 'create', '--internal', 'spare']);
        assert.match(docker.ok(['network', 'prune', '-f']), /Deleted Networks:\n(back\nspare|spare\nback)/);
      });

      test('published ports reach the container; one in use is refused', async () => {
        docker.ok(['run', '-d', '--name', 'web', '-p', '127.0.0.1::80', '-p', '127.0.0.1:0:81/udp', 'bb:1', 'httpd', '-f', '-h', '/www']);
        const address = docker.ok(['port', 'web', '80/tcp']);
        const text = async () => (await fetch(`http://${address}/`)).text();
        assert.equal(await until(() => text().catch(() => undefined), 'the server'), 'hello from the web\n');
        docker.fails(['run', '--rm', '-p', `${address}:80`, 'bb:1', 'true'], 125, /(address already in use|port is already allocated)/);
        docker.ok(['run', '--rm', '--network', 'host', 'bb:1', 'wget', '-qO-', `http://${address}/`]);
        docker.ok(['run', '--rm', '--network', 'container:web', 'bb:1', 'wget', '-qO-', 'http://127.0.0.1/']);
      });

      test('info, version, df and prune speak of this engine', () => {
        assert.match(
          docker.ok(['version', '--format', '{{.Server.APIVersion}} {{.Server.Os}} {{.Client.APIVersion}}']),
          /^1\.\d\d linux 1\.\d\d$/,
        );
        assert.match(
          docker.ok(['info', '--format', '{{.OSType}} {{.NCPU}} {{.MemTotal}} {{.Swarm.LocalNodeState}} {{.DefaultRuntime}}']),
          /^linux \d+ \d{8,} inactive (runc|crun)$/,
        );
        assert.match(docker.ok(['info']), /Storage Driver: .*[\s\S]*Cgroup Driver: (cgroupfs|systemd)[\s\S]*Docker Root Dir: \//);
        assert.match(
          docker.ok(['system', 'df']),
          /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nImages +\d+ +\d+ .*\nContainers +0 +0 .*\nLocal Volumes .*\nBuild Cache /,
        );
        assert.match(docker.ok(['system', 'df', '-v']), /Images space usage:\n\n[\s\S]*bb +1 /);
        docker.run(['run', '--name', 'done', 'bb:1', 'true']);
        docker.ok(['network', 'create', 'unused']);
        const pruned = docker.ok(['system', 'prune', '-f']);
        assert.match(pruned, /Deleted Containers:\n[0-9a-f]{64}\n[\s\S]*Deleted Networks:\nunused\n[\s\S]*Total reclaimed space: /);
        assert.match(docker.ok(['container', 'prune', '-f']), /Total reclaimed space: 0B/);
        assert.match(docker.ok(['image', 'prune', '-f']), /Total reclaimed space: /);
        assert.match(docker.ok(['builder', 'prune', '-f']), /Total( reclaimed space)?:/);
      });

      test('contexts name hosts, and Swarm commands say that there is none', () => {
        const elsewhere = { DOCKER_HOST: '' };
        docker.ok(['context', 'create', 'here', '--docker', `host=unix://${engine.socket}`], { env: elsewhere });
        assert.equal(docker.ok(['--context', 'here', 'images', '--format', '{{.Tag}}', 'bb'], { env: elsewhere }), '1');
        for (const command of [
          ['service', 'ls'],
          ['node', 'ls'],
          ['secret', 'ls'],
          ['config', 'ls'],
          ['stack', 'ls'],
        ])
          docker.fails(command, 1, /This node is not a swarm manager/);
        docker.fails(['swarm', 'leave'], 1, /This node is not part of a swarm/);
        assert.equal(docker.ok(['plugin', 'ls', '--format', '{{.Name}}']), '');
      });
    });
  }
});
