import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame, maxFrameBytes, Opcode, WebSocketDecoder } from './frames.ts';

/** As a client sends it: masked. */
function masked(first: number, payload: Buffer): Buffer {
  const key = Buffer.from([1, 2, 3, 4]);
  const plain = encodeFrame(Opcode.binary, payload);
  const head = plain.subarray(0, plain.length - payload.length);
  head[0] = first;
  head[1] = (head[1] ?? 0) | 0x80;
  return Buffer.concat([head, key, payload.map((byte, index) => byte ^ (key[index % 4] ?? 0))]);
}

test('frames of every length come through, cut anywhere', () => {
  for (const length of [0, 1, 125, 126, 65_535, 65_536]) {
    const payload = Buffer.alloc(length, 'x');
    const bytes = Buffer.concat([masked(0x82, payload), masked(0x01, payload), masked(0x89, Buffer.from('hi'))]);
    const decoder = new WebSocketDecoder();
    const cut = Math.min(bytes.length, Math.floor(length / 2) + 3);
    const frames = [...decoder.push(bytes.subarray(0, cut)), ...decoder.push(bytes.subarray(cut))];
    assert.deepEqual(
      frames.map(({ opcode, final, payload }) => [opcode, final, payload.length]),
      [
        [Opcode.binary, true, length],
        [Opcode.text, false, length],
        [Opcode.ping, true, 2],
      ],
    );
    assert.ok(frames[0]?.payload.equals(payload));
  }
});

test('what the RFC forbids, and frames too large to hold, are refused by their head', () => {
  const large = Buffer.alloc(14);
  large.set([0x82, 0xff]);
  large.writeBigUInt64BE(BigInt(maxFrameBytes) + 1n, 2);
  const wrong: [string, Buffer][] = [
    ['not masked', encodeFrame(Opcode.binary, Buffer.from('x'))],
    ['reserved bits', masked(0xc2, Buffer.from('x'))],
    ['an unknown opcode', masked(0x83, Buffer.from('x'))],
    ['a ping in fragments', masked(0x09, Buffer.from('x'))],
    ['a long close', masked(0x88, Buffer.alloc(126))],
    ['too large', large],
  ];
  for (const [what, bytes] of wrong) assert.throws(() => new WebSocketDecoder().push(bytes), { code: 'FRAME_INVALID' }, what);
});
