// biome-ignore-all lint/suspicious/noTemplateCurlyInString: what the shell expands
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { GivenSecrets } from '../../src/build/secrets.ts';
import { serveAgent } from '../../src/build/steps/agent-proxy.ts';
import { removeLeftSecrets } from '../../src/build/steps/step-secrets.ts';
import { listMounts, mountFilesystem } from '../../src/kernel/mount.ts';
import { type BuildBench, openBuilds } from '../support/builds.ts';

const skip = process.getuid?.() !== 0 && 'needs root';
const base = { 'tmp/': { mode: 0o1777 } };

function given(values: Record<string, string>): GivenSecrets {
  return new GivenSecrets(Object.entries(values).map(([id, value]) => [id, Buffer.from(value)]));
}

/** An agent that answers each message with its type, or that its keys are none. */
async function fakeAgent(path: string): Promise<{ server: Server; seen: number[]; sockets: Set<Socket> }> {
  const seen: number[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('data', (data) => {
      seen.push(Buffer.from(data).at(4) ?? -1);
      socket.write(Buffer.from([0, 0, 0, 5, 12, 0, 0, 0, 0]));
    });
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { server, seen, sockets };
}

describe('secrets of builds', { skip }, () => {
  let builds: BuildBench;
  before(async () => {
    builds = await openBuilds();
    await builds.image('base', base, {}, true);
  });
  after(() => builds[Symbol.asyncDispose]());
  const memory = () => join(builds.folder, 'memory');

  test('a canary in a file, in a variable and in a required secret is nowhere afterwards', async () => {
    const canary = `canary-${'q7'.repeat(20)}`;
    const dockerfile = [
      'FROM base',
      'RUN --mount=type=secret,id=one test "$(cat /run/secrets/one)" = "$(cat /run/secrets/one)" && cat /run/secrets/one | head -c 0 > /n',
      'RUN --mount=type=secret,id=one,env=TOKEN,required test -n "$TOKEN" && test ${#TOKEN} -gt 20 && echo used > /o',
      'RUN --mount=type=cache,target=/c --mount=type=secret,id=one,target=/c/token test -s /c/token && echo kept > /c/x',
      'ENV after=1',
    ].join('\n');
    const result = await builds.build(dockerfile, {}, { secrets: given({ one: canary }), tags: ['canary:1'] });
    const told = JSON.stringify([
      result.events.map((event) => (event.kind === 'output' ? event.data.toString() : event)),
      result.image,
      result.config,
    ]);
    assert.ok(!told.includes(canary) && !told.toLowerCase().includes(canary));
    assertAbsent(builds.folder, canary);
    for (const file of ['environ', 'cmdline', 'mountinfo']) assert.ok(!readFileSync(`/proc/self/${file}`, 'latin1').includes(canary));
    assert.deepEqual(readdirSync(memory()), []);
    assert.ok(!listMounts().some(({ mountPoint }) => mountPoint.startsWith(memory())));
  });

  test('while a step runs the value is on a tmpfs that others cannot enter, and not on disk', async () => {
    const canary = `running-${'z3'.repeat(20)}`;
    let looked = 0;
    const look = () => {
      looked++;
      const mounts = listMounts().filter(({ mountPoint }) => mountPoint.startsWith(`${memory()}/`));
      assert.equal(mounts.length, 1);
      assert.equal(mounts[0]?.type, 'tmpfs');
      // Looks at disks only: `-x` stays on one file system.
      assertAbsent(builds.folder, canary);
    };
    await builds.build(
      'FROM base\nRUN --mount=type=secret,id=one echo now && sleep 1 && test -s /run/secrets/one',
      {},
      {
        secrets: given({ one: canary }),
        onEvent: (event) => {
          if (event.kind === 'output' && event.data.includes('now')) look();
        },
      },
    );
    assert.equal(looked, 1);
  });

  test('a value is in no key: another one does not run the step again', async () => {
    const dockerfile = 'FROM base\nRUN --mount=type=secret,id=one cat /run/secrets/one | head -c 0 > /made && date > /when';
    const first = await builds.build(dockerfile, {}, { secrets: given({ one: 'a' }) });
    const second = await builds.build(dockerfile, {}, { secrets: given({ one: 'b' }) });
    assert.equal(second.image?.id, first.image?.id);
    assert.equal(second.cachedVertices, second.vertices);
  });

  test('a step that fails leaves nothing in memory', async () => {
    await assert.rejects(builds.build('FROM base\nRUN --mount=type=secret,id=one exit 3', {}, { secrets: given({ one: 'x' }) }));
    assert.deepEqual(readdirSync(memory()), []);
  });

  test('a secret that is too large, and a variable with a zero byte', async () => {
    const large = new GivenSecrets([['one', Buffer.alloc(600 * 1024)]]);
    const code = (wanted: string) => (error: unknown) => error instanceof EngineError && error.code === wanted;
    await assert.rejects(builds.build('FROM base\nRUN --mount=type=secret,id=one true', {}, { secrets: large }), code('SECRET_TOO_LARGE'));
    const zero = new GivenSecrets([['one', Buffer.from('a\0b')]]);
    await assert.rejects(
      builds.build('FROM base\nRUN --mount=type=secret,id=one,env=X true', {}, { secrets: zero }),
      code('SECRET_INVALID'),
    );
  });

  test('what a crash left mounted is taken away', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-left-'));
    mkdirSync(join(folder, 'deadbeef'));
    mountFilesystem({ type: 'tmpfs', source: 'test', target: join(folder, 'deadbeef'), options: [] });
    await removeLeftSecrets(folder);
    assert.deepEqual(readdirSync(folder), []);
    await removeLeftSecrets(join(folder, 'none'));
    rmSync(folder, { recursive: true });
  });

  test('an ssh mount is a socket of the right owner and mode, gone afterwards', async (t) => {
    const path = join(builds.folder, 'agent.sock');
    const agent = await fakeAgent(path);
    t.after(() => void agent.server.close());
    const ssh = { connect: async (id: string): Promise<Duplex | undefined> => (id === 'default' ? connect(path) : undefined) };
    const result = await builds.build(
      "FROM base\nRUN --mount=type=ssh,mode=0640,uid=5,gid=6 test -S $SSH_AUTH_SOCK && stat -c '%a %u %g' $SSH_AUTH_SOCK > /o\nRUN test ! -e /run/buildkit",
      {},
      { ssh },
    );
    assert.equal(await builds.text(result.tree.id, 'o'), '640 5 6\n');
    assert.deepEqual(readdirSync(memory()), []);
  });
});

