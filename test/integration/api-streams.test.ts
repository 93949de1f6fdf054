import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError } from '../../src/base/errors.ts';
import { containerRecord, FakeContainers, partial } from './api-fakes.ts';
import { Client, framed, frames, serve } from './api-serve.ts';

const attach = 'POST /v1.41/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1';

test('attach upgrades, frames output, passes input on and ends stdin when the client ends its side', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  client.send([attach, 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp', 'Content-Length: 0']);
  await client.until('\r\n\r\n');
  assert.match(client.received.toString(), /^HTTP\/1\.1 101 UPGRADED\r\n.*Upgrade: tcp\r\n/s);
  client.socket.write('hello');
  await client.until('hello');
  client.socket.end();
  await client.ended;
  assert.deepEqual(frames(client.body), [
    [1, 'hello'],
    [2, 'bye'],
  ]);
});

test('attach without an upgrade answers 200 and goes on in raw bytes', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  client.send([attach, 'Host: x', 'Content-Length: 0']);
  await client.until('\r\n\r\n');
  assert.match(client.received.toString(), /^HTTP\/1\.1 200 OK\r\nContent-Type: application\/vnd\.docker\.raw-stream\r\n/);
  client.socket.write('GET / HTTP/1.1\r\n\r\n');
  await client.until('GET / HTTP/1.1');
  client.socket.end();
  await client.ended;
  assert.deepEqual(frames(client.body), [
    [1, 'GET / HTTP/1.1\r\n\r\n'],
    [2, 'bye'],
  ]);
});

test('with a tty output is raw and the detach keys end the connection but not the process', async (t) => {
  const containers = new FakeContainers(containerRecord({ config: { Image: 'web:1', OpenStdin: true, Tty: true } }));
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  client.send([attach, 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp']);
  client.socket.write('ab\x10');
  await client.until('ab');
  client.socket.write('\x11cd');
  await client.ended;
  assert.equal(client.body.toString(), 'ab');
  assert.equal(containers.process.closed, true);
});

test('an attach that fails is an ordinary answer, upgrade or not', async (t) => {
  const { path } = await serve(t, { containers: new FakeContainers().port() });
  const client = new Client(path);
  client.send(['POST /containers/nope/attach?stream=1 HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: tcp']);
  await client.ended;
  assert.match(client.received.toString(), /^HTTP\/1\.1 404 Not Found\r\n/);
  assert.deepEqual(JSON.parse(client.body.toString()), { message: 'No such container: nope', code: 'CONTAINER_NOT_FOUND' });
});

test('exec start reads its body before the raw bytes that follow it', async (t) => {
  for (const upgrade of [['Connection: Upgrade', 'Upgrade: tcp'], []]) {
    const containers = new FakeContainers();
    const exec = { args: ['cat'], tty: false, openStdin: true, attachStdout: true, attachStderr: true, env: [], privileged: false };
    const { id } = await containers.port().execCreate('web', exec);
    const { path } = await serve(t, { containers: containers.port() });
    const client = new Client(path);
    const body = JSON.stringify({ Detach: false, Tty: false });
    const head = [`POST /exec/${id}/start HTTP/1.1`, 'Host: x', 'Content-Type: application/json', `Content-Length: ${body.length}`];
    client.send([...head, ...upgrade], body);
    await client.until('\r\n\r\n');
    client.socket.write('ping');
    await client.until('ping');
    client.socket.destroy();
    assert.deepEqual(frames(client.body), [[1, 'ping']]);
  }
});

const runHead = (body: string) => [
  'POST /slipway/run HTTP/1.1',
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: slipway-run',
  'Content-Type: application/json',
  `Content-Length: ${Buffer.byteLength(body)}`,
];

test('run tells id, warnings, started, output and exit, in this order', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  const body = JSON.stringify({ name: 'web', create: { Image: 'web:1', HostConfig: { Turbo: 2 } }, attachStdin: true, rm: true });
  client.send(runHead(body), body);
  await client.until('started');
  client.socket.write(framed(3, 'some input'));
  await client.until('some input');
  client.socket.write(framed(0, '{"eof":true}'));
  await client.ended;
  const told = frames(client.body).map(([stream, text]) => (stream === 0 ? JSON.parse(text) : [stream, text]));
  assert.deepEqual(told[0], { id: 'c'.repeat(64) });
  assert.deepEqual(told[1], { warnings: ['HostConfig.Turbo is not a known field and has no effect'] });
  assert.equal(typeof told[2].started.timeMs, 'number');
  assert.deepEqual(told.slice(3), [[1, 'some input'], [2, 'bye'], { exit: { code: 3 } }]);
  assert.deepEqual(containers.created[0]?.request, {
    Image: 'web:1',
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    OpenStdin: true,
    StdinOnce: true,
    HostConfig: { AutoRemove: true },
  });
});

test('run tells what took how long just before the exit, when it is asked to', async (t) => {
  const { path } = await serve(t, { containers: new FakeContainers().port() });
  const client = new Client(path);
  const sentMs = Date.now();
  const body = JSON.stringify({ create: { Image: 'web:1' }, attachStdin: true, timing: true });
  client.send(runHead(body), body);
  await client.until('started');
  client.socket.write(framed(0, '{"eof":true}'));
  await client.ended;
  const told = frames(client.body).flatMap(([stream, text]) => (stream === 0 ? [JSON.parse(text)] : []));
  const [{ timing }, last] = told.slice(-2);
  assert.deepEqual(Object.keys(last), ['exit']);
  const names = timing.map(({ name }: { name: string }) => name);
  assert.deepEqual([names[0], ...names.slice(-2)], ['create', 'run', 'exit seen']);
  for (const { startMs, endMs } of timing) assert.ok(sentMs - 1 <= startMs && startMs <= endMs && endMs <= Date.now() + 1);
});

test('run passes signals and sizes on', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  const body = JSON.stringify({ create: { Image: 'web:1' }, tty: true, size: [24, 80] });
  client.send(runHead(body), body);
  client.socket.write(Buffer.concat([framed(0, '{"resize":[30,90]}'), framed(0, '{"signal":"SIGINT"}')]));
  await client.ended;
  assert.deepEqual(containers.sizes, [
    { rows: 24, columns: 80 },
    { rows: 30, columns: 90 },
  ]);
  assert.deepEqual(containers.killed, ['SIGINT']);
});

