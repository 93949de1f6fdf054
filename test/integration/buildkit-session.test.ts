import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { BuildKitServer } from '../../src/buildkit/buildkit-server.ts';
import { PacketType, writePacket } from '../../src/buildkit/filesync/packets.ts';
import { Control, type StatusResponse } from '../../src/buildkit/gen/control_pb.ts';
import { CredentialsResponseSchema } from '../../src/buildkit/gen/filesync_pb.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../src/buildkit/gen/health_pb.ts';
import { GetSecretResponseSchema } from '../../src/buildkit/gen/secrets_pb.ts';
import { CheckAgentResponseSchema } from '../../src/buildkit/gen/ssh_pb.ts';
import { Channel } from '../../src/buildkit/grpc/channel.ts';
import { frame } from '../../src/buildkit/grpc/frames.ts';
import { SessionAgents, SessionSecrets, sessionCredentials } from '../../src/buildkit/session/providers.ts';
import { Sessions } from '../../src/buildkit/session/sessions.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { canonical } from '../../src/oci/reference.ts';
import { ArchiveService } from '../../src/transport/archives/service.ts';
import type { Transfers } from '../../src/transport/port.ts';
import {
  begin,
  type Call,
  diffCopy,
  type FakeFile,
  FakeSession,
  fileSend,
  filesOf,
  finish,
  onPackets,
  refuse,
  reply,
  socketPair,
  statOf,
} from '../support/buildkit-client.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';
import { transportParts } from '../support/transport.ts';

const pushes: Pick<Transfers, 'push'> & { pushed: string[] } = {
  pushed: [],
  async push({ reference, auth, image }) {
    this.pushed.push(`${canonical(reference)} as ${auth?.username ?? 'nobody'}`);
    const digest = `sha256:${'5'.repeat(64)}` as Digest;
    return {
      digest,
      manifest: { mediaType: 'application/json', digest, size: 1 },
      sizeBytes: image.sizeBytes,
      bytesSent: 0,
      explanation: [],
    };
  },
};
const skip = process.getuid?.() !== 0 && 'needs root';
const dockerfile = (text: string) => () => [{ path: 'Dockerfile', content: text }];

