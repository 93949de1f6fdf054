import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import { parseAttributes } from '../../src/kernel/netlink.ts';
import { parseBridgeOptions } from '../../src/network/bridge-options.ts';
import { parseCniList } from '../../src/network/cni/config.ts';
import { parseCniResult } from '../../src/network/cni/result.ts';
import { parseIpv6Routes, parseRoutes } from '../../src/network/host-routes.ts';
import {
  addressBytes,
  addressOfBytes,
  contains,
  formatIp,
  formatSubnet,
  lastOf,
  overlaps,
  parseCidr,
  parseIp,
  parseMac,
  parseSubnet,
  subnetOf,
} from '../../src/network/ip.ts';
import { socketInodes } from '../../src/network/ports/port-holder.ts';

const runs = { numRuns: 2000, interruptAfterTimeLimit: 2500 };
const address = fc.oneof(
  fc.bigInt(0n, 2n ** 32n - 1n).map((value) => ({ family: 4 as const, value })),
  fc
    .bigInt(0n, 2n ** 128n - 1n)
    .filter((value) => value >> 32n !== 0xffffn)
    .map((value) => ({ family: 6 as const, value })),
);
const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:./%]{0,45}$/), address.map(formatIp));

/** Anything but an error of the engine's own is a fault. */
function refusesOnly(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof EngineError, String(error));
    assert.ok(error.message.length < 1500);
  }
}

test('addresses and subnets survive being written and read', () => {
  fc.assert(
    fc.property(address, fc.nat(128), (one, length) => {
      assert.deepEqual(parseIp(formatIp(one)), one);
      assert.deepEqual(addressOfBytes(addressBytes(one)), one);
      const subnet = subnetOf(one, Math.min(length, one.family === 4 ? 32 : 128));
      assert.ok(contains(subnet, one) && overlaps(subnet, subnet) && lastOf(subnet) >= subnet.first);
      const written = formatSubnet(subnet);
      // What stands for an IPv4 address is not written as an IPv6 one.
      if (parseIp(written.split('/')[0] ?? '') !== undefined) assert.deepEqual(parseCidr(written), subnet);
    }),
    runs,
  );
});

test('no text breaks the readers of addresses', () => {
  fc.assert(
    fc.property(text, (given) => {
      const parsed = parseIp(given);
      if (parsed !== undefined) assert.deepEqual(parseIp(formatIp(parsed)), parsed);
      for (const parse of [parseSubnet, parseMac, parseCidr, parseRoutes, parseIpv6Routes]) refusesOnly(() => parse(given));
      refusesOnly(() => parseBridgeOptions({ [given]: given, 'com.docker.network.bridge.host_binding_ipv4': given }));
      refusesOnly(() => socketInodes(`\n ${given}`, '0.0.0.0', 80, 'tcp'));
    }),
    runs,
  );
});

test('no answer of a plugin and no configuration breaks their readers', () => {
  const entry = fc.record(
    { address: text, gateway: text, ip: text, routes: fc.anything(), name: text, sandbox: text, mac: text, dst: text, gw: text },
    { requiredKeys: [] },
  );
  const result = fc.record(
    {
      ips: fc.oneof(fc.array(entry), fc.anything()),
      interfaces: fc.oneof(fc.array(entry), fc.anything()),
      routes: fc.array(entry),
      ip4: entry,
      dns: fc.anything(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.oneof(result, fc.anything()), (value) => {
      refusesOnly(() => parseCniResult(value, 'eth0'));
      refusesOnly(() => parseCniList(value));
    }),
    runs,
  );
});

test('no bytes break the reader of netlink attributes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      let total = 0;
      for (const value of parseAttributes(Buffer.from(bytes)).values()) total += value.length;
      assert.ok(total <= bytes.length);
    }),
    runs,
  );
});
