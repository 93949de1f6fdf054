import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameServers, parseIpv6Routes, parseRoutes } from './host-routes.ts';
import { formatSubnet, overlaps, parseSubnet, type Subnet } from './ip.ts';
import { localIpv6Range, pickIpv6Subnet, pickSubnet } from './subnet-pools.ts';

test('hundreds of networks get subnets that overlap neither each other nor the host', () => {
  const host = ['172.20.0.0/16', '192.168.1.0/24', '10.128.0.0/16'].map(parseSubnet);
  const picked: Subnet[] = [];
  for (let i = 0; i < 300; i++) picked.push(pickSubnet([...host, ...picked], { seed: 7 }));
  for (const [i, subnet] of picked.entries()) {
    for (const other of [...host, ...picked.slice(i + 1)]) assert.ok(!overlaps(subnet, other), formatSubnet(subnet));
  }
});

test('roots begin at different subnets, and at 172.17 only when nothing else of 172 is free', () => {
  const first = (seed: number) => formatSubnet(pickSubnet([], { seed }));
  assert.equal(new Set(Array.from({ length: 14 }, (_, seed) => first(seed))).size, 14);
  assert.ok(!Array.from({ length: 40 }, (_, seed) => first(seed)).includes('172.17.0.0/16'));
});

test('pools of the configuration are the only ones, and they run out', () => {
  const pools = [{ base: parseSubnet('10.9.0.0/24'), prefixLength: 25 }];
  const one = pickSubnet([], { seed: 0, pools });
  const two = pickSubnet([one], { seed: 0, pools });
  assert.deepEqual([one, two].map(formatSubnet), ['10.9.0.0/25', '10.9.0.128/25']);
  assert.throws(() => pickSubnet([one, two], { seed: 0, pools }), { code: 'NO_FREE_SUBNET' });
});

test('routes and name servers of the host are read; the default route does not count', () => {
  const table = [
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
    'eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0',
    'eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
    'docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
    '',
  ].join('\n');
  assert.deepEqual(
    parseRoutes(table).map(({ interfaceName, subnet }) => `${interfaceName} ${formatSubnet(subnet)}`),
    ['eth0 192.168.1.0/24', 'docker0 172.17.0.0/16'],
  );
  const resolv = '# nameserver 1.1.1.1\nnameserver 10.0.0.53\n  nameserver fd00::1\nsearch example.org\n';
  assert.deepEqual(
    nameServers(resolv).map(({ subnet }) => formatSubnet(subnet)),
    ['10.0.0.53/32', 'fd00::1/128'],
  );
});

test('IPv6 routes of the host are read; link-local and multicast ones are everybody’s own', () => {
  const route = (destination: string, prefix: string, name: string) =>
    `${destination} ${prefix} ${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00000100 00000001 00000000 00000001 ${name}`;
  const table = [
    route('fd000000000000000000000000000000', '40', 'eth0'),
    route('fe800000000000000000000000000000', '40', 'eth0'),
    route('ff000000000000000000000000000000', '08', 'eth0'),
    route('00000000000000000000000000000000', '00', 'eth0'),
    route('00000000000000000000000000000001', '80', 'lo'),
  ].join('\n');
  assert.deepEqual(
    parseIpv6Routes(table).map(({ interfaceName, subnet }) => `${interfaceName} ${formatSubnet(subnet)}`),
    ['eth0 fd00::/64'],
  );
});

test('each root has an IPv6 range of its own, cut into /64s', () => {
  const range = localIpv6Range('0badcafe');
  assert.equal(range, 'fd0b:adca:fe00::/48');
  const first = pickIpv6Subnet([], range);
  assert.equal(formatSubnet(first), 'fd0b:adca:fe00::/64');
  assert.equal(formatSubnet(pickIpv6Subnet([first], range)), 'fd0b:adca:fe00:1::/64');
  assert.throws(() => pickIpv6Subnet([first], 'fd0b:adca:fe00::/64'), { code: 'NO_FREE_SUBNET' });
});
