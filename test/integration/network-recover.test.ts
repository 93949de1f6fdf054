import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { PortBinding } from '../../src/network/port.ts';
import { ask, eventually, openNetworks, servePeer, serveText, serveUdp, shell, traces } from './network-harness.ts';
import { host, machine, ownHost } from './network-own-host.ts';

const outside = await ownHost(import.meta.url);
const named = (containerName: string) => ({ containerName, hostname: containerName });
const port = (hostPort: number, protocol: 'tcp' | 'udp' = 'tcp'): PortBinding => ({
  hostIp: '0.0.0.0',
  hostPort,
  containerPort: 80,
  protocol,
});
const flush = 'for t in filter nat raw; do for p in iptables ip6tables; do $p -t $t -F; $p -t $t -X; done; done';

if (outside !== undefined) {
  test('rules that something flushed are back without anybody asking', async (t) => {
    const { networks, log } = await openNetworks(t, { watchIntervalMs: 50 });
    await networks.recover();
    const web = await networks.attach('c1', [{ name: 'bridge' }], [port(8080)], named('web'));
    await servePeer(t, web.netns, 80);
    await servePeer(t, outside, 90);
    for (const how of [flush, 'iptables -t nat -F', 'iptables -F FORWARD']) {
      await shell(how);
      await eventually(async () => assert.equal(await ask(host.ipv4, 8080, outside), machine.ipv4, how));
      assert.equal(await ask(machine.ipv4, 90, web.netns), host.ipv4, how);
    }
    const told = () => log.filter((message) => message.includes('flushed them')).length;
    await eventually(async () => assert.equal(told(), 3));
    await shell('iptables -A INPUT -p tcp --dport 9 -j DROP');
    await sleep(300);
    assert.equal(told(), 3, "others' own changes are left alone");
    await shell('sysctl -qw net.ipv4.ip_forward=0');
    await eventually(async () => assert.equal(await shell('cat /proc/sys/net/ipv4/ip_forward'), '1'));
    const before = await shell('iptables-save | grep -c SLIPWAY');
    await networks.reload();
    assert.equal(await shell('iptables-save | grep -c SLIPWAY'), before, 'a reload adds nothing');
  });

  test('a reload puts back bridges, ports of bridges, forwarding and names', async (t) => {
    const { networks, directory } = await openNetworks(t);
    const network = await networks.create({ name: 'net' });
    const one = await networks.attach('c1', [{ name: 'net' }], [port(8080)], named('one'));
    const two = await networks.attach('c2', [{ name: 'net' }], [], named('two'));
    await serveText(t, one.netns, 80, 'one');
    await shell(
      `${flush}; ip link delete ${network.bridge}; sysctl -qw net.ipv4.ip_forward=0; kill -9 $(cat ${directory}/run/network/dns/aardvark.pid)`,
    );
    await eventually(async () => assert.ok(!existsSync(`/sys/class/net/${network.bridge}`)));
    await networks.reload();
    assert.equal(await ask(host.ipv4, 8080, outside), 'one');
    assert.equal(await ask(one.endpoints[0]?.ipAddress ?? '', 80, two.netns), 'one');
    await eventually(async () =>
      assert.match(
        await shell(`busybox nslookup one ${two.endpoints[0]?.gateway}`, two.netns),
        new RegExp(`${one.endpoints[0]?.ipAddress}\n`),
      ),
    );
  });

  test('a reboot leaves definitions; everything else is made anew', async (t) => {
    const engine = await openNetworks(t);
    const network = await engine.networks.create({ name: 'net', ipv6: true });
    const before = await engine.networks.attach('c1', [{ name: 'net' }], [port(8080)], named('web'));
    await engine.networks.close();
    await shell(
      `umount -l ${before.netns}; ip link delete ${network.bridge}; ${flush}; kill -9 $(cat ${engine.directory}/run/network/dns/aardvark.pid)`,
    );
    await rm(join(engine.directory, 'run'), { recursive: true });
    const next = engine.reopen();
    await next.recover();
    assert.deepEqual(await next.attached(), []);
    assert.deepEqual(await next.get('net'), network);
    const web = await next.attach('c1', [{ name: 'net' }], [port(8080)], named('web'));
    await serveText(t, web.netns, 80, 'again');
    assert.equal(await ask(host.ipv4, 8080, outside), 'again');
  });

  test('what an engine leaves that was killed while containers came and went is taken away by the next', { timeout: 60_000 }, async (t) => {
    const engine = await openNetworks(t);
    await engine.networks.create({ name: 'net' });
    const worker = fileURLToPath(new URL('network-churn-child.ts', import.meta.url));
    for (let round = 0; round < 12; round++) {
      const child = spawn(process.execPath, [worker, engine.directory, engine.rootId], { stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((resolve) => child.stdout.once('data', resolve));
      await sleep(Math.random() * 120);
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      const next = engine.reopen();
      await next.recover();
      // The runtime knows of none of them: it detaches what is attached.
      for (const id of await next.attached()) await next.detach(id);
      assert.deepEqual(await next.attached(), []);
      await next.close();
      await eventually(async () => assert.equal(await traces(engine.rootId), '', `round ${round}`));
      const namespaces = join(engine.directory, 'run/netns');
      assert.deepEqual(existsSync(namespaces) ? readdirSync(namespaces) : [], []);
      assert.doesNotMatch(await shell('cat /proc/self/mountinfo'), new RegExp(`${engine.directory}/run/netns`));
    }
  });

  test('two hundred containers come side by side, each whole, and leave nothing', { timeout: 60_000 }, async (t) => {
    const { networks, rootId, directory } = await openNetworks(t);
    await networks.create({ name: 'net' });
    const ids = Array.from({ length: 200 }, (_, i) => `c${i}`);
    const startedMs = Date.now();
    const all = await Promise.all(
      ids.map(async (id) => {
        await using reserved = await networks.reserve([{ ...port(0), hostIp: '' }]);
        return { id, ports: reserved.bindings, ...(await networks.attach(id, [{ name: 'net' }], reserved.bindings, named(id))) };
      }),
    );
    assert.ok(Date.now() - startedMs < 50_000, `${Date.now() - startedMs} ms`);
    assert.equal(new Set(all.map(({ endpoints }) => endpoints[0]?.ipAddress)).size, 200);
    assert.equal(new Set(all.map(({ endpoints }) => endpoints[0]?.macAddress)).size, 200);
    assert.equal((await shell('iptables-save -t nat')).match(/-j DNAT/g)?.length, 200);
    assert.equal((await shell(`cat ${directory}/run/network/dns/*`)).match(/^c\d+ /gm)?.length, 200);
    for (const { id, netns, endpoints, ports } of all.filter((_, i) => i % 50 === 0)) {
      await serveText(t, netns, 80, id);
      assert.equal(await ask(endpoints[0]?.ipAddress ?? '', 80), id);
      assert.equal(await ask(host.ipv4, ports[0]?.hostPort ?? 0, outside), id);
    }
    await Promise.all(ids.map((id) => networks.detach(id)));
    await eventually(async () => assert.doesNotMatch(await shell('ip -o link'), new RegExp(`sv${rootId}`)));
    assert.doesNotMatch(await shell('iptables-save; ip6tables-save'), /DNAT --to/);
    assert.equal(await shell(`find ${directory}/run/network/dns ${directory}/run/network/attachments -type f`), '');
  });

  test('UDP clients that go on talking reach the container that has the port now', async (t) => {
    const { networks } = await openNetworks(t);
    const client = createSocket('udp4');
    t.after(() => client.close());
    client.bind();
    const heard: string[] = [];
    client.on('message', (message) => heard.push(message.toString()));
    const talk = setInterval(() => client.send('hello', 8053, host.ipv4), 20);
    t.after(() => clearInterval(talk));
    await sleep(100);
    for (const id of ['first', 'second']) {
      const { netns } = await networks.attach(id, [{ name: 'bridge' }], [port(8053, 'udp')], named(id));
      await serveUdp(t, netns, 80, id);
      await eventually(async () => assert.equal(heard.at(-1), id));
      await networks.detach(id);
      assert.doesNotMatch(await shell('conntrack -L -p udp 2>/dev/null || cat /proc/net/nf_conntrack'), /dport=8053 .*sport=80 /);
    }
  });
}
