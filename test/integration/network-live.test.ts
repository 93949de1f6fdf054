import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PortBinding } from '../../src/network/port.ts';
import { ask, eventually, openNetworks, serveDns, servePeer, serveText, shell } from './network-harness.ts';
import { host, machine, ownHost } from './network-own-host.ts';

const outside = await ownHost(import.meta.url);
const named = (containerName: string) => ({ containerName, hostname: containerName });
const tcp = (hostPort: number, hostIp = '0.0.0.0'): PortBinding => ({ hostIp, hostPort, containerPort: 80, protocol: 'tcp' });
/** aardvark-dns is deaf for a millisecond when it reads its files again. */
const has = (look: () => Promise<(string | undefined)[]>, expected: (string | undefined)[], message = '') =>
  eventually(async () => assert.deepEqual(await look(), expected, message));
const bridge = (name: string) => `com.docker.network.bridge.${name}`;

if (outside !== undefined) {
  test('the network with the highest priority leads out, the first of equals; published ports go with it', async (t) => {
    const { networks } = await openNetworks(t);
    for (const name of ['a', 'b', 'c']) await networks.create({ name });
    const web = await networks.attach('c1', [{ name: 'a' }, { name: 'b', gatewayPriority: 5 }], [tcp(8080)], named('web'));
    const out = () => shell("ip route show default | sed 's/ proto.*//'", web.netns);
    const [a, b] = web.endpoints;
    assert.deepEqual([a?.interface, b?.interface], ['eth0', 'eth1']);
    assert.equal(await out(), `default via ${b?.gateway} dev eth1`);
    await servePeer(t, web.netns, 80);
    assert.equal(await ask(host.ipv4, 8080, outside), machine.ipv4);

    const c = await networks.connect('c1', { name: 'c', gatewayPriority: 5 }, named('web'));
    assert.equal(await out(), `default via ${b?.gateway} dev eth1`, 'the one that is there stays');
    await networks.disconnect('c1', 'b');
    assert.equal(await out(), `default via ${c.gateway} dev ${c.interface}`);
    assert.match(await shell('iptables-save -t nat'), new RegExp(`--to-destination ${c.ipAddress}:80`));
    assert.equal(await ask(host.ipv4, 8080, outside), machine.ipv4, 'the port leads to the new address');
    await networks.disconnect('c1', 'c');
    assert.equal(await out(), `default via ${a?.gateway} dev eth0`);
    assert.equal(await ask(host.ipv4, 8080, outside), machine.ipv4);
    await networks.disconnect('c1', 'a');
    assert.equal(await ask(host.ipv4, 8080, outside), '', 'without a network nothing is published');
    const again = await networks.connect('c1', { name: 'a', ipv4: a?.ipAddress ?? '', aliases: ['www'] }, named('web'));
    assert.equal(again.ipAddress, a?.ipAddress);
    assert.equal(again.interface, 'eth0', 'the first number that is free');
    await assert.rejects(networks.connect('c1', { name: 'a' }, named('web')), {
      kind: 'Denied',
      message: /endpoint with name web already exists in network a/,
    });
    await assert.rejects(networks.connect('c1', { name: 'host' }, named('web')), { code: 'NETWORKS_EXCLUSIVE' });
    await assert.rejects(networks.connect('gone', { name: 'a' }, named('gone')), { code: 'NOT_ATTACHED' });
  });

  test('names: of containers, aliases and short ids on every shared network, of those who come later, and of the world outside', async (t) => {
    const { networks } = await openNetworks(t);
    await serveDns(t, outside, '203.0.113.77');
    for (const name of ['front', 'back']) await networks.create({ name });
    await networks.create({ name: 'closed', internal: true });
    const owner = { ...named('web'), dnsServers: [machine.ipv4] };
    const web = await networks.attach('c1', [{ name: 'front' }, { name: 'back' }], [], owner);
    const ips = async (name: string, from = web) => {
      const answer = await shell(`busybox timeout 3 busybox nslookup ${name} ${from.endpoints[0]?.dnsServers[0]}`, from.netns);
      return [...answer.matchAll(/^Address: (\S+)$/gm)].map((match) => match[1]).sort();
    };
    assert.equal((await ips('db')).length, 0);
    const id = `${'0123456789abcdef'.repeat(4)}`;
    const db = await networks.attach(id, [{ name: 'back', aliases: ['Database', 'shared'] }], [], named('db'));
    const { ipAddress } = db.endpoints[0] ?? {};
    assert.deepEqual(db.endpoints[0]?.aliases, ['Database', 'shared', id.slice(0, 12)]);
    for (const name of ['db', 'database', 'DATABASE', id.slice(0, 12)]) await has(() => ips(name), [ipAddress], name);
    await networks.rename(id, 'renamed');
    await has(() => ips('renamed'), [ipAddress], 'its new name');
    await has(() => ips('db'), [], 'and no longer the old one');
    await networks.rename(id, 'db');
    await networks.rename('of-nobody', 'x');
    const second = await networks.attach('c3', [{ name: 'back', aliases: ['shared'] }], [], named('db2'));
    await has(() => ips('shared'), [ipAddress, second.endpoints[0]?.ipAddress].sort(), 'an alias of two is both');
    await has(() => ips('example.test'), ['203.0.113.77'], 'asked outside');

    const loner = await networks.attach('c4', [{ name: 'front' }], [], named('loner'));
    await has(() => ips('loner'), [loner.endpoints[0]?.ipAddress]);
    assert.equal((await ips('db', loner)).length, 0, 'not on a network of theirs');
    await networks.connect('c4', { name: 'back', aliases: ['late'] }, named('loner'));
    await has(() => ips('db', loner), [ipAddress]);
    await networks.disconnect('c4', 'back');
    assert.equal((await ips('late')).length, 0);

    const inner = await networks.attach('c5', [{ name: 'closed' }], [], { ...named('inner'), dnsServers: [machine.ipv4] });
    await has(() => ips('inner', inner), [inner.endpoints[0]?.ipAddress]);
    assert.equal((await ips('example.test', inner)).length, 0, 'an internal network asks nobody');
    await assert.rejects(networks.attach('c6', [{ name: 'back', aliases: ['two words'] }], [], named('bad')), { code: 'ALIAS_INVALID' });
  });

  test('an internal network leads nowhere and publishes nothing', async (t) => {
    const { networks } = await openNetworks(t);
    await networks.create({ name: 'closed', internal: true });
    const one = await networks.attach('c1', [{ name: 'closed' }], [tcp(8081)], named('one'));
    const two = await networks.attach('c2', [{ name: 'closed' }], [], named('two'));
    await serveText(t, one.netns, 80, 'one');
    assert.equal(await ask(one.endpoints[0]?.ipAddress ?? '', 80, two.netns), 'one');
    assert.equal(one.endpoints[0]?.gateway, '');
    assert.equal(await shell('ip route show default', one.netns), '');
    assert.doesNotMatch(await shell('iptables-save'), /8081/);
    await shell(`ip route add default via ${one.endpoints[0]?.dnsServers[0]}`, one.netns);
    await servePeer(t, outside, 90);
    assert.equal(await ask(machine.ipv4, 90, one.netns), '', 'not even for one who makes a route');
  });

  test('without icc neighbours do not reach each other, but what they publish and the world', async (t) => {
    const { networks } = await openNetworks(t);
    await networks.create({ name: 'apart', options: { [bridge('enable_icc')]: 'false' } });
    const one = await networks.attach('c1', [{ name: 'apart' }], [tcp(8082)], named('one'));
    const two = await networks.attach('c2', [{ name: 'apart' }], [], named('two'));
    await serveText(t, one.netns, 80, 'one');
    await servePeer(t, outside, 90);
    assert.equal(await ask(one.endpoints[0]?.ipAddress ?? '', 80, two.netns), '');
    assert.equal(await ask(host.ipv4, 8082, two.netns), 'one');
    assert.equal(await ask(machine.ipv4, 90, two.netns), host.ipv4);
  });

  test('options of a bridge and of an endpoint are carried out', async (t) => {
    const { networks } = await openNetworks(t);
    await networks.create({
      name: 'net',
      subnets: [{ subnet: '10.254.4.0/24', gateway: '10.254.4.254', range: '10.254.4.128/30', aux: { printer: '10.254.4.129' } }],
      options: {
        [bridge('name')]: 'br-test',
        [bridge('host_binding_ipv4')]: '127.0.0.1',
        [bridge('enable_ip_masquerade')]: 'false',
        'com.docker.network.driver.mtu': '1234',
        'com.docker.network.container_iface_prefix': 'lan',
      },
    });
    await using reserved = await networks.reserve([tcp(0, '')], [{ name: 'net' }]);
    assert.deepEqual(
      reserved.bindings.map(({ hostIp }) => hostIp),
      ['127.0.0.1'],
    );
    const driverOptions = {
      'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0',
    };
    const one = await networks.attach('c1', [{ name: 'net', driverOptions }], reserved.bindings, named('one'));
    const [endpoint] = one.endpoints;
    assert.equal(endpoint?.ipAddress, '10.254.4.128', 'a range may begin where the subnet does not');
    assert.equal(endpoint?.gateway, '10.254.4.254');
    assert.match(await shell('ip -o link show lan0', one.netns), /mtu 1234 /);
    assert.match(await shell('ip -o link show br-test'), /mtu 1234 /);
    assert.equal(await shell('cat /proc/sys/net/ipv4/conf/lan0/log_martians', one.netns), '1');
    await shell('ip route add 10.254.4.0/24 via 198.51.100.1', outside);
    await servePeer(t, outside, 90);
    assert.equal(await ask(machine.ipv4, 90, one.netns), '10.254.4.128', 'no masquerade: the other side knows the way back');
    const others: string[] = [];
    for (const id of ['c2', 'c3']) others.push((await networks.attach(id, [{ name: 'net' }], [], named(id))).endpoints[0]?.ipAddress ?? '');
    assert.deepEqual(others, ['10.254.4.130', '10.254.4.131'], 'auxiliary addresses are left out');
    await assert.rejects(networks.attach('c4', [{ name: 'net' }], [], named('c4')), { kind: 'Unavailable', code: 'NO_FREE_ADDRESS' });
    const fixed = { name: 'net', ipv4: '10.254.4.9', driverOptions: { 'com.docker.network.endpoint.ifname': 'uplink0' } };
    const own = await networks.attach('c4', [fixed], [], named('c4'));
    assert.equal(own.endpoints[0]?.interface, 'uplink0');
    assert.match(await shell('ip -4 -o address show uplink0', own.netns), /10\.254\.4\.9\/24/, 'outside of the range, on request');
    for (const [option, code] of [
      [{ 'com.docker.network.endpoint.ifname': 'a/b' }, 'INTERFACE_NAME_INVALID'],
      [{ 'com.docker.network.endpoint.sysctls': 'kernel.hostname=x' }, 'ENDPOINT_SYSCTL_INVALID'],
      [{ 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.nothing_like_it=1' }, 'ENDPOINT_SYSCTL_INVALID'],
      [{ unknown: 'x' }, 'ENDPOINT_OPTION_UNSUPPORTED'],
    ] as const) {
      const config = { name: 'net', ipv4: '10.254.4.10', driverOptions: option as unknown as Record<string, string> };
      await assert.rejects(networks.attach('c5', [config], [], named('c5')), { code }, JSON.stringify(option));
    }
    assert.ok(!(await networks.attached()).includes('c5'));
  });
}
