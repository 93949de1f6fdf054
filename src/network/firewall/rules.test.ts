import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBridgeOptions } from '../bridge-options.ts';
import { parseIp, parseSubnet } from '../ip.ts';
import { type FirewalledNetwork, type Published, renderRules } from './rules.ts';

function network(bridge: string, subnets: string[], options: Record<string, string> = {}, internal = false): FirewalledNetwork {
  const ranges = subnets.map((text) => {
    const subnet = parseSubnet(text);
    return { subnet, range: subnet, aux: [], gateway: parseIp(text.replace(/0?\/.*/, text.includes(':') ? '1' : '1')) };
  });
  return { bridge, internal, dns: true, ranges, options: parseBridgeOptions(options) };
}

function chains(family: 4 | 6, networks: FirewalledNetwork[], published: Published[] = []): Map<string, readonly string[]> {
  return new Map(
    renderRules(family, 'X', { networks, published }).flatMap(({ chains: all }) => all.map(({ name, lines }) => [name, lines])),
  );
}

const web = (options: Record<string, string> = {}): Published => ({
  containerId: '0123456789abcdef',
  bridge: 'br0',
  addresses: { 4: '10.1.0.2', 6: 'fd00::2' },
  options: parseBridgeOptions(options),
  ports: [
    { hostIp: '0.0.0.0', hostPort: 80, containerPort: 8080, protocol: 'tcp' },
    { hostIp: '127.0.0.1', hostPort: 81, containerPort: 8080, protocol: 'tcp' },
    { hostIp: '::', hostPort: 80, containerPort: 8080, protocol: 'tcp' },
    { hostIp: '::1', hostPort: 82, containerPort: 8080, protocol: 'tcp' },
    { hostIp: '', hostPort: 53, containerPort: 5353, protocol: 'udp' },
  ],
});

test('each family translates its own ports, and nobody ::1', () => {
  const comment = '-m comment --comment 0123456789ab -j DNAT --to-destination';
  assert.deepEqual(chains(4, [], [web()]).get('X-DNAT'), [
    `-p tcp -m tcp --dport 80 ${comment} 10.1.0.2:8080`,
    `-d 127.0.0.1/32 -p tcp -m tcp --dport 81 ${comment} 10.1.0.2:8080`,
    `-p udp -m udp --dport 53 ${comment} 10.1.0.2:5353`,
  ]);
  assert.deepEqual(chains(6, [], [web()]).get('X-DNAT'), [
    `-p tcp -m tcp --dport 80 ${comment} [fd00::2]:8080`,
    `-p udp -m udp --dport 53 ${comment} [fd00::2]:5353`,
  ]);
});

test('what gets into a bridge is listed before what may leave any', () => {
  const lines =
    chains(4, [network('br0', ['10.1.0.0/24']), network('br1', ['10.2.0.0/24'], {}, true), network('br2', ['10.3.0.0/24'])]).get('X-FWD') ??
    [];
  const at = (line: string) => {
    assert.ok(lines.includes(line), line);
    return lines.indexOf(line);
  };
  assert.ok(
    at('-i br1 -j DROP') < at('-o br0 -m conntrack --ctstate DNAT -j ACCEPT'),
    'an internal network reaches no published port of another',
  );
  assert.ok(at('-o br2 -j DROP') < at('-i br0 -j ACCEPT'), 'the way out of one is not the way into another');
  assert.ok(at('-i br0 -o br0 -j ACCEPT') < at('-o br0 -j DROP'));
});

test('networks without a family have no rules there', () => {
  const only4 = [network('br0', ['10.1.0.0/24'])];
  for (const [name, lines] of chains(6, only4)) assert.deepEqual(lines, [], name);
  assert.ok(
    (chains(6, [network('br0', ['10.1.0.0/24', 'fd00::/64'])]).get('X-MASQ') ?? []).includes('-s fd00::/64 ! -o br0 -j MASQUERADE'),
  );
});

test('options change what they say', () => {
  const option = (name: string, value: string) => ({ [`com.docker.network.${name}`]: value });
  const masquerade = (options: Record<string, string>) => chains(4, [network('br0', ['10.1.0.0/24'], options)]).get('X-MASQ')?.[0];
  assert.equal(masquerade({}), '-s 10.1.0.0/24 ! -o br0 -j MASQUERADE');
  assert.equal(masquerade(option('host_ipv4', '192.0.2.9')), '-s 10.1.0.0/24 ! -o br0 -j SNAT --to-source 192.0.2.9');
  assert.match(masquerade(option('bridge.enable_ip_masquerade', 'false')) ?? '', /^-s 127/);
  const forward = (options: Record<string, string>) =>
    chains(4, [network('br0', ['10.1.0.0/24'], options)], [web(options)]).get('X-FWD') ?? [];
  assert.ok(forward(option('bridge.enable_icc', 'false')).includes('-i br0 -o br0 -j DROP'));
  assert.ok(forward(option('bridge.gateway_mode_ipv4', 'nat-unprotected')).includes('-o br0 -j ACCEPT'));
  const routed = forward(option('bridge.gateway_mode_ipv4', 'routed'));
  assert.ok(routed.includes('-o br0 -d 10.1.0.2 -p tcp -m tcp --dport 8080 -j ACCEPT'));
  assert.deepEqual(chains(4, [], [web(option('bridge.gateway_mode_ipv4', 'routed'))]).get('X-DNAT'), []);
});

test('Go’s ways of writing a boolean are read, others and unknown options refused', () => {
  for (const yes of ['1', 't', 'TRUE', 'true']) assert.equal(parseBridgeOptions({ 'com.docker.network.bridge.enable_icc': yes }).icc, true);
  for (const no of ['0', 'F', 'False']) assert.equal(parseBridgeOptions({ 'com.docker.network.bridge.enable_icc': no }).icc, false);
  const refused: [string, string, string][] = [
    ['com.docker.network.bridge.enable_icc', 'yes', 'NETWORK_OPTION_INVALID'],
    ['com.docker.network.host_ipv4', 'fd00::1', 'NETWORK_OPTION_INVALID'],
    ['com.docker.network.host_ipv5', '10.0.0.1', 'NETWORK_OPTION_UNSUPPORTED'],
    ['com.docker.network.bridge.default_bridge', 'true', 'NETWORK_OPTION_UNSUPPORTED'],
    ['toString', 'x', 'NETWORK_OPTION_UNSUPPORTED'],
    ['__proto__4', 'x', 'NETWORK_OPTION_UNSUPPORTED'],
  ];
  for (const [key, value, code] of refused) assert.throws(() => parseBridgeOptions({ [key]: value }), { code }, key);
});
