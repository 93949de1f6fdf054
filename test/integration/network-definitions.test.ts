import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LocalNetworks } from '../../src/network/local-networks.ts';

/** Definitions touch neither the kernel nor a helper: these tests need no root. */
async function open(t: TestContext, defaultSubnet?: string) {
  const directory = await mkdtemp(join(tmpdir(), 'slipway-network-'));
  t.after(() => rm(directory, { recursive: true }));
  const make = (subnet = defaultSubnet) =>
    new LocalNetworks({
      directory: join(directory, 'networks'),
      runDirectory: join(directory, 'run'),
      rootId: '01234567',
      settings: { defaultSubnet: subnet },
    });
  return { networks: make(), make, directory: join(directory, 'networks') };
}

test('the three pre-defined networks are always there and cannot be made or removed', async (t) => {
  const { networks } = await open(t);
  assert.deepEqual(
    (await networks.list()).map(({ name, driver }) => `${name} ${driver}`),
    ['bridge bridge', 'host host', 'none null'],
  );
  for (const name of ['bridge', 'host', 'none']) {
    await assert.rejects(networks.remove(name), { kind: 'Denied', code: 'NETWORK_PREDEFINED' });
    await assert.rejects(networks.create({ name }), { kind: 'Denied', code: 'NETWORK_PREDEFINED' });
  }
  await assert.rejects(networks.create({ name: 'x', driver: 'host' }), { kind: 'Denied' });
});

test('networks are found by name, id and the start of an id, by the next engine too', async (t) => {
  const { networks, make } = await open(t);
  const made = await networks.create({
    name: 'app_default',
    subnets: [{ subnet: '10.253.7.0/24', gateway: '10.253.7.9' }],
    labels: { a: 'b' },
    options: { 'com.docker.network.driver.mtu': '1300' },
  });
  assert.match(made.id, /^[0-9a-f]{64}$/);
  assert.ok((made.bridge ?? '').length <= 15 && made.bridge?.startsWith('sw01234567'));
  assert.deepEqual(made.subnets, [{ subnet: '10.253.7.0/24', gateway: '10.253.7.9' }]);
  const next = make();
  for (const key of ['app_default', made.id, made.id.slice(0, 12)]) assert.deepEqual(await next.get(key), made);
  await assert.rejects(next.get('missing'), { kind: 'NotFound', code: 'NETWORK_NOT_FOUND' });
  await assert.rejects(next.get(''), { code: 'NETWORK_NOT_FOUND' });
  await next.remove(made.id.slice(0, 10));
  await assert.rejects(next.get('app_default'), { code: 'NETWORK_NOT_FOUND' });
  assert.deepEqual((await make().list()).length, 3);
});

