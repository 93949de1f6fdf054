import assert from 'node:assert/strict';
import { test } from 'node:test';
import packets, { type DecodedPacket } from 'dns-packet';
import fc from 'fast-check';
import { allowsHost, parseHostPatterns } from './host-patterns.ts';
import { encodeAnswer, parseQuestion } from './name-server.ts';
import { parseCounters } from './packet-rules.ts';

test('names and suffixes are compared without case and final dot; a suffix is not itself among what is below it', () => {
  const patterns = parseHostPatterns(['Registry.npmjs.org', '*.Debian.org', '10.0.0.5', 'fe80::1']);
  const allowed = (name: string) => allowsHost(patterns, name);
  assert.deepEqual(['registry.npmjs.org', 'REGISTRY.NPMJS.ORG.', 'deb.debian.org', 'a.b.debian.org'].map(allowed), [
    true,
    true,
    true,
    true,
  ]);
  const others = ['debian.org', 'evildebian.org', 'debian.org.evil.test', 'npmjs.org', 'x.registry.npmjs.org', '.debian.org', ''];
  assert.deepEqual(
    others.filter((name) => allowed(name)),
    [],
  );
  assert.deepEqual(patterns.addresses, ['10.0.0.5', 'fe80::1']);
});

test('a name that is allowed is exact, or really ends in an allowed suffix, whatever is asked', () => {
  const patterns = parseHostPatterns(['a.test', '*.b.test']);
  fc.assert(
    fc.property(fc.string(), (name) => {
      const plain = name.toLowerCase().replace(/\.$/, '');
      assert.equal(allowsHost(patterns, name), plain === 'a.test' || (plain.endsWith('.b.test') && plain.length > 7));
    }),
    { numRuns: 2_000 },
  );
});

/** The types of the library leave it out. */
const codeOf = (packet: DecodedPacket): unknown => 'rcode' in packet && packet.rcode;

test('a question is answered under its own id and name; another kind has none', () => {
  const ask = (type: 'A' | 'AAAA' | 'TXT') =>
    parseQuestion(packets.encode({ type: 'query', id: 4711, flags: packets.RECURSION_DESIRED, questions: [{ type, name: 'A.test' }] }));
  const question = ask('A');
  assert.ok(question !== undefined);
  const answer = packets.decode(encodeAnswer(question, { code: 'NOERROR', addresses: [{ address: '10.1.2.3', ttl: 30 }] }));
  assert.deepEqual([answer.id, answer.type, codeOf(answer), answer.flag_rd, answer.flag_ra], [4711, 'response', 'NOERROR', true, true]);
  assert.deepEqual(
    answer.answers?.map((record) => [record.type, record.name, 'data' in record ? record.data : '']),
    [['A', 'A.test', '10.1.2.3']],
  );
  assert.equal(codeOf(packets.decode(encodeAnswer(question, { code: 'NXDOMAIN', addresses: [] }))), 'NXDOMAIN');
  const text = ask('TXT');
  assert.equal(text?.type, undefined);
  assert.deepEqual(packets.decode(encodeAnswer(text ?? question, { code: 'NOERROR', addresses: [] })).answers, []);
});

test('bytes that are no question are dropped, and never throw; what is one can be answered', () => {
  const sound = packets.encode({ type: 'query', id: 1, questions: [{ type: 'A', name: 'registry.npmjs.org' }] });
  const damaged = fc
    .tuple(fc.nat(sound.length - 1), fc.integer({ min: 0, max: 255 }), fc.nat(sound.length))
    .map(([at, byte, length]) => Buffer.from(sound.map((old, index) => (index === at ? byte : old))).subarray(0, length));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }).map(Buffer.from), damaged), (message) => {
      const question = parseQuestion(Buffer.from(message));
      if (question !== undefined) encodeAnswer(question, { code: 'SERVFAIL', addresses: [] });
    }),
    { numRuns: 3_000 },
  );
});

test('counters are read by address; what was rejected did not leave', () => {
  const text = [
    '*filter',
    ':SLIPWAY-TO - [0:0]',
    '[9:900] -A INPUT -i lo -j ACCEPT',
    '[5:500] -A INPUT -j SLIPWAY-FROM',
    '[2:77] -A INPUT -j ACCEPT',
    '[4:40] -A OUTPUT -j SLIPWAY-TO',
    '[3:33] -A OUTPUT -j REJECT --reject-with icmp-admin-prohibited',
    '[4:400] -A SLIPWAY-FROM -s 10.0.0.5/32 -j ACCEPT',
    '[2:200] -A SLIPWAY-TO -d 10.0.0.5/32 -j ACCEPT',
    '[1:60] -A SLIPWAY-TO -d fd00::1/128 -j ACCEPT',
    'COMMIT',
  ].join('\n');
  assert.deepEqual(parseCounters(text, true), {
    addresses: [
      { address: '10.0.0.5', bytesIn: 400, bytesOut: 200 },
      { address: 'fd00::1', bytesIn: 0, bytesOut: 60 },
    ],
    rest: { address: '', bytesIn: 77, bytesOut: 0 },
  });
});
