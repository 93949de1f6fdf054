import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { changeAwkwardRoot, makeAwkwardRoot } from '../support/awkward-root.ts';
import { cannotRunDocker, DockerPeer } from '../support/docker-peer.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { temporaryFolder } from '../support/filesystem.ts';
import { cannotRunOciPeers, OciPeers } from '../support/oci-peers.ts';
import { needsRegistry, type RegistryServer, startRegistry } from '../support/registry-server.ts';
import { cannotRunDaemon } from './api-daemon-harness.ts';
import { assertSameFiles, manifestOf, ordinaryManifest, TransportHost } from './transport-support.ts';

const skip = cannotRunDaemon || needsRegistry.skip || cannotRunOciPeers || cannotRunDocker;

describe('images that travel between Slipway and the tools of others', { skip, timeout: 300_000 }, () => {
  const work = temporaryFolder();
  const first = join(work.path, 'first');
  const second = join(work.path, 'second');
  const adaptive = join(work.path, 'adaptive');
  const endings: (() => unknown)[] = [];
  const scope: Pick<TestContext, 'after'> = { after: (ending) => void endings.push(ending as () => unknown) };
  const builder = new TransportHost();
  const other = new TransportHost();
  const docker = new DockerPeer();
  const peers = new OciPeers();
  let registry: RegistryServer;
  const at = (name: string) => `${registry.address}/${name}`;

  before(async () => {
    mkdirSync(first);
    makeAwkwardRoot(first);
    execFileSync('cp', ['-a', '--', first, second]);
    changeAwkwardRoot(second);
    // An adaptive layer leaves times alone where nothing else differs: those of the layers below stay.
    execFileSync('cp', ['-a', '--', second, adaptive]);
    for (const path of ['usr/share/many/file-8.txt', 'etc']) execFileSync('touch', ['-r', join(first, path), join(adaptive, path)]);
    registry = await startRegistry(scope);
    await Promise.all([builder.start(), other.start(), docker.start()]);
    await builder.importFolder(first, 'awkward:1');
    await builder.importFolder(second, 'awkward:2');
  });

  after(async () => {
    for (const ending of endings) await ending();
    for (const one of [builder, other, docker, peers]) await one[Symbol.asyncDispose]();
    work[Symbol.dispose]();
  });

  const push = async (image: string, to: string, ...options: string[]) => {
    await builder.cli('tag', image, at(to));
    await builder.cli('push', ...options, at(to));
  };

  test('Docker, umoci and buildah unpack what is pushed to the same files, and so does another Slipway', async () => {
    await push('awkward:1', 'app:1');
    await docker.cli('pull', '-q', at('app:1'));
    assertSameFiles(await docker.filesOf(at('app:1')), first, 'Docker 20.10');
    assertSameFiles(await peers.unpack(at('app:1')), first, 'umoci');
    assertSameFiles(await peers.mount(at('app:1')), first, 'buildah');
    await other.cli('pull', at('app:1'));
    assertSameFiles(await other.filesOf(at('app:1')), first, 'Slipway');
  });

  test('an adaptive layer over another says deletions, folders made anew, changed types, links and metadata to each of them', async () => {
    await push('awkward:1', 'adaptive:app');
    const before = await ordinaryManifest(registry.address, 'adaptive', 'app');
    await docker.cli('pull', '-q', at('adaptive:app'));
    await other.cli('pull', at('adaptive:app'));
    await push('awkward:2', 'adaptive:app');
    const { manifest } = await ordinaryManifest(registry.address, 'adaptive', 'app');
    const layers = manifest.layers ?? [];
    assert.deepEqual(
      layers.slice(0, -1).map(({ digest }) => digest),
      before.manifest.layers?.map(({ digest }) => digest),
      'the layers that were there stay',
    );
    await docker.cli('pull', '-q', at('adaptive:app'));
    assertSameFiles(await docker.filesOf(at('adaptive:app')), adaptive, 'Docker 20.10');
    assertSameFiles(await peers.unpack(at('adaptive:app')), adaptive, 'umoci');
    assertSameFiles(await peers.mount(at('adaptive:app')), adaptive, 'buildah');
    for (const form of ['auto', 'oci']) {
      await other.cli('pull', '--format', form, at('adaptive:app'));
      assertSameFiles(await other.filesOf(at('adaptive:app')), adaptive, `Slipway, ${form}`);
    }
  });

  for (const compression of ['zstd', 'none']) {
    test(`layers with compression ${compression} have the same files for buildah, umoci or Docker`, async () => {
      await push('awkward:1', `compression:${compression}`, '--layers', 'single', '--compression', compression);
      assertSameFiles(await peers.mount(at(`compression:${compression}`)), first, 'buildah');
      // Neither Docker 20.10 nor umoci 0.4 knows zstd.
      if (compression === 'none') {
        await docker.cli('pull', '-q', at(`compression:${compression}`));
        assertSameFiles(await docker.filesOf(at(`compression:${compression}`)), first, 'Docker 20.10');
        assertSameFiles(await peers.unpack(at(`compression:${compression}`)), first, 'umoci');
      }
      await other.cli('pull', at(`compression:${compression}`));
      assertSameFiles(await other.filesOf(at(`compression:${compression}`)), first, 'Slipway');
    });
  }

  test('layers by group are the same files together', async () => {
    await push('awkward:1', 'groups:1', '--layers', 'programs=bin:usr/lib', '--layers', 'names=names');
    const { manifest } = await ordinaryManifest(registry.address, 'groups', '1');
    assert.equal(manifest.layers?.length, 3);
    assertSameFiles(await peers.unpack(at('groups:1')), first, 'umoci');
    await docker.cli('pull', '-q', at('groups:1'));
    assertSameFiles(await docker.filesOf(at('groups:1')), first, 'Docker 20.10');
  });

  test('an unmodified Docker pulls one small layer after a line of a build has changed', async () => {
    const context = join(work.path, 'context');
    mkdirSync(context);
    cpSync(join(first, 'usr'), join(context, 'usr'), { recursive: true });
    writeFileSync(join(context, 'weight'), execFileSync('head', ['-c', '5000000', '/dev/urandom'], { maxBuffer: 8 << 20 }));
    writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY . /app\nCMD ["/app/main"]\n');
    const proxy = await startFaultProxy(scope, { target: () => registry.address });
    const image = `${proxy.address}/line:app`;
    const deploy = async (version: number) => {
      writeFileSync(join(context, 'main'), `the one line: ${version}\n`);
      await builder.cli('build', '-q', '-t', image, context);
      await builder.cli('push', image);
      proxy.reset();
      await docker.cli('pull', '-q', image);
      return proxy.bytesOut;
    };
    assert.ok((await deploy(1)) > 5_000_000);
    const small = await deploy(2);
    assert.ok(small < 20_000, `Docker received ${small} bytes for one changed line`);
    const layers = proxy.requests.filter((request) => request.startsWith('GET') && request.includes('/blobs/'));
    assert.equal(layers.length, 2, `a config and one layer: ${layers.join('; ')}`);
    assertSameFiles(join(await docker.filesOf(image), 'app/usr/share'), join(context, 'usr/share'), 'Docker 20.10');
  });

  test("the registry's own garbage collection takes nothing that a pushed tag needs", async () => {
    await push('awkward:1', 'swept:app');
    await push('awkward:2', 'swept:app');
    await push('awkward:2', 'swept-chunked:app', '--format', 'chunked');
    await registry.collectGarbage();
    for (const [name, form, files] of [
      ['swept:app', 'auto', adaptive],
      ['swept:app', 'oci', adaptive],
      ['swept-chunked:app', 'auto', second],
    ] as const) {
      await using fresh = await new TransportHost().start();
      await fresh.cli('pull', '--format', form, at(name));
      assertSameFiles(await fresh.filesOf(at(name)), files, `${name}, ${form}`);
    }
    assertSameFiles(await peers.unpack(at('swept:app')), adaptive, 'umoci');
    await push('awkward:1', 'swept:app');
    assertSameFiles(await peers.unpack(at('swept:app')), first, 'umoci, pushed after the collection');
  });

  describe('pulled by Slipway', () => {
    const dockerfile = [
      'FROM base',
      'ADD second.tar /added/',
      'RUN ["/bin/sh", "-c", "rm -r /etc/gone /etc/file && mkdir /etc/gone && echo new > /etc/gone/new && chmod 711 /home && ln /etc/keep /etc/linked"]',
      'RUN ["/bin/sh", "-c", "rm /etc/gone/new && mv /data /moved && touch -d @1500000000 /etc/keep"]',
      'LABEL made.by=another',
    ].join('\n');
    let context: string;

    before(() => {
      context = join(work.path, 'theirs');
      const base = join(context, 'base');
      for (const name of ['bin', 'etc/gone', 'home', 'data/deep']) mkdirSync(join(base, name), { recursive: true });
      copyFileSync('/usr/bin/busybox', join(base, 'bin/busybox'));
      execFileSync('ln', ['-s', 'busybox', join(base, 'bin/sh')]);
      for (const applet of ['rm', 'mkdir', 'chmod', 'ln', 'mv', 'touch']) execFileSync('ln', ['-s', 'busybox', join(base, 'bin', applet)]);
      for (const name of ['etc/gone/old', 'etc/file', 'etc/keep', 'data/deep/file']) writeFileSync(join(base, name), `${name}\n`);
      execFileSync('tar', ['-C', second, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-cf', join(context, 'second.tar'), '.']);
      execFileSync('tar', ['-C', base, '--numeric-owner', '-cf', join(context, 'base.tar'), '.']);
    });

    /** Slipway's files are those of umoci, which is another reader of the same layers. */
    const pullAndCompare = async (image: string, who: string) => {
      await other.cli('pull', image);
      assertSameFiles(await other.filesOf(image), await peers.unpack(image), who);
    };

    test('what docker build made (schema 2, whiteouts, opaque folders)', async () => {
      await docker.cli('import', join(context, 'base.tar'), 'base');
      writeFileSync(join(context, 'Dockerfile.docker'), dockerfile);
      await docker.cli('build', '-q', '--network', 'none', '-t', at('from-docker:1'), '-f', join(context, 'Dockerfile.docker'), context);
      await docker.cli('push', '-q', at('from-docker:1'));
      const { digest, manifest } = await manifestOf(registry.address, 'from-docker', '1');
      assert.equal(manifest.mediaType, 'application/vnd.docker.distribution.manifest.v2+json');
      await pullAndCompare(at('from-docker:1'), 'docker build');
      assert.deepEqual(await other.repoDigests(at('from-docker:1')), [`${at('from-docker')}@${digest}`]);
    });

    test('what buildah made, as gzip, zstd and plain layers', async () => {
      const made = await peers.buildah('from', 'scratch');
      await peers.buildah('add', '--quiet', made, join(context, 'base.tar'), '/');
      await peers.buildah('commit', '--quiet', made, 'buildah:1');
      const next = await peers.buildah('from', 'buildah:1');
      await peers.buildah(
        'run',
        '--isolation',
        'chroot',
        next,
        '/bin/sh',
        '-c',
        'rm -r /etc/gone /data && mkdir /etc/gone && ln /etc/keep /etc/linked',
      );
      await peers.buildah('add', '--quiet', next, join(context, 'second.tar'), '/added/');
      await peers.buildah('commit', '--quiet', next, 'buildah:2');
      await peers.buildah('push', '--quiet', '--tls-verify=false', 'buildah:2', `docker://${at('from-buildah:gzip')}`);
      await pullAndCompare(at('from-buildah:gzip'), 'buildah');
      const files = await peers.unpack(at('from-buildah:gzip'));
      const plain = join(peers.folder, 'plain');
      const layout = `oci:${join(peers.folder, 'zstd')}:image`;
      await peers.skopeo(
        'copy',
        '-q',
        '--src-tls-verify=false',
        '--dest-decompress',
        `docker://${at('from-buildah:gzip')}`,
        `dir:${plain}`,
      );
      await peers.skopeo('copy', '-q', '--dest-compress-format', 'zstd', `dir:${plain}`, layout);
      await peers.skopeo('copy', '-q', '--preserve-digests', '--dest-tls-verify=false', layout, `docker://${at('from-buildah:zstd')}`);
      const zstd = await ordinaryManifest(registry.address, 'from-buildah', 'zstd');
      assert.match(zstd.manifest.layers?.[0]?.mediaType ?? '', /zstd/);
      await other.cli('pull', at('from-buildah:zstd'));
      assertSameFiles(await other.filesOf(at('from-buildah:zstd')), files, 'buildah, zstd');
      await peers.skopeo(
        'copy',
        '-q',
        '--preserve-digests',
        '--dest-tls-verify=false',
        `dir:${plain}`,
        `docker://${at('from-buildah:plain')}`,
      );
      assert.match((await ordinaryManifest(registry.address, 'from-buildah', 'plain')).manifest.layers?.[0]?.mediaType ?? '', /tar$/);
      await other.cli('pull', at('from-buildah:plain'));
      assertSameFiles(await other.filesOf(at('from-buildah:plain')), files, 'buildah, plain');
    });

    test('this platform of an index of several', async () => {
      const foreign = await peers.buildah('from', 'buildah:2');
      await peers.buildah('config', '--arch', 'arm64', foreign);
      await peers.buildah('commit', '--quiet', foreign, 'buildah:arm64');
      for (const [architecture, image] of [
        ['amd64', 'buildah:1'],
        ['arm64', 'buildah:arm64'],
      ] as const)
        await peers.buildah('push', '--quiet', '--tls-verify=false', image, `docker://${at(`many:${architecture}`)}`);
      await peers.buildah('manifest', 'create', 'many');
      for (const architecture of ['amd64', 'arm64'])
        await peers.buildah(
          'manifest',
          'add',
          '--tls-verify=false',
          '--arch',
          architecture,
          'many',
          `docker://${at(`many:${architecture}`)}`,
        );
      await peers.buildah('manifest', 'push', '--all', '--tls-verify=false', 'many', `docker://${at('many:all')}`);
      for (const architecture of ['amd64', 'arm64']) {
        await other.cli('pull', '--platform', `linux/${architecture}`, at('many:all'));
        assertSameFiles(await other.filesOf(at('many:all')), await peers.unpack(at(`many:${architecture}`)), architecture);
      }
      const refused = await other.attempt('pull', '--platform', 'linux/s390x', at('many:all'));
      assert.notEqual(refused.status, 0);
      assert.match(refused.stderr, /s390x/);
      assert.match(refused.stderr, /amd64/, 'the error says what there is');
    });
  });

  test('what is pulled and pushed on unchanged has the same digest in a second registry', async () => {
    const next = await startRegistry(scope);
    await push('awkward:1', 'promoted:1');
    for (const name of ['promoted:1', 'from-docker:1', 'from-buildah:gzip', 'from-buildah:zstd']) {
      const [repository = '', tag = ''] = name.split(':');
      await using host = await new TransportHost().start();
      await host.cli('pull', at(name));
      await host.cli('tag', at(name), `${next.address}/${name}`);
      await host.cli('push', `${next.address}/${name}`);
      const [here, there] = [await manifestOf(registry.address, repository, tag), await manifestOf(next.address, repository, tag)];
      assert.equal(there.digest, here.digest, name);
      // umoci 0.4 does not know zstd.
      const filesOf = (image: string) => (tag === 'zstd' ? peers.mount(image) : peers.unpack(image));
      assertSameFiles(await filesOf(`${next.address}/${name}`), await filesOf(at(name)), name);
    }
    await builder.cli('copy', at('many:all'), `${next.address}/many:all`);
    assert.equal((await manifestOf(next.address, 'many', 'all')).digest, (await manifestOf(registry.address, 'many', 'all')).digest);
    assertSameFiles(
      await peers.unpack(`${next.address}/many:all`, '--override-arch', 'arm64'),
      await peers.unpack(at('many:arm64')),
      'copied, arm64',
    );
  });
});
