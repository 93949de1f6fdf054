import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeDaemon, type FakePeer, finished } from './cli-fake-daemon.ts';

const id = 'ab'.repeat(32);
const runRoute = 'POST /slipway/run';

/** Begins a run as the daemon does. */
function begin(peer: FakePeer): void {
  peer.control({ id });
  peer.control({ started: { timeMs: 1 } });
}
function end(peer: FakePeer, code: number): void {
  peer.control({ exit: { code } });
  peer.socket.end();
}

test('run prints both streams, warns, and ends with the container’s status', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => {
    peer.control({ id });
    peer.control({ warnings: ['no swap here'] });
    peer.control({ started: { timeMs: 1 } });
    peer.control({ somethingNew: true });
    peer.output(1, 'out\n');
    peer.output(2, 'err\n');
    end(peer, 7);
  });
  const result = await daemon.run(['run', '--name', 'web', '-e', 'A=1', 'img', 'sh', '-c', 'x']);
  assert.deepEqual([result.status, result.stdout, result.stderr], [7, 'out\n', 'WARNING: no swap here\nerr\n']);
  const body = JSON.parse(daemon.requests[0]?.body.toString() ?? '') as Record<string, unknown>;
  assert.deepEqual(
    [body.name, body.detach, body.attachStdin, body.attachStdout, (body.create as { Cmd: string[] }).Cmd],
    ['web', false, false, true, ['sh', '-c', 'x']],
  );
});

test('run -i passes standard input on, and its end', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => {
    begin(peer);
    void peer.untilControl('eof').then(() => {
      peer.output(1, peer.stdin.toUpperCase());
      end(peer, 0);
    });
  });
  const result = await daemon.run(['run', '-i', 'img', 'cat'], { stdin: 'x'.repeat(300_000) });
  assert.deepEqual([result.status, result.stdout.length, result.stderr], [0, 300_000, '']);
});

test('run passes signals on and waits for the exit', async () => {
  await using daemon = await FakeDaemon.start();
  let child: ReturnType<FakeDaemon['spawn']> | undefined;
  daemon.onUpgrade(runRoute, (_request, peer) => {
    begin(peer);
    peer.output(1, 'ready\n');
    void peer.untilControl('signal').then((message) => {
      assert.equal(message.signal, 'SIGTERM');
      end(peer, 143);
    });
  });
  child = daemon.spawn(['run', 'img', 'sleep', '9']);
  child.stdout?.once('data', () => child?.kill('SIGTERM'));
  assert.equal((await finished(child)).status, 143);
});

test('run --rm waits until the name is free', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => {
    begin(peer);
    end(peer, 0);
  });
  const gone = { message: 'No such container', code: 'CONTAINER_NOT_FOUND' };
  daemon.onJson(`POST /containers/${id}/wait`, 404, gone);
  assert.equal((await daemon.run(['run', '--rm', '--name', 'x', 'img'])).status, 0);
  assert.equal(daemon.requests[1]?.query.get('condition'), 'removed');
});

test('run -d prints the ID and leaves; --cidfile holds it', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => begin(peer));
  const result = await daemon.run(['run', '-d', '--cidfile', 'cid', 'img']);
  assert.deepEqual([result.status, result.stdout], [0, `${id}\n`]);
  assert.equal(readFileSync(join(daemon.folder, 'cid'), 'utf8'), id);
  const again = await daemon.run(['run', '-d', '--cidfile', 'cid', 'img']);
  assert.equal(again.status, 125);
  assert.match(again.stderr, /cid \(--cidfile\) exists already/);
});

test('run tells why a command could not be started, with its status', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => {
    peer.control({ id });
    peer.control({
      error: { kind: 'InvalidArgument', code: 'COMMAND_NOT_FOUND', message: 'nope: not found', hint: 'Check PATH.', exitCode: 127 },
    });
    end(peer, 127);
  });
  const result = await daemon.run(['run', 'img', 'nope']);
  assert.deepEqual([result.status, result.stdout, result.stderr], [127, '', 'Error: nope: not found\nCheck PATH.\n']);
});

test('run ends with 125 for an engine error, and leaves no cidfile', async () => {
  await using daemon = await FakeDaemon.start();
  const result = await daemon.run(['run', '--pull', 'never', '--cidfile', 'cid', 'img']);
  assert.deepEqual([result.status, result.stderr], [125, 'Error: No such image: img\nSee "slipway images".\n']);
  assert.equal(existsSync(join(daemon.folder, 'cid')), false);
});

