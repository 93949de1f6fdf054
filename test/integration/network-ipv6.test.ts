import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { ask, askUdp, eventually, openNetworks, servePeer, serveText, serveUdp, shell } from './network-harness.ts';
import { host, machine, ownHost } from './network-own-host.ts';

const outside = await ownHost(import.meta.url);
const named = (containerName: string) => ({ containerName, hostname: containerName });
const port = (hostIp: string, hostPort: number, containerPort = 80, protocol: 'tcp' | 'udp' = 'tcp') => ({
  hostIp,
  hostPort,
  containerPort,
  protocol,
});

if (outside !== undefined) {
  test('containers of a network with IPv6 have an address of each family, names for both, and a way out', async (t) => {
    const { networks } = await openNetworks(t);
    const network = await networks.create({
      name: 'six',
      ipv6: true,
      subnets: [{ subnet: 'fd00:66::/64', range: 'fd00:66::100/120', aux: { router: 'fd00:66::100' } }],
    });
    assert.deepEqual(network.subnets.map(({ subnet, gateway }) => [subnet.includes(':'), gateway]).at(1), [true, 'fd00:66::1']);
    const one = await networks.attach('c1', [{ name: 'six' }], [], named('one'));
    const two = await networks.attach('c2', [{ name: 'six', ipv6: 'fd00:66::42' }], [], named('two'));
    const [endpoint] = one.endpoints;
    assert.equal(endpoint?.ipv6Address, 'fd00:66::101', 'the first of the range that is no auxiliary address');
    assert.equal(endpoint?.ipv6PrefixLength, 64);
    assert.equal(endpoint?.ipv6Gateway, 'fd00:66::1');
    assert.equal(two.endpoints[0]?.ipv6Address, 'fd00:66::42');
    assert.match(await shell('ip -6 route', one.netns), /default via fd00:66::1 dev eth0/);
    await serveText(t, two.netns, 80, 'two', '::');
    assert.equal(await ask('fd00:66::42', 80, one.netns), 'two');
    await eventually(async () =>
      assert.match(await shell(`busybox nslookup -type=aaaa two ${endpoint?.gateway}`, one.netns), /fd00:66::42/),
    );
    await servePeer(t, outside, 90);
    assert.equal(await ask(machine.ipv6, 90, one.netns), host.ipv6, "the host's address stands for the container's");
    await assert.rejects(networks.attach('c3', [{ name: 'six', ipv6: 'fd00:66::42' }], [], named('three')), { code: 'ADDRESS_IN_USE' });
    await assert.rejects(networks.attach('c3', [{ name: 'six', ipv6: 'fd00:67::1' }], [], named('three')), { code: 'ADDRESS_INVALID' });
  });

  test('a container without IPv6 has none, and cannot have one', async (t) => {
    const { networks } = await openNetworks(t);
    const { netns, endpoints } = await networks.attach('c1', [{ name: 'bridge' }], [], named('one'));
    assert.equal(endpoints[0]?.ipv6Address, '');
    assert.equal(await shell('ip -6 address show eth0', netns), '');
    assert.match(await shell('ip -6 address show lo', netns), /::1/);
    await assert.rejects(networks.attach('c2', [{ name: 'bridge', ipv6: 'fd00::2' }], [], named('two')), { code: 'ADDRESS_INVALID' });
  });

  test('subnets of IPv6 are picked from a range of the root, do not overlap, and need IPv6 to be asked for', async (t) => {
    const { networks, rootId } = await openNetworks(t);
    const [one, two] = [await networks.create({ name: 'one', ipv6: true }), await networks.create({ name: 'two', ipv6: true })];
    assert.ok(one.ipv6 && one.subnets.length === 2);
    assert.match(one.subnets[1]?.subnet ?? '', new RegExp(`^fd${rootId.slice(0, 2)}:.*/64$`));
    assert.notEqual(one.subnets[1]?.subnet, two.subnets[1]?.subnet);
    const subnets = [{ subnet: one.subnets[1]?.subnet ?? '' }];
    await assert.rejects(networks.create({ name: 'three', ipv6: true, subnets }), { code: 'SUBNET_OVERLAPS', message: /Pool overlaps/ });
    await assert.rejects(networks.create({ name: 'three', subnets: [{ subnet: 'fd00:68::/64' }] }), { code: 'SUBNET_INVALID' });
  });

  for (const ipv6 of [true, false]) {
    test(`a port published on every address is reached on IPv6 ${ipv6 ? 'by rules' : 'though the container has IPv4 only'}`, async (t) => {
      const { networks } = await openNetworks(t);
      await networks.create({ name: 'net', ipv6 });
      await using reserved = await networks.reserve([port('', 0), port('', 0, 53, 'udp')]);
      assert.deepEqual(
        reserved.bindings.map(({ hostIp }) => hostIp),
        ['0.0.0.0', '::', '0.0.0.0', '::'],
      );
      const [tcpPort = 0, , udpPort = 0] = reserved.bindings.map(({ hostPort }) => hostPort);
      assert.equal(reserved.bindings[1]?.hostPort, tcpPort, 'one number for both families');
      const web = await networks.attach('c1', [{ name: 'net' }], reserved.bindings, named('web'));
      await servePeer(t, web.netns, 80);
      await serveUdp(t, web.netns, 53, 'answer', '::');
      const { ipv6Gateway = '', gateway = '' } = web.endpoints[0] ?? {};
      assert.equal(await ask('::1', tcpPort), ipv6 ? ipv6Gateway : gateway, 'the loopback of the host');
      assert.equal(await ask(host.ipv6, tcpPort, outside), ipv6 ? machine.ipv6 : gateway, 'from the wire; rules keep the source');
      assert.equal(await ask(host.ipv4, tcpPort, outside), machine.ipv4);
      assert.equal(await ask('127.0.0.1', tcpPort), gateway);
      assert.equal(await askUdp('::1', udpPort), 'answer');
      assert.equal(await askUdp(host.ipv6, udpPort), 'answer');
      assert.equal(await askUdp('127.0.0.1', udpPort), 'answer');
      await networks.detach('c1');
      reserved.release();
      assert.equal(await ask('::1', tcpPort), '');
      await (await networks.reserve([port('::', tcpPort), port('0.0.0.0', tcpPort)]))[Symbol.asyncDispose]();
    });
  }

  test('a port on ::1 is there only, and one on :: is not on IPv4', async (t) => {
    const { networks } = await openNetworks(t);
    await using reserved = await networks.reserve([port('::1', 0), port('::', 0)]);
    const [local = 0, every = 0] = reserved.bindings.map(({ hostPort }) => hostPort);
    const web = await networks.attach('c1', [{ name: 'bridge' }], reserved.bindings, named('web'));
    await serveText(t, web.netns, 80, 'web');
    assert.equal(await ask('::1', local), 'web');
    assert.equal(await ask(host.ipv6, local, outside), '');
    assert.equal(await ask(host.ipv6, every, outside), 'web');
    assert.equal(await ask(host.ipv4, every, outside), '');
  });

  test('ports on IPv6 go on with the next engine, which takes their sockets from whoever holds them', async (t) => {
    const engine = await openNetworks(t);
    const reserved = await engine.networks.reserve([port('::', 0), port('::', 0, 53, 'udp')]);
    const web = await engine.networks.attach('c1', [{ name: 'bridge' }], reserved.bindings, named('web'));
    await serveText(t, web.netns, 80, 'web');
    await serveUdp(t, web.netns, 53, 'answer');
    // As the container's monitor does.
    const monitor = spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', ...reserved.fds] });
    t.after(() => monitor.kill('SIGKILL'));
    reserved.release();
    const [tcpPort = 0, udpPort = 0] = reserved.bindings.map(({ hostPort }) => hostPort);
    assert.equal(await ask('::1', tcpPort), 'web');
    // What the end of its process does to an engine's sockets.
    await engine.networks.close();
    await assert.rejects(engine.networks.reserve([port('::', tcpPort)]), { code: 'PORT_IN_USE' }, 'the monitor keeps the port');
    const next = engine.reopen();
    await next.recover();
    assert.equal(await ask('::1', tcpPort), 'web');
    assert.equal(await askUdp('::1', udpPort), 'answer');
    await next.detach('c1');
    monitor.kill('SIGKILL');
    await eventually(async () => (await next.reserve([port('::', tcpPort), port('::', udpPort, 53, 'udp')])).release());
  });

  test('networks with IPv6 are apart, and their containers are reached from the wire by what is published only', async (t) => {
    const { networks } = await openNetworks(t);
    for (const name of ['one', 'two']) await networks.create({ name, ipv6: true });
    const one = await networks.attach('c1', [{ name: 'one' }], [], named('one'));
    const two = await networks.attach('c2', [{ name: 'two' }], [], named('two'));
    await serveText(t, one.netns, 80, 'one', '::');
    const { ipAddress = '', ipv6Address = '' } = one.endpoints[0] ?? {};
    assert.equal(await ask(ipv6Address, 80), 'one', 'the host reaches it');
    assert.equal(await ask(ipv6Address, 80, two.netns), '');
    await shell(`ip route add ${ipAddress}/32 via ${host.ipv4}; ip route add ${ipv6Address}/128 via ${host.ipv6}`, outside);
    assert.equal(await ask(ipAddress, 80, outside), '');
    assert.equal(await ask(ipv6Address, 80, outside), '');
  });

  test('a routed network has its own addresses outside, open where ports are published', async (t) => {
    const { networks } = await openNetworks(t);
    const options = { 'com.docker.network.bridge.gateway_mode_ipv4': 'routed', 'com.docker.network.bridge.gateway_mode_ipv6': 'routed' };
    await networks.create({ name: 'routed', ipv6: true, options });
    const { netns, endpoints } = await networks.attach('c1', [{ name: 'routed' }], [port('', 8080)], named('web'));
    const { ipAddress = '', ipv6Address = '' } = endpoints[0] ?? {};
    await shell(`ip route add ${ipAddress}/32 via ${host.ipv4}; ip route add ${ipv6Address}/128 via ${host.ipv6}`, outside);
    await servePeer(t, netns, 80);
    await serveText(t, netns, 81, 'private', '::');
    await servePeer(t, outside, 91);
    assert.equal(await ask(ipAddress, 80, outside), machine.ipv4);
    assert.equal(await ask(ipv6Address, 80, outside), machine.ipv6);
    assert.equal(await ask(ipAddress, 81, outside), '');
    assert.equal(await ask(machine.ipv4, 91, netns), ipAddress, 'no masquerade');
    assert.equal(await ask(machine.ipv6, 91, netns), ipv6Address);
    assert.equal(await ask(host.ipv4, 8080, outside), '');
  });
}