test('run tells a failed start as an error and an exit with its code', async (t) => {
  const containers = new FakeContainers();
  containers.startError = new EngineError('InvalidArgument', 'COMMAND_NOT_FOUND', 'exec: "nope": executable file not found in $PATH', {
    exitCode: 127,
  });
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  const body = JSON.stringify({ create: { Image: 'web:1' }, detach: true });
  client.send(runHead(body), body);
  await client.ended;
  const told = frames(client.body).map(([, text]) => JSON.parse(text));
  assert.equal(told[1].error.code, 'COMMAND_NOT_FOUND');
  assert.equal(told[2].exit.code, 127);
});

test('run refuses a frame that breaks the rules and goes on serving others', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  const body = JSON.stringify({ create: { Image: 'web:1' }, attachStdin: true });
  client.send(runHead(body), body);
  await client.until('started');
  client.socket.write(Buffer.from([9, 0, 0, 0, 0, 0, 0, 1, 0]));
  await client.ended;
  assert.equal(JSON.parse(frames(client.body).at(-1)?.[1] ?? '').error.code, 'FRAME_INVALID');
});

test('wait sends its headers before the container ends', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const client = new Client(path);
  client.send(['POST /containers/web/wait?condition=next-exit HTTP/1.1', 'Host: x', 'Connection: close', 'Content-Length: 0']);
  await client.until('\r\n\r\n');
  assert.match(client.received.toString(), /^HTTP\/1\.1 200 OK/);
  assert.equal(client.body.length, 0);
  containers.process.end();
  await client.ended;
  assert.match(client.body.toString(), /\{"StatusCode":3\}\n/);
});

