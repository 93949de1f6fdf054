import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { after, afterEach, before, describe, test } from 'node:test';
import Docker from 'dockerode';
import { cannotRunDaemon } from '../integration/api-daemon-harness.ts';
import { Certificates } from '../integration/daemon-certificates.ts';
import { againstDocker, Engine, until } from './support.ts';

type Prototype = Record<string, (...given: unknown[]) => unknown>;
const called = new Set<string>();
const unseen: string[] = [];

/** Notes each method of dockerode's classes that is called from here on. */
function watchCalls(docker: Docker): void {
  const objects = {
    docker,
    container: docker.getContainer('x'),
    image: docker.getImage('x'),
    volume: docker.getVolume('x'),
    network: docker.getNetwork('x'),
    exec: docker.getExec('x'),
  };
  for (const [kind, object] of Object.entries(objects)) {
    const prototype = Object.getPrototypeOf(object) as Prototype;
    for (const [name, method] of Object.entries(prototype)) {
      if (typeof method !== 'function') continue;
      unseen.push(`${kind}.${name}`);
      prototype[name] = function (this: unknown, ...given: unknown[]) {
        called.add(`${kind}.${name}`);
        return method.apply(this, given);
      };
    }
  }
}

/** Lines of progress; throws what the last one tells of an error. */
function failing(lines: Record<string, unknown>[]): Record<string, unknown>[] {
  const error = lines.find((line) => line.error !== undefined)?.error;
  if (error !== undefined) throw new Error(String(error));
  return lines;
}

