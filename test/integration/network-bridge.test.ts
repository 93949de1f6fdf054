import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { unmount } from '../../src/kernel/mount.ts';
import type { Definition } from '../../src/network/definitions.ts';
import type { NetworkDriver } from '../../src/network/drivers/port.ts';
import { parseSubnet } from '../../src/network/ip.ts';
import { ask, eventually, hostAddress, needs, openNetworks, serveText, shell, traces } from './network-harness.ts';

const names = { containerName: 'web', hostname: 'web' };

class FailingDriver implements NetworkDriver {
  readonly addressing = 'driver';
  readonly endsWithNamespace = false;
  readonly publishing = 'none';
  async define() {
    return {};
  }
  async ensure(network: Definition) {
    return network;
  }
  async join(): Promise<never> {
    throw new Error('no more links');
  }
  async leave() {}
  async restore() {
    return undefined;
  }
  async retire() {}
}

test('a container on the default bridge has an address, a route, and leaves nothing behind', { skip: needs }, async (t) => {
  const { networks, rootId, directory, log } = await openNetworks(t);
  const { netns, endpoints } = await networks.attach('c1', [{ name: 'bridge' }], [], names);
  const [endpoint] = endpoints;
  assert.ok(endpoint);
  assert.equal(netns, join(directory, 'run/netns/c1'));
  assert.match(await shell('ip -4 -o address show eth0', netns), new RegExp(`inet ${endpoint.ipAddress}/${endpoint.prefixLength} `));
  assert.match(await shell('ip link show eth0', netns), new RegExp(endpoint.macAddress));
  assert.match(await shell('ip route', netns), new RegExp(`default via ${endpoint.gateway} `));
  assert.match(await shell('ip link show lo', netns), /LOOPBACK,UP/);
  assert.deepEqual(await networks.endpoints('c1'), endpoints);
  assert.deepEqual(await networks.attached(), ['c1']);
  assert.equal(await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8'), '1\n');
  assert.ok(log.every((message) => message.includes('ip_forward')));

  await networks.detach('c1');
  await networks.detach('c1');
  assert.ok(!existsSync(netns));
  assert.deepEqual(await networks.attached(), []);
  assert.deepEqual(await networks.endpoints('c1'), []);
  assert.match(await shell('ip -o link'), new RegExp(`sw${rootId}br0`), 'the bridge stays for the next container');
  await eventually(async () => assert.equal(await shell(`ls /sys/class/net/sw${rootId}br0/brif`), '', 'without ports'));

  await networks.dismantle();
  assert.equal(await traces(rootId), '');
});

test('none has loopback only, host has no namespace', { skip: needs }, async (t) => {
  const { networks, rootId } = await openNetworks(t);
  const none = await networks.attach('c1', [{ name: 'none' }], [], names);
  assert.match(await shell('ip -o link', none.netns), /^1: lo: <LOOPBACK,UP[^\n]*$/);
  assert.equal(none.endpoints[0]?.ipAddress, '');
  const host = await networks.attach('c2', [{ name: 'host' }], [], names);
  assert.equal(host.netns, '');
  assert.equal(host.endpoints[0]?.network, 'host');
  await networks.detach('c2');
  await networks.detach('c1');
  assert.equal(await traces(rootId), '', 'neither needs a bridge');
  await assert.rejects(networks.attach('c3', [{ name: 'host' }, { name: 'bridge' }], [], names), { code: 'NETWORKS_EXCLUSIVE' });
});

test('the end of the daemon leaves the host as it was, unless a container is attached', { skip: needs }, async (t) => {
  const engine = await openNetworks(t);
  await engine.networks.attach('c1', [{ name: 'bridge' }], [], names);
  await engine.networks.close();
  assert.match(await traces(engine.rootId), /br0/);
  const next = engine.reopen();
  await next.recover();
  await next.detach('c1');
  await next.close();
  assert.equal(await traces(engine.rootId), '');
  await engine.reopen().close();
});

test('an attach that fails is undone whole', { skip: needs }, async (t) => {
  const { networks, directory, rootId } = await openNetworks(t, { drivers: new Map([['failing', new FailingDriver()]]) });
  await networks.create({ name: 'broken', driver: 'failing' });
  const ports = [{ hostIp: '', hostPort: 41_999, containerPort: 80, protocol: 'tcp' as const }];
  const both = [{ name: 'bridge' }, { name: 'broken' }];
  await assert.rejects(networks.attach('c1', both, ports, names), /no more links/);
  assert.deepEqual(await networks.attached(), []);
  assert.ok(!existsSync(join(directory, 'run/netns/c1')));
  assert.doesNotMatch(await shell(`iptables-save | grep ${rootId}`), /41999/);
  await eventually(async () => assert.doesNotMatch(await shell('ip -o link'), new RegExp(`sv${rootId}`)));
  const next = await networks.attach('c1', [{ name: 'bridge' }], [], names);
  await assert.rejects(networks.connect('c1', { name: 'broken' }, names), /no more links/);
  assert.deepEqual(await networks.endpoints('c1'), next.endpoints);
});

test('detach is complete when half of it is gone', { skip: needs }, async (t) => {
  const { networks, rootId } = await openNetworks(t);
  await networks.create({ name: 'named' });
  const ports = [{ hostIp: '', hostPort: 41_998, containerPort: 80, protocol: 'tcp' as const }];
  for (const damage of ['namespace', 'rules', 'link', 'record'] as const) {
    const { netns, endpoints } = await networks.attach('c1', [{ name: 'named' }], ports, names);
    if (damage === 'namespace') unmount(netns, { detach: true });
    if (damage === 'rules') await shell(`iptables -t nat -F SLIPWAY-${rootId}-DNAT`);
    if (damage === 'link') await shell('ip link delete eth0', netns);
    if (damage === 'record') await rm(join(netns, '../../network/attachments/c1.json'));
    await networks.detach('c1');
    assert.ok(!existsSync(netns), damage);
    assert.doesNotMatch(await shell(`iptables-save | grep ${rootId}`), /41998/, damage);
    const zone = await shell(`cat ${join(netns, '../../network/dns')}/* 2>/dev/null`);
    assert.doesNotMatch(zone, /c1 /, damage);
    const again = await networks.attach('c2', [{ name: 'named', ipv4: endpoints[0]?.ipAddress ?? '' }], [], names);
    assert.equal(again.endpoints[0]?.ipAddress, endpoints[0]?.ipAddress, `${damage}: the address is free again`);
    await networks.detach('c2');
  }
});

test('containers of a killed engine are known to the next one, which puts their rules back', { skip: needs }, async (t) => {
  const engine = await openNetworks(t);
  const ports = [{ hostIp: '', hostPort: 41_997, containerPort: 80, protocol: 'tcp' as const }];
  const before = await engine.networks.attach('c1', [{ name: 'bridge' }], ports, names);
  await serveText(t, before.netns, 80, 'still here');
  await shell(
    `iptables -t nat -F SLIPWAY-${engine.rootId}-DNAT; iptables -F SLIPWAY-${engine.rootId}-FWD; iptables -t nat -D PREROUTING 1`,
  );

  const next = engine.reopen();
  assert.deepEqual(await next.endpoints('c1'), before.endpoints);
  await next.recover();
  assert.equal(await ask('127.0.0.1', 41_997), 'still here');
  const second = await next.attach('c2', [{ name: 'bridge' }], [], names);
  assert.notEqual(second.endpoints[0]?.ipAddress, before.endpoints[0]?.ipAddress);
});

test('containers attached side by side each get an address of their own', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  const ids = Array.from({ length: 12 }, (_, i) => `c${i}`);
  const attached = await Promise.all(ids.map((id) => networks.attach(id, [{ name: 'bridge' }], [], names)));
  const addresses = attached.map(({ endpoints }) => endpoints[0]?.ipAddress);
  assert.equal(new Set(addresses).size, ids.length);
  for (const [i, { netns }] of attached.entries()) {
    assert.match(await shell('ip -4 -o address show eth0', netns), new RegExp(`inet ${addresses[i]}/`));
  }
  await Promise.all(ids.map((id) => networks.detach(id)));
  assert.deepEqual(await networks.attached(), []);
});

