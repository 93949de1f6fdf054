import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { containerRecord, FakeContainers } from './api-fakes.ts';
import { Client, serve } from './api-serve.ts';

/** Node's own client; what it gets as text. */
async function open(address: string) {
  const socket = new WebSocket(address);
  socket.binaryType = 'arraybuffer';
  const received: (string | Buffer)[] = [];
  let wake = () => {};
  socket.addEventListener('message', ({ data }) => {
    received.push(typeof data === 'string' ? data : Buffer.from(data));
    wake();
  });
  const closed = once(socket, 'close').then(([event]) => (event as CloseEvent).code);
  await once(socket, 'open');
  const until = async (text: string) => {
    while (!received.join('').includes(text)) await new Promise<void>((resolve) => (wake = resolve));
  };
  return { socket, received, closed, until };
}

test('attach over a WebSocket passes both ways, unframed, and closes when the process ends', async (t) => {
  const containers = new FakeContainers();
  const { port } = await serve(t, { containers: containers.port() });
  const { socket, received, closed, until } = await open(
    `ws://127.0.0.1:${port}/v1.50/containers/web/attach/ws?stream=1&stdin=1&stdout=1&stderr=1`,
  );
  socket.send('hello ');
  socket.send(Buffer.alloc(70_000, 'x'));
  await until('x'.repeat(70_000));
  containers.process.say('stderr', 'bye');
  containers.process.end();
  assert.equal(await closed, 1000);
  assert.ok(received.every((message) => Buffer.isBuffer(message)));
  assert.equal(received.join(''), `hello ${'x'.repeat(70_000)}bye`);
});

test('before 1.42 all streams were attached, before 1.28 messages were text', async (t) => {
  const containers = new FakeContainers();
  const { port } = await serve(t, { containers: containers.port() });
  const { socket, received, until, closed } = await open(`ws://127.0.0.1:${port}/v1.27/containers/web/attach/ws?stream=1`);
  socket.send('hi');
  await until('hi');
  assert.deepEqual(received, ['hi']);
  socket.close();
  await closed;
});

test('a client that closes leaves the process alone; the detach keys close the connection', async (t) => {
  const containers = new FakeContainers(containerRecord({ config: { Image: 'web:1', OpenStdin: true, Tty: true } }));
  const { port } = await serve(t, { containers: containers.port() });
  const { socket, closed, until, received } = await open(
    `ws://127.0.0.1:${port}/containers/web/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=a,b`,
  );
  socket.send('x');
  await until('x');
  socket.send('ab');
  assert.equal(await closed, 1000);
  assert.deepEqual([received.join(''), containers.process.closed], ['x', true]);
});

test('what is no WebSocket is answered in HTTP', async (t) => {
  const { path } = await serve(t, { containers: new FakeContainers().port() });
  const ask = async (name: string, heads: string[]) => {
    const reader = new Client(path);
    reader.send([`GET /containers/${name}/attach/ws?stream=1 HTTP/1.1`, 'Host: x', ...heads]);
    await reader.ended;
    return {
      status: Number(/^HTTP\/1\.1 (\d+)/.exec(reader.received.toString())?.[1]),
      message: JSON.parse(reader.body.toString()).message,
    };
  };
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket'];
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==';
  assert.match((await ask('web', ['Connection: close'])).message, /needs the header Upgrade: websocket/);
  assert.match((await ask('web', [...upgrade, key])).message, /Version must be 13/);
  assert.match((await ask('web', [...upgrade, 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: short'])).message, /16 bytes in base64/);
  assert.equal((await ask('nope', [...upgrade, key, 'Sec-WebSocket-Version: 13'])).status, 404);
});

test('frames that break the rules close the connection, and pings are answered', async (t) => {
  const containers = new FakeContainers();
  const { path } = await serve(t, { containers: containers.port() });
  const reader = new Client(path);
  const heads = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
  reader.send(['GET /containers/web/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1', 'Host: x', ...heads]);
  await reader.until('\r\n\r\n');
  // The key and its answer are the RFC's own example.
  assert.match(reader.received.toString(), /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/);
  reader.socket.write(Buffer.from([0x89, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
  await reader.until('\u0002hi');
  reader.socket.write(Buffer.from([0x81, 0x01, 0x61]));
  await reader.ended;
  assert.deepEqual([...reader.body], [0x8a, 2, 0x68, 0x69, 0x88, 2, 1002 >> 8, 1002 & 255]);
});
