import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import type { NetworkInfo, PortBinding } from '../../src/network/port.ts';
import { ask, type Engine, eventually, servePeer, serveText, shell } from '../integration/network-harness.ts';
import { host, machine } from '../integration/network-own-host.ts';

export type NetworkDriverCase = {
  name: string;
  /** Networks with the driver at hand, and one made by it. */
  open(t: TestContext): Promise<{ engine: Engine; network: NetworkInfo }>;
  /** Whether ports are published on the host; else containers are reached at their own address. */
  publishes: boolean;
};

/** As containers' ids are, none is used twice: what a plugin leaves of one must not be met by another. */
const newId = () => randomBytes(32).toString('hex');
const named = (containerName: string) => ({ containerName, hostname: containerName });
const port = (hostPort: number): PortBinding => ({ hostIp: '0.0.0.0', hostPort, containerPort: 80, protocol: 'tcp' });

/** What every network driver promises (src/network/drivers/port.ts). To be run on a host of its own; `outside` is a machine on its wire. */
export function networkDriverContract({ name, open, publishes }: NetworkDriverCase, outside: string): void {
  test(`${name}: containers have the addresses that they are told, reach each other and the outside`, async (t) => {
    const [c1, c2] = [newId(), newId()];
    const { engine, network } = await open(t);
    const attach = (id: string) => engine.networks.attach(id, [{ name: network.name }], [], named(id));
    const [one, two] = [await attach(c1), await attach(c2)];
    const [endpoint, other] = [one.endpoints[0], two.endpoints[0]];
    assert.ok(endpoint && other);
    assert.notEqual(endpoint.ipAddress, other.ipAddress);
    assert.equal(endpoint.networkId, network.id);
    const address = await shell(`ip -4 -o address show ${endpoint.interface}`, one.netns);
    assert.match(address, new RegExp(` inet ${endpoint.ipAddress}/${endpoint.prefixLength} `));
    assert.match(await shell(`ip link show ${endpoint.interface}`, one.netns), new RegExp(`state UP[^]*${endpoint.macAddress}`));
    assert.match(await shell('ip route', one.netns), new RegExp(`^default via ${endpoint.gateway} dev ${endpoint.interface}`));
    await serveText(t, two.netns, 80, 'two');
    assert.equal(await ask(other.ipAddress, 80, one.netns), 'two');
    await servePeer(t, outside, 90);
    assert.equal(await ask(machine.ipv4, 90, one.netns), publishes ? host.ipv4 : endpoint.ipAddress);
    assert.deepEqual(await engine.networks.endpoints(c1), one.endpoints);
  });

  test(`${name}: leaving is complete, may be repeated, and works without the namespace`, async (t) => {
    const { engine, network } = await open(t);
    const { networks } = engine;
    const before = await links();
    for (const damage of ['nothing', 'interface', 'namespace'] as const) {
      const c1 = newId();
      const { netns, endpoints } = await networks.attach(c1, [{ name: network.name }], [], named('web'));
      if (damage === 'interface') await shell(`ip link delete ${endpoints[0]?.interface}`, netns);
      if (damage === 'namespace') await shell(`umount -l ${netns}`);
      await networks.detach(c1);
      await networks.detach(c1);
      assert.ok(!existsSync(netns), damage);
      assert.deepEqual(await networks.endpoints(c1), []);
    }
    await networks.remove(network.id);
    await eventually(async () => {
      for (const link of await links()) assert.ok(before.includes(link) || /^cni/.test(link), link);
    });
  });

  test(`${name}: a second network is joined and left while the container runs`, async (t) => {
    const [c1, c2] = [newId(), newId()];
    const { engine, network } = await open(t);
    const { networks } = engine;
    const { netns } = await networks.attach(c1, [{ name: 'bridge' }], [], named('web'));
    const route = await shell('ip route show default', netns);
    const peer = await networks.attach(c2, [{ name: network.name }], [], named('peer'));
    await serveText(t, peer.netns, 80, 'peer');
    const endpoint = await networks.connect(c1, { name: network.name }, named('web'));
    assert.equal(endpoint.interface, 'eth1');
    assert.equal(await ask(peer.endpoints[0]?.ipAddress ?? '', 80, netns), 'peer');
    assert.equal(await shell('ip route show default', netns), route, 'the first network goes on to lead out');
    await networks.disconnect(c1, network.name);
    await networks.disconnect(c1, network.name);
    assert.equal(await shell('ip link show eth1', netns), '');
    assert.equal(await shell('ip route show default', netns), route);
    assert.equal((await networks.endpoints(c1)).length, 1);
  });

  test(`${name}: a join that fails leaves nothing, and the name can be used at once`, async (t) => {
    const [c1] = [newId()];
    const { engine, network } = await open(t);
    const { networks } = engine;
    const netns = await networks.openNamespace(c1);
    await shell('ip link add eth0 type veth peer name eth9', netns);
    await assert.rejects(networks.attach(c1, [{ name: network.name }], [], named('web')));
    assert.ok(!existsSync(netns));
    assert.deepEqual(await networks.attached(), []);
    const { endpoints } = await networks.attach(c1, [{ name: network.name }], [], named('web'));
    assert.equal(endpoints[0]?.interface, 'eth0');
  });

  test(`${name}: an interface that somebody deleted is back after a reload`, async (t) => {
    const [c1] = [newId()];
    const { engine, network } = await open(t);
    const { netns, endpoints } = await engine.networks.attach(c1, [{ name: network.name }], [], named('web'));
    await shell(`ip link delete ${endpoints[0]?.interface}`, netns);
    await engine.networks.reload();
    const [endpoint] = await engine.networks.endpoints(c1);
    assert.match(await shell('ip -4 -o address show', netns), new RegExp(` inet ${endpoint?.ipAddress}/`));
    await servePeer(t, outside, 90);
    assert.equal(await ask(machine.ipv4, 90, netns), publishes ? host.ipv4 : endpoint?.ipAddress);
  });

  test(`${name}: ports are ${publishes ? 'published on the host' : 'not needed: the address itself is reached'}`, async (t) => {
    const [c1] = [newId()];
    const { engine, network } = await open(t);
    await using reserved = await engine.networks.reserve([port(0)]);
    const hostPort = reserved.bindings[0]?.hostPort ?? 0;
    const web = await engine.networks.attach(c1, [{ name: network.name }], reserved.bindings, named('web'));
    await serveText(t, web.netns, 80, 'web');
    const address = publishes ? host.ipv4 : (web.endpoints[0]?.ipAddress ?? '');
    const number = publishes ? hostPort : 80;
    assert.equal(await ask(address, number, outside), 'web');
    if (publishes) assert.equal(await ask('127.0.0.1', number), 'web');
    await engine.networks.detach(c1);
    reserved.release();
    assert.equal(await ask(address, number, outside), '');
  });
}

async function links(): Promise<string[]> {
  return (await shell('ls /sys/class/net')).split('\n');
}
