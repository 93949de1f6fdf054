import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteString } from '../../src/base/bytes.ts';
import { EngineError } from '../../src/base/errors.ts';
import { readResultDefinition } from '../../src/buildkit/control/result-definition.ts';
import { emptyStat, PacketType, readPacket, writePacket } from '../../src/buildkit/filesync/packets.ts';
import { FrameReader, frame } from '../../src/buildkit/grpc/frames.ts';

/** Whatever the bytes are, the answer is a value or an error of the engine. */
function soundly(run: () => void): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof EngineError, String(error));
  }
}

test('messages come out of a stream as they went in, however it is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }),
      (messages, cuts) => {
        const bytes = Buffer.concat(messages.map(frame));
        const read: Buffer[] = [];
        const reader = new FrameReader((message) => read.push(Buffer.from(message)));
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const length = cuts[i % cuts.length] ?? 1;
          reader.push(Buffer.from(bytes.subarray(at, at + length)));
          at += length;
        }
        reader.end();
        assert.deepEqual(
          read,
          messages.map((message) => Buffer.from(message)),
        );
      },
    ),
    { numRuns: 300 },
  );
});

test('any bytes are messages or an error that says what is wrong with them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      soundly(() => new FrameReader(readPacket).push(Buffer.from(bytes)));
      soundly(() => readPacket(bytes));
      soundly(() => readResultDefinition({ $typeName: 'pb.Definition', def: [bytes], metadata: {} }, 'x'));
    }),
    { numRuns: 3000 },
  );
});

test('a packet is read as it was written, names and times included', () => {
  const byteString = fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString);
  const stat = fc.record({
    path: byteString,
    linkname: byteString,
    mode: fc.nat({ max: 2 ** 32 - 1 }),
    uid: fc.nat({ max: 2 ** 32 - 1 }),
    gid: fc.nat({ max: 2 ** 32 - 1 }),
    size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    mtimeSec: fc.integer({ min: -9_000_000_000, max: 9_000_000_000 }),
    mtimeNsec: fc.nat({ max: 999_999_999 }),
    xattrs: fc.array(fc.tuple(byteString, byteString), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(stat, fc.uint8Array(), fc.nat({ max: 2 ** 32 - 1 }), (given, data, id) => {
      const whole = { ...emptyStat(), ...given };
      const packet = readPacket(writePacket({ type: PacketType.PACKET_DATA, stat: whole, id, data }));
      assert.deepEqual(
        { ...packet, data: Buffer.from(packet.data) },
        { type: PacketType.PACKET_DATA, stat: whole, id, data: Buffer.from(data) },
      );
    }),
    { numRuns: 500 },
  );
});
