import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import type { PortBinding } from '../../src/network/port.ts';
import { ask, askUdp, hostAddress, needs, openNetworks, serveText, serveUdp } from './network-harness.ts';

const names = { containerName: 'web', hostname: 'web' };
const tcp = (hostIp: string, hostPort: number, containerPort = 80): PortBinding => ({ hostIp, hostPort, containerPort, protocol: 'tcp' });

test('a published port leads to the container from everywhere', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  await networks.create({ name: 'other' });
  await using reserved = await networks.reserve([tcp('', 0)]);
  const port = reserved.bindings[0]?.hostPort ?? 0;
  assert.ok(port > 0);
  const web = await networks.attach('c1', [{ name: 'bridge' }], reserved.bindings, names);
  await serveText(t, web.netns, 80, 'container');
  const neighbour = await networks.attach('c2', [{ name: 'bridge' }], [], names);
  const stranger = await networks.attach('c3', [{ name: 'other' }], [], names);
  await assert.rejects(networks.reserve([tcp('127.0.0.1', port)]), { code: 'PORT_IN_USE', message: /in use by container web$/ });
  const host = await hostAddress();
  assert.equal(await ask('127.0.0.1', port), 'container', 'the loopback of the host, not the socket that reserves the port');
  assert.equal(await ask('127.0.0.9', port), 'container', 'any address of the loopback');
  assert.equal(await ask(host, port), 'container', 'the address of the host');
  assert.equal(await ask(host, port, neighbour.netns), 'container', 'a neighbour through the host');
  assert.equal(await ask(host, port, web.netns), 'container', 'the container itself through the host');
  assert.equal(await ask(web.endpoints[0]?.gateway ?? '', port, web.netns), 'container', 'the container itself through its gateway');
  assert.equal(await ask(host, port, stranger.netns), 'container', 'a container on another network');
  await networks.detach('c1');
  reserved.release();
  assert.equal(await ask('127.0.0.1', port), '');
});

test('a port published on one address is there only', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  await using reserved = await networks.reserve([tcp('127.0.0.1', 0)]);
  const port = reserved.bindings[0]?.hostPort ?? 0;
  const web = await networks.attach('c1', [{ name: 'bridge' }], reserved.bindings, names);
  await serveText(t, web.netns, 80, 'local');
  const neighbour = await networks.attach('c2', [{ name: 'bridge' }], [], names);
  assert.equal(await ask('127.0.0.1', port), 'local');
  assert.equal(await ask(await hostAddress(), port), '');
  assert.equal(await ask(await hostAddress(), port, neighbour.netns), '');
});

test('UDP ports are published too', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  await using reserved = await networks.reserve([{ hostIp: '', hostPort: 0, containerPort: 53, protocol: 'udp' }]);
  const port = reserved.bindings[0]?.hostPort ?? 0;
  const { netns } = await networks.attach('c1', [{ name: 'bridge' }], reserved.bindings, names);
  await serveUdp(t, netns, 53, 'answer');
  assert.equal(await askUdp('127.0.0.1', port), 'answer');
  assert.equal(await askUdp(await hostAddress(), port), 'answer');
});

test('a reserved port is taken, and a taken port is refused with the name of its holder', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  for (const hostIp of ['', '127.0.0.1', '0.0.0.0']) {
    await assert.rejects(networks.reserve([tcp(hostIp, port)]), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'PORT_IN_USE');
      assert.match(error.message, new RegExp(`:${port}/tcp is already in use by .* \\(pid ${process.pid}\\)`));
      return true;
    });
  }
  const first = await networks.reserve([tcp('', 0)]);
  const taken = first.bindings[0]?.hostPort ?? 0;
  await assert.rejects(networks.reserve([tcp('', 0), tcp('127.0.0.1', taken)]), { code: 'PORT_IN_USE' });
  first.release();
  first.release();
  await (await networks.reserve([tcp('127.0.0.1', taken)]))[Symbol.asyncDispose]();
});

test('a range gives its first free port', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  const range: PortBinding = { ...tcp('127.0.0.1', 41_900), hostPortEnd: 41_901 };
  await using one = await networks.reserve([range]);
  await using two = await networks.reserve([range]);
  assert.deepEqual(one.bindings, [tcp('127.0.0.1', 41_900)]);
  assert.deepEqual(two.bindings, [tcp('127.0.0.1', 41_901)]);
  await assert.rejects(networks.reserve([range]), { code: 'PORT_IN_USE', message: /41900-41901/ });
});

test('mappings that make no sense are refused before anything is bound', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  const refused: [PortBinding, string][] = [
    [tcp('', 70_000), 'PORT_INVALID'],
    [tcp('', 8080, 0), 'PORT_INVALID'],
    [{ ...tcp('', 8080), hostPortEnd: 8000 }, 'PORT_INVALID'],
    [tcp('300.1.1.1', 8080), 'HOST_ADDRESS_INVALID'],
    [tcp('198.51.100.7', 8080), 'HOST_ADDRESS_INVALID'],
    [tcp('2001:db8::7', 8080), 'HOST_ADDRESS_INVALID'],
    [tcp('fe80::1%lo', 8080), 'HOST_ADDRESS_INVALID'],
    [{ ...tcp('', 8080), protocol: 'sctp' as 'tcp' }, 'PROTOCOL_UNSUPPORTED'],
  ];
  for (const [binding, code] of refused) await assert.rejects(networks.reserve([binding]), { code });
});
