import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import { cannotRunDaemon, DaemonPlace } from './api-daemon-harness.ts';

/** dockerode against the real daemon: the client below Testcontainers and most of what Node programs use. */
describe('dockerode', { skip: cannotRunDaemon, timeout: 120_000 }, () => {
  const here = new DaemonPlace();
  const docker = new Docker({ socketPath: here.socket });

  before(async () => {
    await here.start();
    const progress = await docker.importImage(here.imageTar(), { repo: 'bb', tag: '1' });
    await text(progress);
  });
  after(() => here.remove());

  test('a container is made, attached, started, waited for and removed', async () => {
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['sh', '-c', 'echo out; echo err >&2; exit 5'],
      HostConfig: { NetworkMode: 'none' },
    });
    const stream = await container.attach({ stream: true, stdout: true, stderr: true });
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, stdout, stderr);
    stream.on('end', () => {
      stdout.end();
      stderr.end();
    });
    await container.start();
    assert.deepEqual(await Promise.all([text(stdout), text(stderr)]), ['out\n', 'err\n']);
    assert.deepEqual(await container.wait(), { StatusCode: 5 });
    const { State } = await container.inspect();
    assert.equal(State.ExitCode, 5);
    await container.remove();
    await assert.rejects(container.inspect(), { statusCode: 404 });
  });

  test('stdin goes through a hijacked attach, and its end reaches the process', async () => {
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['cat'],
      OpenStdin: true,
      StdinOnce: true,
      HostConfig: { NetworkMode: 'none', AutoRemove: true },
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
    const stdout = new PassThrough();
    docker.modem.demuxStream(stream, stdout, new PassThrough());
    stream.on('end', () => stdout.end());
    await container.start();
    stream.write('through ');
    stream.end('the pipe');
    assert.equal(await text(stdout), 'through the pipe');
  });

  test('exec runs in a container with and without a stream', async () => {
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['sleep', '1000'],
      HostConfig: { NetworkMode: 'none', Init: true },
    });
    await container.start();
    const exec = await container.exec({
      Cmd: ['sh', '-c', 'read a; echo $a; exit 9'],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
    });
    const stream = await exec.start({ hijack: true, stdin: true });
    const stdout = new PassThrough();
    docker.modem.demuxStream(stream, stdout, new PassThrough());
    stream.on('end', () => stdout.end());
    stream.write('typed\n');
    assert.equal(await text(stdout), 'typed\n');
    const { ExitCode, Running } = await exec.inspect();
    assert.deepEqual({ ExitCode, Running }, { ExitCode: 9, Running: false });
    const detached = await container.exec({ Cmd: ['touch', '/tmp/made'] });
    await detached.start({ Detach: true });
    await container.putArchive(createReadStream(here.imageTar()), { path: '/tmp' });
    const archive = await container.getArchive({ path: '/tmp/etc/passwd' });
    assert.ok((await text(archive as unknown as PassThrough)).includes('root:x:0:0'));
    await container.remove({ force: true });
  });

  test('logs are one buffer, or a stream that follows to the end', async () => {
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.1; done'],
      HostConfig: { NetworkMode: 'none' },
    });
    await container.start();
    const followed = await container.logs({ follow: true, stdout: true, stderr: true });
    const stdout = new PassThrough();
    docker.modem.demuxStream(followed, stdout, new PassThrough());
    followed.on('end', () => stdout.end());
    assert.equal(await text(stdout), '1\n2\n3\n');
    const tail = await container.logs({ follow: false, stdout: true, tail: 1 });
    assert.equal(tail.toString().slice(8), '3\n');
    await container.remove();
  });

  test('events arrive while they happen', async () => {
    const events = (await docker.getEvents({ filters: { type: ['volume'] } })) as PassThrough;
    const arrived = once(events, 'data');
    await docker.createVolume({ Name: 'seen' });
    const [chunk] = await arrived;
    const { Action, Actor } = JSON.parse(String(chunk)) as { Action: string; Actor: { ID: string } };
    assert.deepEqual([Action, Actor.ID], ['create', 'seen']);
    events.destroy();
    await docker.getVolume('seen').remove();
  });

  test('a build from a tar stream reports each line and the image id', async () => {
    const { execFileSync } = await import('node:child_process');
    const { mkdirSync, writeFileSync } = await import('node:fs');
    const context = `${here.folder}/ode`;
    mkdirSync(context);
    writeFileSync(`${context}/Dockerfile`, 'FROM bb:1\nLABEL made=here\n');
    execFileSync('tar', ['-C', context, '-cf', `${context}.tar`, '.']);
    const stream = await docker.buildImage(`${context}.tar`, { t: 'ode:1' });
    const lines = await new Promise<{ aux?: { ID: string } }[]>((resolve, reject) =>
      docker.modem.followProgress(stream, (error, output) => (error ? reject(error) : resolve(output))),
    );
    const id = lines.find(({ aux }) => aux !== undefined)?.aux?.ID;
    const inspected = await docker.getImage('ode:1').inspect();
    assert.equal(inspected.Id, id);
    assert.equal(inspected.Config.Labels.made, 'here');
    await docker.getImage('ode:1').remove();
  });

  test('errors carry the status and the message of Docker', async () => {
    await assert.rejects(docker.createContainer({ Image: 'nope' }), { statusCode: 404 });
    await assert.rejects(docker.getNetwork('nope').inspect(), { statusCode: 404 });
    await assert.rejects(docker.createContainer({ Image: 'bb:1', name: '../x' }), { statusCode: 400 });
    await assert.rejects(docker.listServices(), { statusCode: 503 });
    await assert.rejects(docker.pull('127.0.0.1:9/busybox'), {
      statusCode: 500,
      message: /dial tcp 127\.0\.0\.1:9: connect: connection refused/,
    });
  });
});