test('user-defined networks have DNS, the default one has not; networks do not reach each other', { skip: needs }, async (t) => {
  const { networks, rootId } = await openNetworks(t);
  await networks.create({ name: 'front' });
  await networks.create({ name: 'closed', internal: true });
  const web = await networks.attach('aaaaaaaaaaaa11', [{ name: 'front', aliases: ['www'] }], [], names);
  const client = await networks.attach('c2', [{ name: 'front' }], [], { containerName: 'client', hostname: 'c' });
  const [endpoint] = client.endpoints;
  assert.deepEqual(endpoint?.dnsServers, [endpoint?.gateway]);
  for (const name of ['web', 'www', 'aaaaaaaaaaaa']) {
    await eventually(async () => {
      const answer = await shell(`busybox nslookup ${name} ${endpoint?.gateway}`, client.netns);
      assert.match(answer, new RegExp(`Address: ${web.endpoints[0]?.ipAddress}\n`), name);
    });
  }
  await serveText(t, web.netns, 80, 'front');
  const webAddress = web.endpoints[0]?.ipAddress ?? '';
  assert.equal(await ask(webAddress, 80, client.netns), 'front');

  const other = await networks.attach('c3', [{ name: 'bridge' }], [], { containerName: 'other', hostname: 'o' });
  assert.deepEqual(other.endpoints[0]?.dnsServers, []);
  assert.equal(await ask(webAddress, 80, other.netns), '', 'isolated from another network');

  const both = await networks.attach('c4', [{ name: 'closed' }, { name: 'front' }], [], { containerName: 'both', hostname: 'b' });
  assert.equal(await ask(webAddress, 80, both.netns), 'front', 'a second network is joined too');
  assert.match(await shell('ip route', both.netns), /^default via \S+ dev eth1/, 'an internal network gives no way out');

  await assert.rejects(networks.remove('front'), { code: 'NETWORK_IN_USE', message: /name:"web" id:"aaaaaaaaaaaa"/ });
  for (const id of ['aaaaaaaaaaaa11', 'c2', 'c4']) await networks.detach(id);
  await networks.remove('front');
  await networks.remove('closed');
  assert.doesNotMatch(
    await shell(`iptables-save | grep ${rootId}`),
    new RegExp(webAddress.replace(/\.\d+\.\d+$/, '\\.0\\.0')),
    'rules of the network went too',
  );
  assert.match(await traces(rootId), /br0/);
  assert.equal(await shell(`ls /sys/class/net | grep -c sw${rootId}`), '1', 'only the default bridge is left');
});