test('what Docker refuses is refused with its kind of error', async (t) => {
  const { networks } = await open(t);
  await networks.create({ name: 'taken', subnets: [{ subnet: '10.253.8.0/24' }] });
  const cases: [Parameters<typeof networks.create>[0], string, string][] = [
    [{ name: '' }, 'InvalidArgument', 'NETWORK_NAME_INVALID'],
    [{ name: '-x' }, 'InvalidArgument', 'NETWORK_NAME_INVALID'],
    [{ name: 'a/../b' }, 'InvalidArgument', 'NETWORK_NAME_INVALID'],
    [{ name: 'taken' }, 'Conflict', 'NETWORK_EXISTS'],
    [{ name: 'x', driver: 'overlay' }, 'NotFound', 'NETWORK_DRIVER_NOT_FOUND'],
    [{ name: 'x', subnets: [{ subnet: '10.253.8.128/25' }] }, 'Denied', 'SUBNET_OVERLAPS'],
    [{ name: 'x', subnets: [{ subnet: '10.253.9.1/24' }] }, 'InvalidArgument', 'SUBNET_INVALID'],
    [{ name: 'x', subnets: [{ subnet: '127.0.0.0/8' }] }, 'Conflict', 'SUBNET_IN_USE'],
    [{ name: 'x', subnets: [{ subnet: '10.253.9.0/24', gateway: '10.253.10.1' }] }, 'InvalidArgument', 'GATEWAY_INVALID'],
    [{ name: 'x', options: { 'com.docker.network.bridge.name': 'far-too-long-a-name' } }, 'InvalidArgument', 'BRIDGE_NAME_INVALID'],
    [{ name: 'x', options: { 'com.docker.network.bridge.name': 'lo' } }, 'Conflict', 'BRIDGE_NAME_IN_USE'],
    [{ name: 'x', options: { 'com.docker.network.driver.mtu': '12' } }, 'InvalidArgument', 'MTU_INVALID'],
    [{ name: 'x', options: { 'com.docker.network.bridge.enable_icc': 'no' } }, 'InvalidArgument', 'NETWORK_OPTION_INVALID'],
    [{ name: 'x', options: { 'com.docker.network.bridge.gateway_mode_ipv4': 'magic' } }, 'Unsupported', 'NETWORK_OPTION_UNSUPPORTED'],
    [{ name: 'x', options: { 'com.docker.network.bridge.host_binding_ipv4': '::1' } }, 'InvalidArgument', 'NETWORK_OPTION_INVALID'],
    [{ name: 'x', subnets: [{ subnet: '10.253.9.0/24' }, { subnet: '10.253.10.0/24' }] }, 'InvalidArgument', 'SUBNET_INVALID'],
    [{ name: 'x', subnets: [{ subnet: 'fd00:9::/64' }] }, 'InvalidArgument', 'SUBNET_INVALID'],
    [{ name: 'x', subnets: [{ subnet: '10.253.9.0/24', range: '10.253.8.0/25' }] }, 'InvalidArgument', 'RANGE_INVALID'],
    [{ name: 'x', subnets: [{ subnet: '10.253.9.0/24', range: '10.253.0.0/16' }] }, 'InvalidArgument', 'RANGE_INVALID'],
    [{ name: 'x', subnets: [{ subnet: '10.253.9.0/24', aux: { router: '10.253.10.1' } }] }, 'InvalidArgument', 'AUX_ADDRESS_INVALID'],
    [{ name: 'x', options: { parent: 'eth0' } }, 'Unsupported', 'NETWORK_OPTION_UNSUPPORTED'],
  ];
  for (const [options, kind, code] of cases) await assert.rejects(networks.create(options), { kind, code }, JSON.stringify(options));
  assert.equal((await networks.list()).length, 4, 'nothing half-made stays');
  const sameName = await Promise.allSettled([networks.create({ name: 'twin' }), networks.create({ name: 'twin' })]);
  assert.deepEqual(sameName.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
});

test('the default subnet follows the configuration', async (t) => {
  const { networks, make } = await open(t, '10.253.20.0/24');
  assert.equal((await networks.get('bridge')).subnets[0]?.subnet, '10.253.20.0/24');
  const moved = await make('10.253.21.0/24').get('bridge');
  assert.deepEqual(moved.subnets, [{ subnet: '10.253.21.0/24', gateway: '10.253.21.1' }]);
  assert.equal(moved.id, (await networks.get('bridge')).id);
});

test('damaged and newer definitions are refused by name, never overwritten', async (t) => {
  const { networks, make, directory } = await open(t);
  const { id } = await networks.create({ name: 'app' });
  const path = join(directory, `${id}.json`);
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.slice(0, 40));
  await assert.rejects(make().list(), { kind: 'DataLoss', code: 'NETWORK_DAMAGED', message: new RegExp(id) });
  await writeFile(path, text.replace('"version":2', '"version":3'));
  await assert.rejects(make().list(), { kind: 'Unsupported', code: 'NETWORK_FORMAT_NEWER' });
  await writeFile(path, text);
  await writeFile(join(directory, 'left-over.tmp'), '');
  assert.equal((await make().get('app')).id, id);
  assert.ok(!(await readdir(directory)).includes('left-over.tmp'));
});