test('run ends with 125 when the daemon goes away, and says that the container may live on', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => {
    begin(peer);
    peer.output(1, 'some');
    peer.socket.end();
  });
  const result = await daemon.run(['run', 'img']);
  assert.deepEqual([result.status, result.stdout], [125, 'some']);
  assert.match(result.stderr, /connection to the daemon was lost\n.*slipway attach abababababab/);
});

test('run tells the container when nobody reads its output any more', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onUpgrade(runRoute, (_request, peer) => {
    begin(peer);
    const timer = setInterval(() => peer.output(1, 'y\n'), 10);
    void peer.untilControl('signal').then((message) => {
      clearInterval(timer);
      assert.equal(message.signal, 'SIGPIPE');
      end(peer, 141);
    });
  });
  const child = daemon.spawn(['run', 'img', 'yes']);
  child.stdout?.once('data', () => child.stdout?.destroy());
  const result = await finished(child);
  assert.deepEqual([result.status, result.stderr], [141, '']);
});

test('run -t refuses standard input that is no terminal', async () => {
  await using daemon = await FakeDaemon.start();
  const result = await daemon.run(['run', '-it', 'img']);
  assert.deepEqual(
    [result.status, result.stderr],
    [125, 'Error: the input is not a terminal\nLeave out -t when standard input is a pipe or a file.\n'],
  );
});

test('on a terminal: keys go through raw, ctrl-p ctrl-q detaches', { timeout: 20_000 }, async () => {
  await using daemon = await FakeDaemon.start();
  let peer: FakePeer | undefined;
  daemon.onUpgrade(runRoute, (_request, connected) => {
    peer = connected;
    begin(connected);
    connected.output(1, '$ ');
    void connected.untilControl('detach').then(() => connected.socket.end());
  });
  const child = daemon.spawnOnTerminal(['run', '-it', 'img', 'sh']);
  child.stdout?.once('data', () => {
    child.stdin?.write('a\x03');
    setTimeout(() => child.stdin?.write('\x10\x11'), 200);
  });
  const result = await finished(child);
  assert.equal(result.status, 0, result.stdout + result.stderr);
  assert.equal(peer?.stdin, 'a\x03');
  const body = JSON.parse(daemon.requests[0]?.body.toString() ?? '') as { size?: number[]; tty: boolean };
  assert.equal(body.tty, true);
  assert.equal(body.size?.length, 2);
});

test('exec prints multiplexed output and ends with the command’s status', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('POST /containers/web/exec', 201, { Id: 'e1' });
  daemon.onUpgrade('POST /exec/e1/start', (_request, peer) => {
    peer.output(1, 'out');
    peer.output(2, 'err');
    peer.socket.end();
  });
  daemon.onJson('GET /exec/e1/json', 200, { ID: 'e1', Running: false, ExitCode: 3 });
  const result = await daemon.run(['exec', '-e', 'A=1', '-w', '/srv', 'web', 'ls', '-l']);
  assert.deepEqual([result.status, result.stdout, result.stderr], [3, 'out', 'err']);
  const body = JSON.parse(daemon.requests[0]?.body.toString() ?? '') as Record<string, unknown>;
  assert.deepEqual([body.Cmd, body.Env, body.WorkingDir, body.AttachStdin], [['ls', '-l'], ['A=1'], '/srv', false]);
});

test('start -a attaches before it starts', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.onJson('GET /containers/web/json', 200, { Id: id, Config: { Tty: false, OpenStdin: false }, State: { Running: false } });
  let attached: FakePeer | undefined;
  daemon.onUpgrade(`POST /containers/${id}/attach`, (_request, peer) => {
    attached = peer;
  });
  daemon.onJson(`POST /containers/${id}/wait`, 200, { StatusCode: 5 });
  daemon.on(`POST /containers/${id}/start`, (_request, response) => {
    assert.ok(attached, 'attached first');
    response.writeHead(204).end();
    attached.output(1, 'hello\n');
    attached.socket.end();
  });
  const result = await daemon.run(['start', '-a', 'web']);
  assert.deepEqual([result.status, result.stdout, result.stderr], [5, 'hello\n', '']);
});