describe('a session that a client offers', { skip }, () => {
  let bench: BuildBench;
  let buildkit: BuildKitServer;
  const stopped = new AbortController();

  before(async () => {
    bench = await openBuilds();
    buildkit = new BuildKitServer({
      store: bench.store,
      builder: bench.engine,
      archives: new ArchiveService(transportParts(bench.store)),
      transfers: pushes,
      worker: { id: 'w', version: '1', hostname: 'h', snapshotter: 'erofs-overlay' },
      onImage: () => undefined,
      shutdown: stopped.signal,
    });
  });
  after(async () => {
    stopped.abort();
    await buildkit.close();
    await bench[Symbol.asyncDispose]();
  });

  const build = (
    session: FakeSession,
    more: { exporters?: { type: string; attrs: Record<string, string> }[]; signal?: AbortSignal } = {},
  ) =>
    buildkit.build(
      { ref: randomUUID(), session: session.id, frontendAttrs: {}, exporters: more.exporters ?? [{ type: 'moby', attrs: {} }] },
      { onStatus: async () => undefined, signal: more.signal ?? new AbortController().signal },
    );
  const nothingLeft = () => {
    const tmp = bench.store.paths.tmp;
    assert.deepEqual(existsSync(tmp) ? readdirSync(tmp) : [], []);
  };

  test('gives the files that the build reads, and later only those that changed', async () => {
    let b = 'second';
    const asked: string[] = [];
    const files = (): FakeFile[] => [
      { path: 'a', stat: { mode: 2 ** 31 + 0o755 } },
      { path: 'a/one', content: 'first' },
      { path: 'b', content: b },
      { path: 'hard', stat: { linkname: 'b' as ByteString } },
      { path: 'soft', stat: { mode: 2 ** 27 + 0o777, linkname: 'a/one' as ByteString } },
    ];
    const folders = { dockerfile: dockerfile('FROM scratch\nCOPY . /\n'), context: files };
    const session = await new FakeSession('s1', { [diffCopy]: filesOf(folders, asked) }, 'key').open(buildkit);
    const { imageId = '' } = await build(session);
    const { tree } = await bench.store.images.resolve(imageId);
    assert.deepEqual((await bench.list(tree)).sort(), [
      'd a 755 0:0',
      'f a/one 644 0:0 "first"',
      'f b 644 0:0 "second"',
      'f hard 644 0:0 "second"',
      'l soft 777 0:0 -> a/one',
    ]);
    assert.deepEqual((await bench.store.trees.get(tree)).hardlinks, [['b', 'hard']]);
    assert.deepEqual(asked.sort(), ['Dockerfile', 'a/one', 'b']);

    b = 'other!';
    asked.length = 0;
    const again = await new FakeSession(
      's2',
      {
        [diffCopy]: filesOf(
          { ...folders, context: () => files().map((file) => (file.path === 'b' ? { ...file, stat: { mtimeSec: 1_700_000_001 } } : file)) },
          asked,
        ),
      },
      'key',
    ).open(buildkit);
    const second = await build(again);
    assert.deepEqual(asked, ['b']);
    assert.equal(await bench.text((await bench.store.images.resolve(second.imageId ?? '')).tree, 'hard'), 'other!');
    nothingLeft();
  });

  test('is asked with the patterns of its .dockerignore and the paths of the Dockerfile', async () => {
    const folders = {
      dockerfile: dockerfile('FROM scratch\nCOPY src/*.c dir /x/\n'),
      context: (): FakeFile[] => [
        { path: '.dockerignore', content: '# words\n\n /logs/ \n!logs/keep\n' },
        { path: 'dir', stat: { mode: 2 ** 31 + 0o755 } },
        { path: 'dir/f', content: 'f' },
        { path: 'src', stat: { mode: 2 ** 31 + 0o755 } },
        { path: 'src/a.c', content: 'c' },
      ],
    };
    const session = new FakeSession('s3', {
      [diffCopy]: (stream, headers) => {
        const { followpaths: _, ...rest } = headers;
        filesOf(folders)(stream, headers['exclude-patterns'] === undefined ? headers : rest);
      },
    });
    await build(await session.open(buildkit));
    const context = session.calls.find(({ headers }) => headers['exclude-patterns'] !== undefined);
    assert.equal(context?.headers['exclude-patterns'], 'logs, !logs/keep');
    assert.equal(context?.headers.followpaths, 'dir, src/*.c');
  });

  test('does not offer what is asked for', async () => {
    const session = await new FakeSession('s4', {}).open(buildkit);
    await assert.rejects(build(session), /does not serve/);
    const other = await new FakeSession('s5', { [diffCopy]: filesOf({}) }).open(buildkit);
    await assert.rejects(build(other), /no access allowed to dir "dockerfile"/);
    nothingLeft();
  });

  const context = (answer: Call): Record<string, Call> => ({
    [diffCopy]: (stream, headers) =>
      headers['dir-name'] === 'dockerfile' || headers.followpaths === '.dockerignore'
        ? filesOf({ dockerfile: dockerfile('FROM scratch\nCOPY . /\n'), context: () => [] })(stream, headers)
        : answer(stream, headers),
  });
  const packets =
    (...list: Parameters<typeof writePacket>[0][]): Call =>
    (stream) => {
      begin(stream);
      for (const packet of list) stream.write(frame(writePacket(packet)));
      stream.resume();
    };
  const stat = (path: string, more: Partial<ReturnType<typeof statOf>> = {}) => ({
    type: PacketType.PACKET_STAT,
    stat: statOf({ path, stat: more }),
  });
  const last = { type: PacketType.PACKET_STAT };
  const raw =
    (bytes: Buffer): Call =>
    (stream) => {
      begin(stream);
      stream.write(bytes);
      stream.resume();
    };

  const hostile: Record<string, [answer: Call, why: RegExp]> = {
    'a path that leaves the folder': [packets(stat('..'), last), /not a clean relative one/],
    'an absolute path': [packets(stat('/etc/passwd'), last), /not a clean relative one/],
    'a path with a NUL': [packets(stat('a\0b'), last), /not a clean relative one/],
    'a file before its directory': [packets(stat('d/f'), last), /comes before its directory/],
    'a file inside a file': [packets(stat('f'), stat('f/g'), last), /comes before its directory/],
    'a directory twice': [packets(stat('d', { mode: 2 ** 31 }), stat('d', { mode: 2 ** 31 }), last), /comes twice/],
    'a name twice': [
      packets(stat('f', { linkname: '' as ByteString, size: 0 }), stat('f', { size: 0, mode: 2 ** 25 }), last, {
        type: PacketType.PACKET_DATA,
        id: 0,
      }),
      /f|duplicate/,
    ],
    'a hard link to nothing': [packets(stat('f', { linkname: 'gone' as ByteString }), last), /did not come before/],
    'a size below nothing': [packets(stat('f', { size: -1 }), last), /has a size of/],
    'content that nobody asked for': [packets({ type: PacketType.PACKET_DATA, id: 7, data: Buffer.from('x') }), /was not asked for/],
    'a stat after the last one': [packets(last, stat('f')), /after the last one|stopped|ended|broke off/],
    'a message that is no packet': [raw(frame(Buffer.from('ffffffffff', 'hex'))), /packet cannot be read/],
    'a compressed message': [raw(Buffer.from([1, 0, 0, 0, 1, 0])), /compressed/],
    'a message without end': [raw(Buffer.from([0, 0xff, 0xff, 0xff, 0xff])), /larger than/],
    'an error of its own': [packets({ type: PacketType.PACKET_ERR, data: Buffer.from('permission denied: x') }), /permission denied: x/],
    'an end in the middle': [
      (stream) => {
        begin(stream);
        stream.write(frame(writePacket(stat('f'))));
        finish(stream);
      },
      /stopped sending/,
    ],
    'a status in the middle': [
      (stream) => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '13', 'grpc-message': 'disk%20on%20fire' }));
        stream.end(frame(writePacket(stat('f'))));
      },
      /disk on fire/,
    ],
  };
  for (const [name, [answer, why]] of Object.entries(hostile)) {
    test(`sends ${name}: the build fails with a reason and leaves nothing`, { timeout: 20_000 }, async () => {
      const session = await new FakeSession(randomUUID(), context(answer)).open(buildkit);
      if (name === 'a stat after the last one') {
        // The tree is whole by then; what follows is not read.
        await build(session).catch((error) => assert.match(error.message, why));
      } else {
        await assert.rejects(build(session), (error: Error) => {
          assert.match(error.message, why);
          return error instanceof EngineError;
        });
      }
      nothingLeft();
    });
  }

  test('vanishes while its files are under way: the build ends at once', { timeout: 20_000 }, async () => {
    const session: FakeSession = new FakeSession(
      'vanishing',
      context((stream) => {
        begin(stream);
        stream.write(frame(writePacket(stat('f', { size: 10 }))));
        setTimeout(() => session.vanish(), 50);
      }),
    );
    await session.open(buildkit);
    const startedAt = Date.now();
    await assert.rejects(build(session), /session|gone/);
    assert.ok(Date.now() - startedAt < 15_000);
    await session.attached;
    nothingLeft();
  });

  test('stops in the middle: whoever waits can still cancel', { timeout: 20_000 }, async () => {
    const session = await new FakeSession(
      'silent',
      context((stream) => begin(stream)),
    ).open(buildkit);
    const cancel = new AbortController();
    setTimeout(() => cancel.abort(new EngineError('Cancelled', 'CANCELLED', 'enough')), 200);
    await assert.rejects(build(session, { signal: cancel.signal }));
    nothingLeft();
  });

  test('takes a result as files, in the order of a walk', async () => {
    const taken: string[] = [];
    const contents = new Map<number, string>();
    const take: Call = (stream) => {
      begin(stream);
      let id = 0;
      let open = 0;
      let all = false;
      const done = () => all && open === 0 && stream.write(frame(writePacket({ type: PacketType.PACKET_FIN })));
      onPackets(stream, (packet) => {
        if (packet.type === PacketType.PACKET_FIN) return finish(stream);
        if (packet.type === PacketType.PACKET_DATA) {
          if (packet.data.length > 0) contents.set(packet.id, (contents.get(packet.id) ?? '') + Buffer.from(packet.data).toString());
          else open--;
        } else if (packet.stat === undefined) all = true;
        else {
          taken.push(`${packet.stat.path} ${packet.stat.mode.toString(8)} ${packet.stat.linkname}`);
          if (packet.stat.mode < 2 ** 19 && packet.stat.linkname === '') {
            open++;
            stream.write(frame(writePacket({ type: PacketType.PACKET_REQ, id })));
          }
          id++;
        }
        done();
      });
    };
    const folders = {
      dockerfile: dockerfile('FROM scratch\nCOPY . /\n'),
      context: (): FakeFile[] => [
        { path: 'd', stat: { mode: 2 ** 31 + 0o750 } },
        { path: 'd/f', content: 'content' },
        { path: 'd.txt', content: 'x'.repeat(100_000) },
      ],
    };
    const session = await new FakeSession('taking', { [diffCopy]: filesOf(folders), [fileSend]: take }).open(buildkit);
    await build(session, { exporters: [{ type: 'local', attrs: {} }] });
    assert.deepEqual(taken, ['d 20000000750 ', 'd/f 644 ', 'd.txt 644 ']);
    assert.equal(contents.get(1), 'content');
    assert.equal(contents.get(2)?.length, 100_000);
    const refusing = await new FakeSession('refusing', {
      [diffCopy]: filesOf(folders),
      [fileSend]: (stream) => refuse(stream, 2, 'no space left'),
    }).open(buildkit);
    await assert.rejects(build(refusing, { exporters: [{ type: 'local', attrs: {} }] }), /no space left/);
    await assert.rejects(build(refusing, { exporters: [{ type: 'tar', attrs: {} }] }), /no space left/);
    nothingLeft();
  });

  test('is asked for credentials where the image is to be pushed', async () => {
    const credentials: Call = (stream) =>
      stream.on('data', () =>
        reply(stream, toBinary(CredentialsResponseSchema, create(CredentialsResponseSchema, { Username: 'me', Secret: 'x' }))),
      );
    const folders = { dockerfile: dockerfile('FROM scratch\nENV A=1\n'), context: () => [] };
    const session = await new FakeSession('pushing', {
      [diffCopy]: filesOf(folders),
      '/moby.filesync.v1.Auth/Credentials': credentials,
    }).open(buildkit);
    const { imageId } = await build(session, {
      exporters: [{ type: 'moby', attrs: { name: 'reg.example/a,reg.example/b:2', push: 'true' } }],
    });
    assert.deepEqual(pushes.pushed, ['reg.example/a:latest as me', 'reg.example/b:2 as me']);
    assert.equal(imageId, (await bench.store.images.resolve('reg.example/b:2')).id);
  });

  test('has an id of its own, and is waited for', async () => {
    const session = await new FakeSession('twice', {}).open(buildkit);
    await assert.rejects(
      buildkit.attachSession({ id: 'twice', name: '', sharedKey: '', methods: [] }, async () => assert.fail('not to be asked')),
      /already exists/,
    );
    await assert.rejects(
      buildkit.attachSession({ id: '', name: '', sharedKey: '', methods: [] }, async () => assert.fail('not to be asked')),
      /no proper id/,
    );
    const late = new FakeSession('late', { [diffCopy]: filesOf({ dockerfile: dockerfile('FROM scratch\n'), context: () => [] }) });
    const built = build(late);
    await late.open(buildkit);
    assert.match((await built).imageId ?? '', /^sha256:/);
    session.vanish();
    await session.attached;
    const again = await new FakeSession('twice', {}).open(buildkit);
    again.vanish();
  });

  test('gives secrets, credentials and agents', async () => {
    const sessions = new Sessions();
    const session = new FakeSession('giving', {
      '/moby.buildkit.secrets.v1.Secrets/GetSecret': (stream) =>
        stream.on('data', (chunk: Buffer) => {
          if (chunk.includes('known'))
            reply(stream, toBinary(GetSecretResponseSchema, create(GetSecretResponseSchema, { data: Buffer.from([0, 255]) })));
          else refuse(stream, 5, 'not found');
        }),
      '/moby.filesync.v1.Auth/Credentials': (stream) =>
        stream.on('data', (chunk: Buffer) => {
          const answer = chunk.includes('registry-1.docker.io') ? { Username: 'me', Secret: 'pass' } : { Secret: 'token' };
          reply(stream, toBinary(CredentialsResponseSchema, create(CredentialsResponseSchema, answer)));
        }),
      '/moby.sshforward.v1.SSH/CheckAgent': (stream) =>
        stream.on('data', (chunk: Buffer) => {
          if (chunk.includes('default')) reply(stream, toBinary(CheckAgentResponseSchema, create(CheckAgentResponseSchema)));
          else refuse(stream, 2, 'unset ssh forward key');
        }),
      '/moby.sshforward.v1.SSH/ForwardAgent': (stream, headers) => {
        assert.equal(headers['buildkit.ssh.id'], 'default');
        begin(stream);
        stream.pipe(stream);
      },
    });
    await session.open({ attachSession: (offer, connect) => sessions.attach(offer, connect) } as BuildKitServer);
    const open = await sessions.get('giving', new AbortController().signal);
    const secrets = new SessionSecrets(open);
    assert.deepEqual(await secrets.get('known'), new Uint8Array([0, 255]));
    assert.equal(await secrets.get('other'), undefined);
    assert.doesNotMatch(JSON.stringify({ secrets }), /known/);
    assert.deepEqual(await sessionCredentials(open, { domain: 'docker.io' }), { username: 'me', password: 'pass' });
    assert.deepEqual(await sessionCredentials(open, { domain: 'reg.example' }), { identitytoken: 'token' });
    const agents = new SessionAgents(open);
    assert.equal(await agents.connect('other'), undefined);
    const agent = await agents.connect('default');
    assert.ok(agent !== undefined);
    agent.end('asked');
    let heard = '';
    for await (const chunk of agent) heard += chunk;
    assert.equal(heard, 'asked');
    session.vanish();
  });
});