describe('the agent of a step', () => {
  async function open(t: { after(fn: () => Promise<void> | void): void }) {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-agent-'));
    const agent = await fakeAgent(join(folder, 'real'));
    const served = await serveAgent(join(folder, 'step'), async () => connect(join(folder, 'real')));
    t.after(async () => {
      await served.close();
      for (const socket of agent.sockets) socket.destroy();
      agent.server.close();
      rmSync(folder, { recursive: true, force: true });
    });
    return { agent, client: connect(join(folder, 'step')) };
  }
  const once = (socket: Socket) => new Promise<Buffer>((resolve) => socket.once('data', resolve));
  const message = (type: number, rest = '') => Buffer.concat([Buffer.from([0, 0, 0, 1 + rest.length, type]), Buffer.from(rest)]);

  test('listing and signing pass, in pieces too', async (t) => {
    const { agent, client } = await open(t);
    client.write(message(11));
    assert.equal((await once(client))[4], 12);
    const sign = message(13, 'data');
    client.write(sign.subarray(0, 3));
    client.write(sign.subarray(3));
    assert.equal((await once(client))[4], 12);
    assert.deepEqual(agent.seen, [11, 13]);
    client.destroy();
  });

  for (const [what, type] of [
    ['adding a key', 17],
    ['removing a key', 18],
    ['removing all', 19],
    ['locking', 22],
    ['adding a card', 20],
  ] as const) {
    test(`${what} is refused and never reaches the agent`, async (t) => {
      const { agent, client } = await open(t);
      client.write(message(type, 'x'));
      assert.deepEqual(await once(client), Buffer.from([0, 0, 0, 1, 5]));
      assert.deepEqual(agent.seen, []);
      client.destroy();
    });
  }

  test('what is no message ends the connection', async (t) => {
    const { agent, client } = await open(t);
    const closed = new Promise((resolve) => client.once('close', resolve));
    client.write(Buffer.from([255, 255, 255, 255, 1]));
    await closed;
    assert.deepEqual(agent.seen, []);
  });
});

/** Fails when a file below holds the text. Binary files too; other file systems are left out. */
function assertAbsent(folder: string, text: string): void {
  const found = execFileSync('sh', ['-c', 'find "$1" -xdev -type f -exec grep -laF "$2" {} + || true', 'sh', folder, text]).toString();
  assert.equal(found, '');
}
