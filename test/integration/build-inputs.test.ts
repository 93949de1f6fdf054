import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { BuildInputs } from '../../src/api/build-inputs.ts';
import { EngineError } from '../../src/base/errors.ts';
import { cannotRunDaemon, DaemonPlace, type DaemonProcess } from './api-daemon-harness.ts';

const nothingSent: ConstructorParameters<typeof BuildInputs>[0] = {
  contexts: { context: () => assert.fail('no tree was sent') },
  agents: { connect: () => assert.fail('no agent is carried') },
};
const cli = join(import.meta.dirname, '../../src/cli/main.ts');

describe('secrets, agents and named contexts by the command line', { skip: cannotRunDaemon }, () => {
  const place = new DaemonPlace();
  let daemon: DaemonProcess;
  const folder = join(place.folder, 'app');
  before(async () => {
    daemon = await place.start();
    mkdirSync(folder);
    slipway(['import', place.imageTar(), 'bb:1']);
  });
  after(() => place.remove());

  function slipway(args: string[], env: Record<string, string> = {}): string {
    return execFileSync(process.execPath, [cli, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '', HOME: place.folder, SLIPWAY_HOST: `unix://${place.socket}`, ...env },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  test('a canary in a file and one in a variable reach the steps and are nowhere else', () => {
    const [file, variable] = ['f', 'v'].map((letter) => `canary-${letter}-${'w4'.repeat(16)}`) as [string, string];
    const outside = join(place.folder, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'token'), file);
    writeFileSync(
      join(folder, 'Dockerfile'),
      [
        'FROM bb:1',
        'RUN --mount=type=secret,id=token test "$(head -c 8 /run/secrets/token)" = canary-f && stat -f -c %T /run/secrets/token > /type',
        'RUN --mount=type=secret,id=word,env=WORD,required test "$(echo $WORD | head -c 8)" = canary-v && test ! -e /run/secrets/word',
        'RUN test ! -e /run/secrets && test -z "$WORD" && mount > /mounts',
        'ENV done=1',
      ].join('\n'),
    );
    const said = slipway(
      ['build', '--progress', 'plain', '-t', 'canary:1', '--secret', `id=token,src=${outside}/token`, '--secret', 'id=word,env=WORD', '.'],
      { WORD: variable },
    );
    const told = [
      said,
      slipway(['history', '--no-trunc', 'canary:1']),
      slipway(['inspect', 'canary:1']),
      slipway(['build', 'ls', '--format', 'json']),
      daemon.log,
    ];
    slipway(['save', '-o', join(place.folder, 'saved.tar'), 'canary:1']);
    for (const canary of [file, variable]) {
      for (const text of told) assert.ok(!text.includes(canary));
      // The state root with its layers, keys and logs, the run directory, and what was saved.
      const found = execFileSync('sh', [
        '-c',
        'grep -rlaF "$1" "$2" "$3" "$4" || true',
        'sh',
        canary,
        place.root,
        place.run,
        join(place.folder, 'saved.tar'),
      ]).toString();
      assert.equal(found, '');
      for (const name of ['environ', 'cmdline', 'mountinfo'])
        assert.ok(!readFileSync(`/proc/${daemon.pid}/${name}`, 'latin1').includes(canary));
    }
    assert.equal(slipway(['run', '--rm', 'canary:1', 'cat', '/type']).trim(), 'tmpfs');
    assert.deepEqual(readdirSync(join(place.run, 'build')), []);
  });

  test('an ssh agent is reached through the mount', (t) => {
    const agentSocket = join(place.folder, 'agent.sock');
    const agent = spawn(
      process.execPath,
      [
        '-e',
        `require('node:net').createServer((s) => s.on('data', () => s.write(Buffer.from([0,0,0,5,12,0,0,0,0])))).listen(${JSON.stringify(agentSocket)})`,
      ],
      { stdio: 'ignore' },
    );
    t.after(() => void agent.kill());
    execFileSync('sh', ['-c', `for i in $(seq 100); do [ -S ${agentSocket} ] && exit 0; sleep 0.05; done; exit 1`]);
    writeFileSync(
      join(folder, 'Dockerfile'),
      'FROM bb:1\nRUN --mount=type=ssh,required test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /o\n',
    );
    slipway(['build', '-q', '-t', 'agent:1', '--ssh', 'default', '.'], { SSH_AUTH_SOCK: agentSocket });
    assert.equal(slipway(['run', '--rm', 'agent:1', 'cat', '/o']).trim(), '/run/buildkit/ssh_agent.0');
  });

  test('a named context is a folder of the client, or another image', () => {
    mkdirSync(join(place.folder, 'lib'));
    writeFileSync(join(place.folder, 'lib/a'), 'from the folder\n');
    writeFileSync(join(folder, 'Dockerfile'), 'FROM start\nCOPY --from=lib a /a\n');
    slipway(['build', '-q', '-t', 'named:1', '--build-context', 'lib=../lib', '--build-context', 'start=docker-image://bb:1', '.']);
    assert.equal(slipway(['run', '--rm', 'named:1', 'cat', '/a']), 'from the folder\n');
  });

  test('--check tells of warnings and builds nothing', () => {
    writeFileSync(join(folder, 'Dockerfile'), 'FROM bb:1\nRUN exit 3\nCMD ["x"]\n');
    assert.equal(slipway(['build', '--check', '-t', 'checked:1', '.']), 'Check complete, no warnings found.\n');
    assert.throws(() => slipway(['inspect', 'checked:1']));
    writeFileSync(join(folder, 'Dockerfile'), 'FROM bb:1\nRUN exit 3\nCMD x\n');
    assert.throws(
      () => slipway(['build', '--check', '.']),
      (error: { status: number; stderr: string }) =>
        error.status === 1 && /JSONArgsRecommended: .* \(line 3\)/.test(error.stderr) && /1 warning has been found/.test(error.stderr),
    );
  });

  for (const [args, message] of [
    [['--secret', 'src=x'], /it has no id/],
    [['--secret', 'id=x,src=/nonexistent/x'], /cannot read the secret \/nonexistent\/x/],
    [['--secret', 'id=x,env=NOT_SET_HERE'], /NOT_SET_HERE of --secret id=x is not set/],
    [['--secret', 'id=x,scr=y'], /invalid --secret/],
    [['--ssh', 'default'], /SSH_AUTH_SOCK is not set/],
    [['--build-context', 'lib'], /invalid --build-context/],
    [['--build-context', 'lib=oci-layout://x'], /cannot use oci-layout/],
  ] as const) {
    test(`${args.join(' ')} is refused`, () => {
      writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch\n');
      assert.throws(() => slipway(['build', ...args, '.']), message);
    });
  }
});

describe('what a build is sent beside its context', () => {
  const receive = (value: unknown) =>
    new BuildInputs(nothingSent).receive(Readable.from([Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))]));
  const code = (wanted: string) => (error: unknown) => error instanceof EngineError && error.code === wanted;

  test('it is kept under an id that nobody guesses', async () => {
    const inputs = new BuildInputs(nothingSent);
    const id = await inputs.receive(Readable.from([Buffer.from(JSON.stringify({ secrets: { a: Buffer.from('x').toString('base64') } }))]));
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.equal(Buffer.from((await inputs.get(id).secrets?.get('a')) ?? []).toString(), 'x');
    assert.ok(!JSON.stringify(inputs.get(id)).includes('x"'));
    assert.deepEqual(inputs.get(undefined), {});
    assert.throws(() => inputs.get('0'.repeat(32)), code('BUILD_INPUTS_NOT_FOUND'));
  });

  test('what is no JSON is not quoted', async () => {
    await assert.rejects(
      receive('{"secrets": {"a": hunter2}}'),
      (error: unknown) => code('BUILD_INPUTS_INVALID')(error) && !String(error).includes('hunter2'),
    );
  });

  test('a folder or a socket that is another one here is refused', async () => {
    await assert.rejects(receive({ contexts: { lib: { folder: { path: '/usr', dev: 1, ino: 1 } } } }), code('BUILD_INPUT_NOT_SHARED'));
    await assert.rejects(receive({ ssh: { default: { path: '/usr', dev: 1, ino: 1 } } }), code('BUILD_INPUT_NOT_SHARED'));
    await assert.rejects(receive({ contexts: { lib: { folder: { path: 'usr', dev: 1, ino: 1 } } } }), code('FIELD_INVALID'));
  });

  test('too much is refused', async () => {
    await assert.rejects(receive({ secrets: { a: 'A'.repeat(17 * 1024 * 1024) } }), code('BUILD_INPUTS_TOO_LARGE'));
  });
});
