import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIpv4, formatSubnet, lastOf, macFor, overlaps, parseIpv4, parseMac, parseSubnet } from './ipv4.ts';

test('addresses are read strictly and written back', () => {
  for (const text of ['0.0.0.0', '10.1.2.3', '172.31.255.254', '255.255.255.255']) assert.equal(formatIpv4(parseIpv4(text) ?? -1), text);
  for (const text of ['', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.4 ', '1.2.3.-4', '::1', 'a.b.c.d']) {
    assert.equal(parseIpv4(text), undefined, text);
  }
});

test('subnets are canonical and fit a bridge', () => {
  const subnet = parseSubnet('172.17.0.0/16');
  assert.equal(formatSubnet(subnet), '172.17.0.0/16');
  assert.equal(formatIpv4(lastOf(subnet)), '172.17.255.255');
  assert.throws(() => parseSubnet('10.0.0.1/8'), /it should be 10\.0\.0\.0\/8/);
  for (const text of ['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/31', '0.0.0.0/0', '10.0.0.0/8/8', 'fd00::/64', '']) {
    assert.throws(() => parseSubnet(text), { code: 'SUBNET_INVALID' }, text);
  }
});

test('overlap is either way round, and touching is none', () => {
  const [wide, inside, beside] = ['10.0.0.0/8', '10.3.0.0/24', '11.0.0.0/8'].map(parseSubnet);
  assert.ok(wide && inside && beside);
  assert.ok(overlaps(wide, inside) && overlaps(inside, wide));
  assert.ok(!overlaps(wide, beside) && !overlaps(beside, wide));
});

test('hardware addresses follow the address, or are checked', () => {
  assert.equal(macFor(parseIpv4('172.17.0.2') ?? 0), '02:42:ac:11:00:02');
  assert.equal(parseMac('02-AB-cd-00-00-01'), '02:ab:cd:00:00:01');
  for (const text of ['', '02:42', '01:00:5e:00:00:01', '00:00:00:00:00:00', 'zz:42:ac:11:00:02']) {
    assert.throws(() => parseMac(text), { code: 'MAC_INVALID' }, text);
  }
});
