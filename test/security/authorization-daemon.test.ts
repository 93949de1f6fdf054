import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findProgram } from '../../src/host/programs.ts';
import { call, cannotRunDaemon, DaemonPlace, upload } from '../integration/api-daemon-harness.ts';
import { bodyOf, FakeAuthorizationPlugin } from './authorization-plugin.ts';

const docker = findProgram('docker') ?? '';
const skip = cannotRunDaemon || (docker === '' && 'needs docker');
const slipway = join(import.meta.dirname, '../../slipway');

describe('a daemon with an authorization plugin', { skip }, () => {
  const place = new DaemonPlace();
  const plugin = new FakeAuthorizationPlugin();
  // Docker's folder for plugins is one for the host.
  const name = `slipway-test-${process.pid}`;
  const socket = `/run/docker/plugins/${name}.sock`;
  before(async () => {
    mkdirSync('/run/docker/plugins', { recursive: true });
    rmSync(socket, { force: true });
    await plugin.listen(socket);
    await place.start('--authorization-plugin', name);
    await upload(place.socket, '/images/create?fromSrc=-&repo=base&tag=1', place.imageTar());
  });
  after(async () => {
    plugin.decide = () => ({ Allow: true });
    await place.remove();
    await plugin.close();
    rmSync(socket, { force: true });
  });

  const run = (program: string, args: string[], input = '') =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const env = { ...process.env, DOCKER_HOST: `unix://${place.socket}`, SLIPWAY_HOST: `unix://${place.socket}` };
      const child = execFile(program, args, { env, timeout: 20_000 }, (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr }),
      );
      child.stdin?.end(input);
    });
  const noPrivileges = () => {
    plugin.decide = (asked) => {
      if (asked.phase === 'response' || !/\/containers\/create(?:\?|$)/.test(asked.RequestUri)) return { Allow: true };
      return { Allow: JSON.parse(bodyOf(asked)).HostConfig.Privileged !== true, Msg: 'no privileged containers' };
    };
  };

  test('docker and slipway work through it: output, input, exit codes, exec, logs', async () => {
    noPrivileges();
    const echoed = await run(docker, ['run', '--rm', '-i', '--network', 'none', 'base:1', 'sh', '-c', 'cat; exit 3'], 'said\n');
    assert.deepEqual([echoed.code, echoed.stdout], [3, 'said\n'], echoed.stderr);
    const own = await run(slipway, ['run', '--rm', '-i', '--network', 'none', 'base:1', 'sh', '-c', 'cat; exit 4'], 'said\n');
    assert.deepEqual([own.code, own.stdout], [4, 'said\n'], own.stderr);
    await run(docker, ['run', '-d', '--name', 'up', '--network', 'none', 'base:1', 'sh', '-c', 'echo started; sleep 300']);
    assert.equal((await run(docker, ['exec', 'up', 'echo', 'in'])).stdout, 'in\n');
    assert.equal((await run(docker, ['logs', 'up'])).stdout, 'started\n');
    assert.equal((await run(docker, ['rm', '-f', 'up'])).code, 0);
    assert.deepEqual(JSON.parse((await call(place.socket, 'GET', '/info')).text).Plugins.Authorization, [name]);
    assert.ok(plugin.asked.some(({ ResponseStatusCode }) => ResponseStatusCode === 101));
  });

  test('what it denies is denied to docker and to slipway, in Docker’s words, and leaves no container', async () => {
    noPrivileges();
    const words = `authorization denied by plugin ${name}: no privileged containers`;
    for (const program of [docker, slipway]) {
      const refused = await run(program, ['run', '--rm', '--privileged', '--network', 'none', 'base:1', 'true']);
      assert.equal(refused.code, 125, refused.stdout);
      assert.ok(refused.stderr.includes(words), refused.stderr);
    }
    plugin.decide = ({ RequestUri }) => ({ Allow: !RequestUri.endsWith('/start'), Msg: 'no starts' });
    const started = await run(slipway, ['run', '--network', 'none', 'base:1', 'true']);
    assert.match(started.stderr, /no starts/);
    plugin.decide = () => ({ Allow: true });
    assert.deepEqual(JSON.parse((await call(place.socket, 'GET', '/containers/json?all=1')).text), []);
  });

  test('when it dies nobody does anything, until it is back', async () => {
    plugin.decide = () => ({ Allow: true });
    await plugin.close();
    rmSync(socket, { force: true });
    const refused = await run(docker, ['ps']);
    assert.match(refused.stderr, new RegExp(`authorization denied by plugin ${name}: `));
    await plugin.listen(socket);
    assert.equal((await run(docker, ['ps'])).code, 0);
  });
});