describe('the connection on which a client asks for builds', { skip }, () => {
  test('is watched from the start, refuses graphs, and its end cancels', { timeout: 60_000 }, async () => {
    await using bench = await openBuilds();
    await bench.image('bb:1', {}, {}, true);
    const buildkit = new BuildKitServer({
      store: bench.store,
      builder: bench.engine,
      archives: new ArchiveService(transportParts(bench.store)),
      transfers: pushes,
      worker: { id: 'w', version: '1.2.3', hostname: 'h', snapshotter: 'erofs-overlay' },
      onImage: () => undefined,
      shutdown: new AbortController().signal,
    });
    const [near, far] = await socketPair();
    far.on('end', () => far.destroy());
    await buildkit.serve(far);
    const channel = new Channel(near);
    const control = channel.client(Control);
    assert.equal((await channel.client(Health).check({})).status, ServingStatus.SERVING);
    assert.equal((await control.listWorkers({})).record[0]?.ID, 'w');
    assert.equal((await control.info({})).buildkitVersion?.version, '1.2.3');
    assert.deepEqual((await control.diskUsage({})).record, []);
    await assert.rejects(control.solve({ Ref: 'g', Session: 'x', Definition: { def: [new Uint8Array([1])] } }), /LLB/);
    await assert.rejects(control.updateBuildHistory({ Ref: 'none', Delete: true }), /no record/);

    const folders = { dockerfile: dockerfile('FROM bb:1\nRUN echo to the watcher\nRUN sleep 600\n'), context: () => [] };
    const session = await new FakeSession('watched', { [diffCopy]: filesOf(folders) }).open(buildkit);
    const seen: StatusResponse[] = [];
    const watched = (async () => {
      for await (const status of control.status({ Ref: 'r1' })) {
        seen.push(status);
        if (seen.some(({ logs }) => logs.some(({ msg }) => Buffer.from(msg).includes('to the watcher')))) return;
      }
    })();
    const solving = control.solve({ Ref: 'r1', Session: 'watched', Frontend: 'dockerfile.v0', ExporterDeprecated: 'moby' });
    solving.catch(() => undefined);
    await watched;
    await assert.rejects(control.solve({ Ref: 'r1', Session: 'watched', Frontend: 'dockerfile.v0' }), /already exists/);
    await assert.rejects(control.solve({ Ref: 'r2', Session: 'watched', Frontend: 'other.v0' }), /not supported/);
    near.destroy();
    await assert.rejects(solving);
    const deadline = Date.now() + 10_000;
    while (readdirSync(bench.store.paths.tmp).length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(readdirSync(bench.store.paths.tmp), []);
    session.vanish();
    await session.attached;
    await buildkit.close();
  });
});
