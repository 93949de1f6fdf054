import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findCniConfig, parseCniList } from './config.ts';
import { CniInvoker } from './invoke.ts';
import { parseCniResult } from './result.ts';

const empty = { address: '', prefixLength: 0, gateway: '' };

test('a list is read, and a single plugin is a list of one', () => {
  const list = parseCniList({
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [{ type: 'bridge', capabilities: { mac: true, ips: 'no' }, mtu: 1400 }],
  });
  assert.equal(list.cniVersion, '1.0.0');
  assert.deepEqual(list.plugins[0]?.capabilities, { mac: true, ips: false });
  assert.equal(list.plugins[0]?.settings.mtu, 1400);
  assert.equal(parseCniList({ name: 'old', type: 'ptp' }).plugins[0]?.type, 'ptp');
});

test('a configuration that cannot be is refused with the name of the field', () => {
  const refused: [unknown, RegExp][] = [
    [null, /not an object/],
    [{ plugins: [{ type: 'x' }] }, /name/],
    [{ name: 'a/b', plugins: [{ type: 'x' }] }, /name/],
    [{ name: 'a', cniVersion: '9.0.0', plugins: [{ type: 'x' }] }, /cniVersion/],
    [{ name: 'a', plugins: [] }, /plugins/],
    [{ name: 'a', plugins: [{ type: '../sh' }] }, /plugins\[0\]\.type/],
    [{ name: 'a', plugins: [{ type: 'x', capabilities: [] }] }, /capabilities/],
  ];
  for (const [value, message] of refused)
    assert.throws(() => parseCniList(value), { code: 'CNI_CONFIG_INVALID', message }, JSON.stringify(value));
});

test('results of every version say the same', () => {
  const interfaces = [
    { name: 'cni0', mac: '02:00:00:00:00:01' },
    { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/x' },
  ];
  const now = parseCniResult(
    {
      cniVersion: '1.0.0',
      interfaces,
      ips: [
        { address: '10.0.0.5/16', gateway: '10.0.0.1', interface: 1 },
        { address: 'fd00::5/64', gateway: 'fd00::1' },
      ],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fd00::9' }],
      dns: { nameservers: ['10.0.0.1', 'nonsense', 7] },
    },
    'eth0',
  );
  assert.deepEqual(now, {
    ipv4: { address: '10.0.0.5', prefixLength: 16, gateway: '10.0.0.1' },
    ipv6: { address: 'fd00::5', prefixLength: 64, gateway: 'fd00::9' },
    macAddress: '02:00:00:00:00:02',
    nameServers: ['10.0.0.1'],
  });
  const old = parseCniResult(
    { cniVersion: '0.2.0', ip4: { ip: '10.0.0.5/16', gateway: '10.0.0.1', routes: [{ dst: '0.0.0.0/0' }] } },
    'eth0',
  );
  assert.deepEqual(old, { ...now, ipv6: empty, macAddress: '', nameServers: [] });
  const routeless = parseCniResult({ ips: [{ address: '10.0.0.5/16', gateway: '10.0.0.1' }] }, 'eth0');
  assert.equal(routeless.ipv4.gateway, '', 'a gateway without a default route leads nowhere');
  for (const bad of [
    null,
    [],
    { ips: 'x' },
    { ips: [{}] },
    { ips: [{ address: '10.0.0.5/99' }] },
    { ips: [{ address: '10.0.0.5' }] },
    { routes: {} },
  ]) {
    assert.throws(() => parseCniResult(bad, 'eth0'), { code: 'CNI_RESULT_INVALID' }, JSON.stringify(bad));
  }
});

test('plugins run in order with the result before them, DEL in reverse; errors are told in their words', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-cni-'));
  t.after(() => rm(directory, { recursive: true }));
  const log = join(directory, 'log');
  const plugin = async (name: string, body: string) => {
    await writeFile(join(directory, name), `#!/bin/sh\ninput=$(cat)\necho "$CNI_COMMAND ${name} $CNI_IFNAME $input" >> ${log}\n${body}\n`);
    await chmod(join(directory, name), 0o755);
  };
  await plugin('first', 'echo \'{"ips":[{"address":"10.0.0.5/16"}]}\'');
  await plugin('second', 'echo \'{"ips":[{"address":"10.0.0.6/16"}]}\'');
  await plugin('broken', 'echo \'{"code":11,"msg":"try again","details":"later"}\'; exit 1');
  const invoker = new CniInvoker([join(directory, 'nowhere'), directory]);
  const target = { containerId: 'c1', netns: '/n', interfaceName: 'eth7', capabilities: { mac: '02:00:00:00:00:01', ips: ['10.0.0.9'] } };
  const list = parseCniList({
    cniVersion: '1.0.0',
    name: 'net',
    plugins: [{ type: 'first' }, { type: 'second', capabilities: { mac: true } }],
  });
  assert.deepEqual(await invoker.add(list, target), { ips: [{ address: '10.0.0.6/16' }] });
  await invoker.delete(list, target, { kept: true });
  const lines = (await readFile(log, 'utf8')).trim().split('\n');
  assert.deepEqual(
    lines.map((line) => line.split(' ').slice(0, 3).join(' ')),
    ['ADD first eth7', 'ADD second eth7', 'DEL second eth7', 'DEL first eth7'],
  );
  const inputs = lines.map((line) => JSON.parse(line.slice(line.indexOf('{'))) as Record<string, unknown>);
  assert.equal(inputs[0]?.prevResult, undefined);
  assert.deepEqual(inputs[1]?.prevResult, { ips: [{ address: '10.0.0.5/16' }] });
  assert.deepEqual(inputs[1]?.runtimeConfig, { mac: '02:00:00:00:00:01' }, 'only what the plugin declares');
  assert.deepEqual(inputs[3]?.prevResult, { kept: true });
  const broken = parseCniList({ name: 'net', plugins: [{ type: 'broken' }] });
  await assert.rejects(invoker.add(broken, target), { code: 'CNI_FAILED', message: /broken failed to ADD on net: try again: later/ });
  const missing = parseCniList({ name: 'net', plugins: [{ type: 'missing' }] });
  await assert.rejects(invoker.add(missing, target), { code: 'CNI_PLUGIN_MISSING', message: /missing/ });
});

test('configurations are found by their name or their file’s', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-cni-'));
  t.after(() => rm(directory, { recursive: true }));
  await assert.rejects(findCniConfig(join(directory, 'none'), 'net'), { kind: 'NotFound', code: 'CNI_CONFIG_NOT_FOUND' });
  await writeFile(join(directory, '10-a.conflist'), '{"name":"a"}');
  await writeFile(join(directory, 'notes.txt'), 'not looked at');
  for (const name of ['a', '10-a.conflist']) assert.deepEqual(await findCniConfig(directory, name), { name: 'a' });
  await assert.rejects(findCniConfig(directory, 'b'), (error: Error & { hint?: string }) => /There are: a\./.test(error.hint ?? ''));
  await writeFile(join(directory, '05-broken.conf'), '{');
  await assert.rejects(findCniConfig(directory, 'a'), { code: 'CNI_CONFIG_INVALID', message: /05-broken\.conf/ });
});
