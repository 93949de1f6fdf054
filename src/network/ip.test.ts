import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIp, formatSubnet, hostsOf, isHostOf, lastOf, macFor, overlaps, parseCidr, parseIp, parseMac, parseSubnet } from './ip.ts';

const ip = (text: string) => {
  const address = parseIp(text);
  assert.ok(address, text);
  return address;
};

test('addresses are read strictly and written back', () => {
  for (const text of [
    '0.0.0.0',
    '10.1.2.3',
    '172.31.255.254',
    '255.255.255.255',
    '::',
    '::1',
    'fd00::1',
    '2001:db8:0:1:1:1:1:1',
    '1::8:0:0:1',
    'ffff::',
  ]) {
    assert.equal(formatIp(ip(text)), text);
  }
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    '1.2.3.-4',
    'a.b.c.d',
    ':',
    ':::',
    '1::2::3',
    'fe80::1%eth0',
    '::ffff:10.0.0.1',
    '12345::',
  ]) {
    assert.equal(parseIp(text), undefined, text);
  }
  assert.equal(formatIp(ip('FD00:0:0:0:1:0:0:0')), 'fd00::1:0:0:0', 'the first of the longest runs, lower case');
  assert.equal(formatIp(ip('1:0:2:3:4:5:6:7')), '1:0:2:3:4:5:6:7', 'one zero group is written');
});

test('subnets are canonical and fit a network of containers', () => {
  const subnet = parseSubnet('172.17.0.0/16');
  assert.equal(formatSubnet(subnet), '172.17.0.0/16');
  assert.equal(formatIp({ family: 4, value: lastOf(subnet) }), '172.17.255.255');
  assert.equal(formatSubnet(parseSubnet('fd00:1::/64')), 'fd00:1::/64');
  assert.throws(() => parseSubnet('10.0.0.1/8'), /it should be 10\.0\.0\.0\/8/);
  assert.throws(() => parseSubnet('fd00::1/64'), /it should be fd00::\/64/);
  for (const text of [
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/31',
    '0.0.0.0/0',
    '10.0.0.0/8/8',
    'fd00::/129',
    'fd00::/127',
    '::/0',
    '',
  ]) {
    assert.throws(() => parseSubnet(text), { code: 'SUBNET_INVALID' }, text);
  }
  assert.equal(parseCidr('10.0.0.128/25')?.prefixLength, 25);
  assert.equal(parseCidr('10.0.0.1/25'), undefined);
});

test('hosts of a subnet leave out its own address and, in IPv4, the broadcast address', () => {
  const [four, six] = [parseSubnet('10.0.0.0/30'), parseSubnet('fd00::/126')];
  assert.deepEqual([hostsOf(four).high - hostsOf(four).low, hostsOf(six).high - hostsOf(six).low], [1n, 2n]);
  assert.ok(!isHostOf(four, ip('10.0.0.0')) && isHostOf(four, ip('10.0.0.1')) && !isHostOf(four, ip('10.0.0.3')));
  assert.ok(!isHostOf(six, ip('fd00::')) && isHostOf(six, ip('fd00::3')) && !isHostOf(six, ip('10.0.0.1')));
});

test('overlap is either way round, touching is none, and families never meet', () => {
  const [wide, inside, beside, all] = ['10.0.0.0/8', '10.3.0.0/24', '11.0.0.0/8', '::/8'].map((text) => parseCidr(text));
  assert.ok(wide && inside && beside && all);
  assert.ok(overlaps(wide, inside) && overlaps(inside, wide));
  assert.ok(!overlaps(wide, beside) && !overlaps(beside, wide) && !overlaps(wide, all));
});

test('hardware addresses follow the address, or are checked', () => {
  assert.equal(macFor(ip('172.17.0.2')), '02:42:ac:11:00:02');
  assert.match(macFor(ip('fd00::2')), /^02:42(:[0-9a-f]{2}){4}$/);
  assert.notEqual(macFor(ip('fd00::2')), macFor(ip('fd00::3')));
  assert.equal(parseMac('02-AB-cd-00-00-01'), '02:ab:cd:00:00:01');
  for (const text of ['', '02:42', '01:00:5e:00:00:01', '00:00:00:00:00:00', 'zz:42:ac:11:00:02']) {
    assert.throws(() => parseMac(text), { code: 'MAC_INVALID' }, text);
  }
});