/** The whole of dockerode, the client that most Node programs build on. */
describe('dockerode, every method', { skip: cannotRunDaemon, timeout: 180_000 }, () => {
  const engine = new Engine();
  const docker = new Docker({ socketPath: engine.socket });
  watchCalls(docker);
  /** What the type definitions lack. */
  const untyped = docker as unknown as {
    getImages(options: object): Promise<Readable>;
    pullAll(repository: string, options: object): Promise<Readable>;
    swarmUpdate(options: object): Promise<void>;
  };
  const none = { NetworkMode: 'none' };

  before(() => engine.start());
  afterEach(() => engine.sweep());
  after(() => engine.remove());

  async function sleeper(name: string, host: Docker.HostConfig = none): Promise<Docker.Container> {
    const container = await docker.createContainer({ name, Image: 'bb:1', Cmd: ['sleep', '1000'], HostConfig: { ...host, Init: true } });
    await container.start();
    return container;
  }
  const progress = (stream: NodeJS.ReadableStream) =>
    new Promise<Record<string, unknown>[]>((resolve, reject) =>
      docker.modem.followProgress(stream, (error, lines) => (error ? reject(error) : resolve(lines))),
    ).then(failing);
  const status = (statusCode: number, message: RegExp) => (error: { statusCode?: number; message: string }) => {
    assert.match(error.message, message);
    assert.equal(error.statusCode, statusCode, error.message);
    return true;
  };

  test('the engine itself: ping, version, info, df, auth, search', async () => {
    assert.equal(String(await docker.ping()), 'OK');
    const { ApiVersion, MinAPIVersion } = await docker.version();
    assert.match(ApiVersion, /^1\.\d+$/);
    assert.match(MinAPIVersion, /^1\.\d+$/);
    const info = (await docker.info()) as { NCPU: number; Driver: string; Containers: number; Swarm: { LocalNodeState: string } };
    assert.ok(info.NCPU > 0 && info.Driver.length > 0);
    assert.equal(info.Swarm.LocalNodeState, 'inactive');
    const df = (await docker.df()) as { Images: { RepoTags: string[]; Containers: number }[]; Volumes: unknown; LayersSize: number };
    assert.ok(df.Images.some(({ RepoTags }) => RepoTags.includes('bb:1')));
    await assert.rejects(
      docker.checkAuth({ username: 'a', password: 'b', serveraddress: 'http://127.0.0.1:9' }),
      status(500, /refused|registr/i),
    );
    await assert.rejects(docker.searchImages({ term: '127.0.0.1:9/x' }), (error: { statusCode: number }) => error.statusCode >= 400);
  });

  test('run gives the output and the status, with both of its ways', async () => {
    const out = new PassThrough();
    const [result, container] = (await docker.run('bb:1', ['sh', '-c', 'echo ran; exit 2'], out.setEncoding('utf8'), {
      HostConfig: none,
      Tty: false,
    })) as [{ StatusCode: number }, Docker.Container];
    assert.equal(result.StatusCode, 2);
    assert.match(String(out.read()), /ran\n$/);
    await container.remove();
    const [output, errors] = [new PassThrough(), new PassThrough()];
    const code = await new Promise((resolve, reject) =>
      docker.run(
        'bb:1',
        ['sh', '-c', 'echo o; echo e >&2'],
        [output, errors],
        { HostConfig: { ...none, AutoRemove: true }, Tty: false },
        (error: Error | null, data: { StatusCode: number }) => (error ? reject(error) : resolve(data.StatusCode)),
      ),
    );
    assert.equal(code, 0);
    assert.deepEqual([String(output.read()), String(errors.read())], ['o\n', 'e\n']);
  });

  test('containers: the life of one', async () => {
    const container = await sleeper('life');
    const info = await container.inspect({ size: true } as object);
    assert.equal(info.Name, '/life');
    assert.equal(typeof (info as { SizeRw?: number }).SizeRw, 'number');
    assert.deepEqual(
      (await docker.listContainers({ all: true, filters: { name: ['life'] } })).map(({ Names }) => Names),
      [['/life']],
    );
    const top = async () => (await container.top({ ps_args: '-o pid,args' })) as { Titles: string[]; Processes: string[][] };
    assert.deepEqual((await top()).Titles, ['PID', 'COMMAND']);
    await until(async () => (await top()).Processes.some(([, line]) => line === 'sleep 1000') || undefined, 'sleep beside its init');
    await container.rename({ name: 'renamed' });
    await container.update({ Memory: 64 * 2 ** 20, MemorySwap: 128 * 2 ** 20, CpuShares: 512 });
    assert.deepEqual(((config) => [config.Memory, config.CpuShares])((await container.inspect()).HostConfig), [64 * 2 ** 20, 512]);
    await container.pause();
    assert.equal((await container.inspect()).State.Paused, true);
    await container.unpause();
    await container.restart({ t: 1 });
    await container.resize({ h: 30, w: 90 }).catch((error: { statusCode: number }) => assert.ok(error.statusCode >= 400));
    const removed = container.wait({ condition: 'removed' }) as Promise<{ StatusCode: number }>;
    await container.kill({ signal: 'KILL' });
    assert.equal(((await container.wait()) as { StatusCode: number }).StatusCode, 137);
    await assert.rejects(container.kill(), status(409, /is not running/));
    await container.start();
    await assert.rejects(container.start(), status(304, /./));
    await container.stop({ t: 0 });
    await assert.rejects(container.stop(), status(304, /./));
    await container.remove({ v: true });
    assert.equal(typeof (await removed).StatusCode, 'number');
    await assert.rejects(container.inspect(), status(404, /No such container: [0-9a-f]{64}/));
  });

  test('attach with a terminal, both ways and resized', async () => {
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['sh'],
      Tty: true,
      OpenStdin: true,
      StdinOnce: true,
      HostConfig: none,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    let seen = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      seen += chunk;
    });
    await container.start();
    await container.resize({ h: 31, w: 91 });
    stream.write('stty size; exit 3\n');
    assert.equal(((await container.wait()) as { StatusCode: number }).StatusCode, 3);
    await until(() => /31 91\r\n/.test(seen) || undefined, `the size in ${seen}`);
    await container.remove();
  });

  test('exec with a hijacked connection, a terminal, and detached', async () => {
    const container = await sleeper('exec');
    const exec = await container.exec({
      Cmd: ['sh', '-c', 'cat; echo done >&2; exit 12'],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
      Env: ['A=1'],
      User: 'app',
      WorkingDir: '/var',
    });
    const stream = await exec.start({ hijack: true, stdin: true });
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, stdout, stderr);
    stream.on('end', () => [stdout, stderr].map((one) => one.end()));
    stream.end('x'.repeat(100_000));
    assert.deepEqual([(await text(stdout)).length, await text(stderr)], [100_000, 'done\n']);
    const inspected = await exec.inspect();
    assert.deepEqual([inspected.ExitCode, inspected.Running, inspected.ProcessConfig.entrypoint], [12, false, 'sh']);
    const terminal = await container.exec({ Cmd: ['sh'], AttachStdin: true, AttachStdout: true, Tty: true });
    const shell = await terminal.start({ hijack: true, stdin: true, Tty: true });
    await terminal.resize({ h: 32, w: 92 });
    shell.write('stty size; exit\n');
    assert.match(await text(shell), /32 92/);
    shell.end();
    const quiet = await container.exec({ Cmd: ['touch', '/made'] });
    (await quiet.start({ Detach: true })).resume();
    await until(async () => ((await quiet.inspect()).ExitCode === 0 ? true : undefined), 'the detached command');
    await assert.rejects(docker.getExec('0'.repeat(64)).inspect(), status(404, /No such exec instance/i));
    const absent = await container.exec({ Cmd: ['absent'], AttachStdout: true });
    assert.match(await text(await absent.start({})), /executable file not found/);
  });

  test('logs, stats and changes', async () => {
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['sh', '-c', 'echo o; sleep 0.1; echo e >&2; echo x > /tmp/f; exec sleep 1000'],
      HostConfig: none,
    });
    await container.start();
    const followed = await container.logs({ follow: true, stdout: true, stderr: true, timestamps: true });
    const [chunk] = (await once(followed, 'data')) as [Buffer];
    assert.match(chunk.subarray(8).toString(), /^\d{4}-\d\d-\d\dT[\d:.]+Z o\n/);
    (followed as Readable).destroy();
    await until(
      async () => (await container.logs({ stdout: false, stderr: true })).subarray(8).toString() === 'e\n' || undefined,
      'the error line',
    );
    const single = await container.stats({ stream: false });
    assert.ok(single.memory_stats.usage > 0 && single.cpu_stats.cpu_usage.total_usage > 0 && single.precpu_stats !== undefined);
    assert.equal(single.name?.startsWith('/'), true);
    const stream = (await container.stats({ stream: true })) as unknown as Readable;
    const [first] = (await once(stream, 'data')) as [Buffer];
    assert.ok(JSON.parse(first.toString()).read);
    stream.destroy();
    assert.deepEqual(await container.changes(), [
      { Path: '/tmp', Kind: 0 },
      { Path: '/tmp/f', Kind: 1 },
    ]);
  });

  test('archives in and out, export, commit, import, save and load', async () => {
    const container = await sleeper('files');
    const folder = join(engine.folder, 'ode-archive');
    mkdirSync(folder);
    writeFileSync(join(folder, 'put.txt'), 'put here');
    const tar = `${folder}.tar`;
    execFileSync('tar', ['-C', folder, '-cf', tar, 'put.txt']);
    await container.putArchive(tar, { path: '/tmp' });
    await container.putArchive(createReadStream(tar), { path: '/var' });
    await assert.rejects(container.putArchive(tar, { path: '/no/such' }), status(404, /Could not find the file \/no\/such/));
    assert.match(await text((await container.getArchive({ path: '/tmp/put.txt' })) as Readable), /put here/);
    const answer = (await container.infoArchive({ path: '/tmp/put.txt' })) as unknown as IncomingMessage;
    const stat = JSON.parse(Buffer.from(String(answer.headers['x-docker-container-path-stat']), 'base64').toString()) as {
      name: string;
      size: number;
    };
    answer.destroy();
    assert.deepEqual([stat.name, stat.size], ['put.txt', 8]);
    await assert.rejects(container.infoArchive({ path: '/no/such' }), (error: { statusCode: number }) => error.statusCode === 404);
    const exported = join(engine.folder, 'export.tar');
    await pipeline(await container.export(), createWriteStream(exported));
    assert.match(execFileSync('tar', ['tf', exported], { encoding: 'utf8' }), /^tmp\/put\.txt$/m);
    const { Id } = (await container.commit({ repo: 'kept', tag: '1', comment: 'c', changes: 'CMD ["cat","/tmp/put.txt"]' })) as {
      Id: string;
    };
    assert.match(Id, /^sha256:/);
    await progress(await docker.importImage(exported, { repo: 'flat', tag: '1' }));
    const saved = join(engine.folder, 'save.tar');
    await pipeline(await docker.getImage('kept:1').get(), createWriteStream(saved));
    const both = join(engine.folder, 'both.tar');
    await pipeline(await untyped.getImages({ names: ['kept:1', 'flat:1'] }), createWriteStream(both));
    for (const name of ['kept:1', 'flat:1']) await docker.getImage(name).remove();
    assert.match(JSON.stringify(await progress(await docker.loadImage(saved))), /Loaded image: kept:1/);
    assert.match(JSON.stringify(await progress(await docker.loadImage(createReadStream(both)))), /Loaded image: (kept|flat):1/);
  });

  test('images: build, list, inspect, history, tag, push, pull, distribution, prune', async () => {
    const context = join(engine.folder, 'ode-context');
    mkdirSync(context);
    writeFileSync(join(context, 'Dockerfile'), 'FROM bb:1\nARG A\nRUN echo $A > /a\nLABEL l=m\n');
    writeFileSync(join(context, 'unused'), 'x');
    const lines = await progress(
      await docker.buildImage({ context, src: ['Dockerfile'] }, { t: 'ode:1', buildargs: { A: 'built' }, labels: { more: 'yes' } }),
    );
    const id = lines.map(({ aux }) => (aux as { ID?: string } | undefined)?.ID).find((found) => found !== undefined);
    const image = docker.getImage('ode:1');
    const { Id, Config } = await image.inspect();
    assert.equal(Id, id);
    assert.deepEqual(Config.Labels, { l: 'm', more: 'yes' });
    writeFileSync(join(context, 'Dockerfile'), 'FROM bb:1\nRUN exit 9\n');
    await assert.rejects(progress(await docker.buildImage({ context, src: ['Dockerfile'] }, {})), /exit 9/);
    assert.ok(((await image.history()) as unknown[]).length >= 1);
    await image.tag({ repo: 'other', tag: '2' });
    assert.deepEqual((await docker.listImages({ filters: { reference: ['other'] } }))[0]?.RepoTags?.includes('other:2'), true);
    await assert.rejects(docker.createImage({ fromImage: '127.0.0.1:9/x', tag: '1' }).then(progress));
    await assert.rejects(docker.pull('127.0.0.1:9/x:1').then(progress));
    await assert.rejects(docker.getImage('127.0.0.1:9/x:1').push({}).then(progress));
    await assert.rejects(docker.getImage('127.0.0.1:9/x:1').distribution());
    await assert.rejects(untyped.pullAll('127.0.0.1:9/x', {}).then(progress));
    await docker.getImage('other:2').remove();
    await image.remove({ force: true });
    assert.equal(typeof (await docker.pruneImages()).SpaceReclaimed, 'number');
    assert.equal(typeof (await docker.pruneBuilder()).SpaceReclaimed, 'number');
  });

  test('volumes and networks', async () => {
    await docker.createVolume({ Name: 'data', Labels: { k: 'v' } });
    assert.equal((await docker.getVolume('data').inspect()).Labels?.k, 'v');
    assert.deepEqual(
      (await docker.listVolumes({ filters: { label: ['k=v'] } })).Volumes.map(({ Name }) => Name),
      ['data'],
    );
    const network = await docker.createNetwork({ Name: 'back', CheckDuplicate: true, Labels: { k: 'v' } });
    const container = await sleeper('member', { Binds: ['data:/d'] });
    await network.connect({ Container: container.id, EndpointConfig: { Aliases: ['other'] } });
    assert.equal(Object.values((await network.inspect()).Containers as Record<string, { Name: string }>)[0]?.Name, 'member');
    assert.deepEqual(
      (await docker.listNetworks({ filters: { label: ['k=v'] } })).map(({ Name }) => Name),
      ['back'],
    );
    await assert.rejects(docker.getVolume('data').remove(), status(409, /volume is in use/));
    await network.disconnect({ Container: container.id, Force: true });
    await container.remove({ force: true });
    await docker.getVolume('data').remove();
    await network.remove();
    await docker.createVolume({});
    await docker.createNetwork({ Name: 'spare' });
    await docker.run('bb:1', ['true'], new PassThrough(), { HostConfig: none });
    assert.deepEqual((await docker.pruneNetworks()).NetworksDeleted, ['spare']);
    assert.equal((await docker.pruneContainers()).ContainersDeleted.length, 1);
    assert.ok((await docker.pruneVolumes()).VolumesDeleted.length > 0);
  });

  test('events arrive as they happen, and past ones when asked for', async () => {
    const since = Math.floor(Date.now() / 1000);
    const stream = (await docker.getEvents({ filters: { type: ['container'], label: ['told=yes'] } })) as Readable;
    let seen = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      seen += chunk;
    });
    const container = await docker.createContainer({
      Image: 'bb:1',
      Cmd: ['sh', '-c', 'exit 5'],
      Labels: { told: 'yes' },
      HostConfig: none,
    });
    await container.start();
    await container.wait();
    await container.remove();
    await until(() => /"destroy"/.test(seen) || undefined, 'the last event');
    stream.destroy();
    const past = await text(
      (await docker.getEvents({ since, until: Math.ceil(Date.now() / 1000), filters: { label: ['told=yes'] } })) as Readable,
    );
    const actions = (lines: string) =>
      lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { Action: string; Actor: { Attributes: Record<string, string> } });
    for (const list of [actions(seen), actions(past)]) {
      assert.deepEqual(
        list.map(({ Action }) => Action),
        ['create', 'start', 'die', 'destroy'],
      );
      assert.equal(list[2]?.Actor.Attributes.exitCode, '5');
    }
  });

  test('what Swarm, plugins and checkpoints would be answers as Docker does', async () => {
    for (const list of ['listServices', 'listNodes', 'listTasks', 'listSecrets', 'listConfigs', 'swarmInspect'] as const)
      await assert.rejects(docker[list](), status(503, /This node is not a swarm manager/));
    const refused = (error: { statusCode: number }) => [400, 503].includes(error.statusCode);
    await assert.rejects(docker.createService({ Name: 's' } as never), refused);
    await assert.rejects(docker.createSecret({ Name: 's' } as never), refused);
    await assert.rejects(docker.createConfig({ Name: 'c' } as never), refused);
    await assert.rejects(untyped.swarmUpdate({}), refused);
    await assert.rejects(docker.swarmLeave({}), status(503, /This node is not part of a swarm/));
    assert.deepEqual(await docker.listPlugins(), []);
    for (const object of [docker.getService('x'), docker.getTask('x'), docker.getNode('x'), docker.getSecret('x'), docker.getConfig('x')])
      await assert.rejects((object as Docker.Service).inspect(), (error: { statusCode: number }) => error.statusCode === 503);
    await assert.rejects(docker.getPlugin('x', undefined as never).inspect(), (error: { statusCode: number }) => error.statusCode === 404);
    const container = await sleeper('checked');
    await assert.rejects(
      (container as unknown as { createCheckpoint(options: object): Promise<void> }).createCheckpoint({ checkpointID: 'c' }),
      (error: { statusCode: number }) => error.statusCode >= 400,
    );
  });

  test('every method but these was called', () => {
    const others = [
      'docker.runCallback',
      'docker.runPromise',
      'docker.followProgress',
      'docker.createPlugin',
      'docker.swarmInit',
      'docker.swarmJoin',
      'container.copy',
      'container.listCheckpoint',
      'container.deleteCheckpoint',
    ];
    assert.deepEqual(
      unseen.filter((name) => !called.has(name) && !others.includes(name)),
      [],
    );
  });

  test('mutual TLS is the same API', { skip: againstDocker }, async () => {
    const other = new Engine();
    const certificates = new Certificates(join(other.folder, 'certificates'));
    const daemon = await other.place.start('--tcp', '127.0.0.1:0', ...certificates.flags);
    try {
      const port = Number(/tcp:\/\/127\.0\.0\.1:(\d+)/.exec(daemon.log)?.[1]);
      const read = (name: string) => readFileSync(join(certificates.home('client'), name));
      const remote = new Docker({
        protocol: 'https',
        host: '127.0.0.1',
        port,
        ca: read('ca.pem'),
        cert: read('cert.pem'),
        key: read('key.pem'),
      });
      await progress(await remote.importImage(join(engine.folder, 'client-image.tar'), { repo: 'bb', tag: '1' }));
      const container = await remote.createContainer({ Image: 'bb:1', Cmd: ['cat'], OpenStdin: true, StdinOnce: true, HostConfig: none });
      const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
      const stdout = new PassThrough();
      remote.modem.demuxStream(stream, stdout, new PassThrough());
      stream.on('end', () => stdout.end());
      await container.start();
      stream.end('over the wire');
      assert.equal(await text(stdout), 'over the wire');
      await container.remove({ force: true });
      const stranger = new Docker({ protocol: 'https', host: '127.0.0.1', port, ca: read('ca.pem') });
      await assert.rejects(stranger.ping());
    } finally {
      await other.place.remove();
    }
  });
});