test('fixed addresses are honoured, and refused when they cannot be', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t, {
    settings: { pools: [{ base: parseSubnet('10.208.0.0/16'), prefixLength: 29 }] },
  });
  const { subnets } = await networks.create({ name: 'small' });
  const at = (host: number) =>
    `${subnets[0]?.subnet.split('/')[0]?.replace(/\d+$/, '')}${Number(subnets[0]?.subnet.split(/[./]/)[3]) + host}`;
  const fixed = await networks.attach('c1', [{ name: 'small', ipv4: at(5), macAddress: '02-AA-00-00-00-01' }], [], names);
  assert.equal(fixed.endpoints[0]?.ipAddress, at(5));
  assert.match(await shell('ip link show eth0', fixed.netns), /02:aa:00:00:00:01/);
  const attach = (id: string, ipv4?: string) =>
    networks.attach(id, [ipv4 === undefined ? { name: 'small' } : { name: 'small', ipv4 }], [], names);
  await assert.rejects(attach('c2', at(5)), { kind: 'Denied', code: 'ADDRESS_IN_USE', message: /web/ });
  await assert.rejects(attach('c2', at(1)), { code: 'ADDRESS_IN_USE', message: /gateway/ });
  for (const bad of [at(0), at(7), '10.1.2.3', 'nonsense']) await assert.rejects(attach('c2', bad), { code: 'ADDRESS_INVALID' });
  await assert.rejects(networks.attach('c2', [{ name: 'bridge', ipv4: at(4) }], [], names), { code: 'ADDRESS_INVALID' });
  await assert.rejects(attach('c1'), { code: 'ALREADY_ATTACHED' });
  const rest: (string | undefined)[] = [];
  for (const id of ['c2', 'c3', 'c4', 'c5']) rest.push((await attach(id)).endpoints[0]?.ipAddress);
  await assert.rejects(attach('c6'), { code: 'NO_FREE_ADDRESS' });
  await networks.detach('c3');
  assert.equal((await attach('c6')).endpoints[0]?.ipAddress, rest[1], 'the one that came back');
});

test('a container cannot reach what the host serves on its loopback only', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  const { netns, endpoints } = await networks.attach('c1', [{ name: 'bridge' }], [], names);
  await serveText(t, undefined, 41_996, 'private', '127.0.0.1');
  assert.equal(await ask('127.0.0.1', 41_996), 'private');
  // What a process with NET_ADMIN, or NET_RAW and patience, would do.
  await shell(
    'ip link set lo down; sysctl -qw net.ipv4.conf.eth0.route_localnet=1; ip route flush table local 127.0.0.0/8; ip address del 127.0.0.1/8 dev lo',
    netns,
  );
  await shell(`ip route add 127.0.0.0/8 via ${endpoints[0]?.gateway} dev eth0`, netns);
  assert.match(await shell('ip route get 127.0.0.1', netns), /dev eth0/);
  assert.equal(await ask('127.0.0.1', 41_996, netns), '');
});

test('the host is reached by its own address, and containers answer it', { skip: needs }, async (t) => {
  const { networks } = await openNetworks(t);
  const { netns, endpoints } = await networks.attach('c1', [{ name: 'bridge' }], [], names);
  await serveText(t, undefined, 41_995, 'host');
  assert.equal(await ask(await hostAddress(), 41_995, netns), 'host');
  assert.equal(await ask(endpoints[0]?.gateway ?? '', 41_995, netns), 'host');
});