test('logs frame each line, add timestamps, and stop when the client goes', async (t) => {
  let aborted = false;
  const { path } = await serve(t, {
    containers: new FakeContainers().port(),
    logs: {
      async *read(_id, { signal }) {
        yield { timeNs: 1_700_000_000_123_456_789n, stream: 'stdout', line: Buffer.from('one'), partial: false };
        yield { timeNs: 1_700_000_000_123_456_790n, stream: 'stderr', line: Buffer.from('tw'), partial: true };
        await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
        aborted = true;
      },
    },
  });
  const client = new Client(path);
  client.send(['GET /v1.43/containers/web/logs?stdout=1&stderr=1&follow=1&timestamps=1 HTTP/1.1', 'Host: x']);
  await client.until('790Z tw');
  assert.match(client.received.toString(), /Content-Type: application\/vnd\.docker\.multiplexed-stream/);
  assert.ok(client.received.includes(framed(1, '2023-11-14T22:13:20.123456789Z one\n')));
  assert.ok(client.received.includes(framed(2, '2023-11-14T22:13:20.123456790Z tw')));
  client.socket.destroy();
  while (!aborted) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('events are replayed since a time and end at another', async (t) => {
  const { path, services } = await serve(t, { containers: new FakeContainers().port() });
  for (const action of ['create', 'start', 'die'])
    services.events.publish({ type: 'container', action, id: 'abc', attributes: { name: 'web' } });
  services.events.publish({ type: 'volume', action: 'create', id: 'data', attributes: {} });
  const client = new Client(path);
  const until = Math.ceil(Date.now() / 1000) + 0;
  const filters = encodeURIComponent(JSON.stringify({ type: { container: true }, event: ['start', 'die'] }));
  client.send([`GET /events?since=1&until=${until}&filters=${filters} HTTP/1.1`, 'Host: x', 'Connection: close']);
  await client.ended;
  const actions = [...client.body.toString().matchAll(/"Action":"(\w+)"/g)].map((match) => match[1]);
  assert.deepEqual(actions, ['start', 'die']);
  assert.match(client.body.toString(), /"timeNano":\d{19}\}/);
});

test('a build streams Docker lines, and an error after the first line arrives in the stream', async (t) => {
  const { path } = await serve(t, {
    builder: {
      build: async (_request, { onEvent }) => {
        onEvent({ kind: 'vertex', vertex: 'a', name: '[1/2] FROM scratch', state: 'running' });
        onEvent({ kind: 'output', vertex: 'a', stream: 'stdout', data: Buffer.from('hi\n') });
        throw new EngineError('InvalidArgument', 'STEP_FAILED', "The command '/bin/false' returned a non-zero code: 1", { exitCode: 1 });
      },
    },
  });
  const client = new Client(path);
  client.send(
    ['POST /build?t=web HTTP/1.1', 'Host: x', 'Connection: close', 'Content-Type: application/x-tar', 'Content-Length: 3'],
    'tar',
  );
  await client.ended;
  const lines = [...client.body.toString().matchAll(/\{.*\}/g)].map(([line]) => JSON.parse(line));
  assert.deepEqual(lines, [
    { stream: '[1/2] FROM scratch\n' },
    { stream: 'hi\n' },
    {
      errorDetail: { code: 1, message: "The command '/bin/false' returned a non-zero code: 1" },
      error: "The command '/bin/false' returned a non-zero code: 1",
    },
  ]);
});

test('closing the connection cancels a build and leaves no upload behind', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-upload-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const cancelled = Promise.withResolvers<void>();
  const { path } = await serve(t, {
    tmpDir: folder,
    builder: {
      build: async (_request, { onEvent, signal }) => {
        onEvent({ kind: 'warning', message: 'started' });
        await new Promise((resolve) => signal?.addEventListener('abort', resolve));
        cancelled.resolve();
        throw new EngineError('Cancelled', 'CANCELLED', 'cancelled');
      },
    },
  });
  const client = new Client(path);
  client.send(['POST /build HTTP/1.1', 'Host: x', 'Content-Length: 3'], 'tar');
  await client.until('started');
  client.socket.destroy();
  await cancelled.promise;
  const { readdir } = await import('node:fs/promises');
  while ((await readdir(folder)).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('a client that is still sending when it is refused is told why', async (t) => {
  const { path } = await serve(t, {});
  const client = new Client(path);
  const errors: Error[] = [];
  client.socket.on('error', (error) => errors.push(error));
  client.send(['POST /images/create?fromSrc=-&repo=UPPER HTTP/1.1', 'Host: x', 'Connection: close', 'Content-Length: 8000000']);
  for (let sent = 0; sent < 8; sent++) {
    client.socket.write(Buffer.alloc(1_000_000));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await client.ended;
  assert.match(client.received.toString(), /^HTTP\/1\.1 400 .*must be in lower case/s);
  assert.deepEqual(errors, []);
});

test('a body that cannot be written is answered, and not cut', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'slipway-upload-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const { path } = await serve(t, { tmpDir: join(folder, 'gone') });
  const client = new Client(path);
  client.send(['POST /images/load HTTP/1.1', 'Host: x', 'Connection: close', 'Content-Length: 2000000'], Buffer.alloc(2_000_000));
  await client.ended;
  assert.match(client.received.toString(), /^HTTP\/1\.1 500 .*ENOENT/s);
});

test('what is not HTTP is refused and the next client is served', async (t) => {
  const { path } = await serve(t, { containers: partial('containers', {}) });
  const garbage = new Client(path);
  garbage.socket.write('\x16\x03\x01 hello\r\n\r\n');
  await garbage.ended;
  assert.match(garbage.received.toString(), /^HTTP\/1\.1 400 /);
  const client = new Client(path);
  client.send(['GET /_ping HTTP/1.1', 'Host: x', 'Connection: close']);
  await client.ended;
  assert.match(client.received.toString(), /Builder-Version: 1\r\n/i);
});
