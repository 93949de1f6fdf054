import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import { needsRegistry, type RegistryServer, startRegistry } from '../support/registry-server.ts';
import { againstDocker, Cli, Engine, newDocker, oldDocker } from './support.ts';

const skip = newDocker.skip || (needsRegistry.skip ?? false);

/** Pulling, pushing and logging in as the docker command lines and dockerode do it, with Debian's registry. */
describe('docker with a registry', { timeout: 300_000, skip }, () => {
  const engine = new Engine();
  const stops: (() => Promise<unknown> | unknown)[] = [];
  let open: RegistryServer;
  let closed: RegistryServer;
  before(async () => {
    const hook = { after: (stop?: unknown) => void stops.push(stop as () => Promise<unknown>) };
    open = await startRegistry(hook as never);
    closed = await startRegistry(hook as never, { users: { me: 'right' } });
    await engine.start();
  });
  after(async () => {
    await engine.remove();
    for (const stop of stops) await stop();
  });

  for (const client of [oldDocker, newDocker]) {
    describe(client.name, { skip: client.skip }, () => {
      const docker = new Cli(client, engine);
      const team = `team${client === oldDocker ? 1 : 2}`;
      afterEach(() => docker.sweep());
      after(() => docker.remove());

      test('an image is pushed, pulled again by tag and by digest, and run when it is missing', () => {
        const name = `${open.address}/${team}/bb:1`;
        docker.ok(['tag', 'bb:1', name]);
        const pushed = docker.ok(['push', name]);
        assert.match(pushed, new RegExp(`^The push refers to repository \\[${open.address}/${team}/bb\\]`));
        const digest = /^1: digest: (sha256:[0-9a-f]{64}) size: \d+$/m.exec(pushed)?.[1] ?? '';
        assert.notEqual(digest, '', pushed);
        assert.match(docker.ok(['push', name]), /Layer already exists/);
        docker.ok(['rmi', name]);
        const pulled = docker.ok(['pull', name]);
        assert.match(pulled, new RegExp(`1: Pulling from ${team}/bb`));
        assert.ok(pulled.includes(`Digest: ${digest}`), pulled);
        assert.match(pulled, /Status: (Downloaded newer image|Image is up to date) for /);
        assert.ok(docker.ok(['images', '--digests']).includes(digest));
        assert.equal(docker.show(name, '{{index .RepoDigests 0}}'), `${open.address}/${team}/bb@${digest}`);
        docker.ok(['rmi', name]);
        assert.equal(docker.ok(['pull', '-q', `${open.address}/${team}/bb@${digest}`]), `${open.address}/${team}/bb@${digest}`);
        docker.ok(['rmi', `${open.address}/${team}/bb@${digest}`]);
        const ran = docker.run(['run', '--rm', name, 'echo', 'hello']);
        assert.deepEqual([ran.status, ran.stdout], [0, 'hello\n']);
        assert.match(ran.stderr, /Unable to find image .* locally/);
        assert.equal(docker.run(['run', '--rm', '--pull', 'always', name, 'echo', 'again']).stdout.split('\n').at(-2), 'again');
      });

      test('every tag goes with -a, and comes back', () => {
        const name = `${open.address}/${team}/all`;
        for (const tag of ['a', 'b']) docker.ok(['tag', 'bb:1', `${name}:${tag}`]);
        const pushed = docker.ok(['push', '--all-tags', name]);
        assert.match(pushed, /^a: digest: [\s\S]*^b: digest: /m);
        docker.ok(['rmi', `${name}:a`, `${name}:b`]);
        docker.ok(['pull', '--all-tags', name]);
        assert.equal(docker.ok(['images', '-q', name]).split('\n').length, 2);
      });

      test('a private registry wants a login', () => {
        const name = `${closed.address}/${team}/bb:1`;
        docker.ok(['tag', 'bb:1', name]);
        docker.fails(['push', name], 1, /unauthorized|denied|no basic auth/i);
        docker.fails(['login', '-u', 'me', '--password-stdin', closed.address], 1, /unauthorized|401/i, { input: 'wrong' });
        assert.match(docker.ok(['login', '-u', 'me', '--password-stdin', closed.address], { input: 'right' }), /Login Succeeded/);
        docker.ok(['push', name]);
        docker.ok(['rmi', name]);
        docker.ok(['pull', name]);
        const context = docker.folder('private', { Dockerfile: `FROM ${name}\nRUN echo built > /built\n` });
        docker.ok(['rmi', name]);
        assert.match(docker.ok(['build', '-t', 'built', context]), /Successfully tagged built:latest/);
        assert.equal(docker.ok(['run', '--rm', 'built', 'cat', '/built']), 'built');
        docker.ok(['logout', closed.address]);
        docker.ok(['rmi', '-f', name, 'built']);
        docker.fails(['pull', name], 1, /pull access denied|unauthorized|no basic auth/i);
      });

      test('what is not there is said in Docker’s words', () => {
        docker.fails(['pull', `${open.address}/${team}/nothing:1`], 1, /manifest for .*nothing:1 not found: manifest unknown/);
        docker.fails(['run', '--rm', `${open.address}/${team}/nothing:1`], 125, /not found: manifest unknown/);
        docker.fails(['push', `${open.address}/${team}/nothing:1`], 1, /An image does not exist locally with the tag/);
        docker.fails(['build', docker.folder('none', { Dockerfile: `FROM ${open.address}/${team}/nothing:1\n` })], 1, /nothing:1/);
        docker.fails(
          ['build', '--pull', docker.folder('bb', { Dockerfile: `FROM ${open.address}/${team}/nothing:2\n` })],
          1,
          /not found|unknown/,
        );
      });
    });
  }

  test('dockerode follows a pull and a push', { skip: againstDocker && 'its own daemon' }, async () => {
    const docker = new Docker({ socketPath: engine.socket });
    const name = `${open.address}/ode/bb`;
    type Line = { status?: string; id?: string; aux?: { Digest?: string }; error?: string; progressDetail?: object };
    const follow = (stream: NodeJS.ReadableStream) =>
      new Promise<Line[]>((resolve, reject) => {
        docker.modem.followProgress(stream, (error, lines) => (error ? reject(error) : resolve(lines as Line[])));
      });
    await docker.getImage('bb:1').tag({ repo: name, tag: '1' });
    const pushed = await follow(await docker.getImage(`${name}:1`).push({ tag: '1' }));
    const digest = pushed.find(({ aux }) => aux !== undefined)?.aux?.Digest;
    assert.match(digest ?? '', /^sha256:[0-9a-f]{64}$/);
    await docker.getImage(`${name}:1`).remove();
    const pulled = await follow(await docker.pull(`${name}:1`));
    assert.ok(
      pulled.some(({ status }) => status === `Digest: ${digest}`),
      JSON.stringify(pulled),
    );
    assert.equal((await docker.getImage(`${name}:1`).distribution()).Descriptor.digest, digest);
    await assert.rejects(docker.pull(`${name}:2`), { statusCode: 404 });
    await docker.getImage(`${name}:1`).remove();
  });
});
