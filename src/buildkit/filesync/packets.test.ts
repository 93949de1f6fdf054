import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ByteString } from '../../base/bytes.ts';
import { emptyStat, PacketType, readPacket, writePacket } from './packets.ts';

const times: [seconds: number, nanoseconds: number][] = [
  [0, 0],
  [0, 1],
  [1_790_000_000, 123_456_789],
  [4_294_967_296, 999_999_999],
  [9_223_372_036, 854_775_807],
  [-1, 999_999_999],
  [-9_223_372_036, 145_224_192],
];

for (const [mtimeSec, mtimeNsec] of times) {
  test(`a time of ${mtimeSec} s and ${mtimeNsec} ns comes as it was sent`, () => {
    const stat = { ...emptyStat(), path: 'a' as ByteString, mtimeSec, mtimeNsec };
    assert.deepEqual(readPacket(writePacket({ type: PacketType.PACKET_STAT, stat })).stat, stat);
  });
}

test('all that a stat says comes as it was sent', () => {
  const stat = {
    path: 'd/gr\xc3\xb6\xc3\x9fe\xff' as ByteString,
    mode: 0x8000_0000 + 0o755,
    uid: 4_294_967_294,
    gid: 1000,
    size: 2 ** 52 + 1,
    mtimeSec: 1,
    mtimeNsec: 2,
    linkname: '../x' as ByteString,
    devmajor: 8,
    devminor: 1_048_575,
    xattrs: [['user.a' as ByteString, '\0\xff' as ByteString] as const],
  };
  assert.deepEqual(readPacket(writePacket({ type: PacketType.PACKET_STAT, stat })).stat, stat);
});

test('a stat that is cut is malformed', () => {
  const whole = writePacket({ type: PacketType.PACKET_STAT, stat: { ...emptyStat(), path: 'abc' as ByteString, size: 300 } });
  for (const inner of [[0x28], [0x28, 0x80], [0x0a, 0x05, 0x61], [0x0b]]) {
    const message = Uint8Array.from([0x12, inner.length, ...inner]);
    assert.throws(() => readPacket(message), { code: 'SESSION_MALFORMED' });
  }
  assert.throws(() => readPacket(whole.subarray(0, whole.length - 1)), { code: 'SESSION_MALFORMED' });
});
