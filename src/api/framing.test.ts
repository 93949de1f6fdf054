import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DetachFilter, parseDetachKeys } from './detach-keys.ts';
import { FrameDecoder, frame } from './framing.ts';

const limits = (stream: number) => [10, undefined, undefined, 100][stream];

test('a frame has the 8-byte header of the Docker Engine API', () => {
  assert.deepEqual([...frame(2, Buffer.from('ab'))], [2, 0, 0, 0, 0, 0, 0, 2, 97, 98]);
});

test('frames come together from pieces of any size', () => {
  const bytes = Buffer.concat([frame(0, Buffer.from('{}')), frame(3, Buffer.alloc(0)), frame(3, Buffer.from('hello'))]);
  for (let size = 1; size <= bytes.length; size++) {
    const decoder = new FrameDecoder(limits);
    const found: [number, string][] = [];
    for (let at = 0; at < bytes.length; at += size) {
      for (const { stream, payload } of decoder.push(bytes.subarray(at, at + size))) found.push([stream, payload.toString()]);
    }
    assert.deepEqual(found, [
      [0, '{}'],
      [3, ''],
      [3, 'hello'],
    ]);
  }
});

test('unknown streams, other header bytes and long frames are refused before their payload is read', () => {
  const bad = [
    Buffer.from([1, 0, 0, 0, 0, 0, 0, 1]),
    Buffer.from([9, 0, 0, 0, 0, 0, 0, 1]),
    Buffer.from([3, 0, 1, 0, 0, 0, 0, 1]),
    Buffer.from([0, 0, 0, 0, 0, 0, 0, 11]),
    Buffer.from([3, 0, 0, 0, 255, 255, 255, 255]),
  ];
  for (const header of bad) assert.throws(() => new FrameDecoder(limits).push(header), { code: 'FRAME_INVALID' });
});

test('detach keys are read as Docker writes them', () => {
  assert.deepEqual([...parseDetachKeys()], [16, 17]);
  assert.deepEqual([...parseDetachKeys('ctrl-a,d,ctrl-[')], [1, 100, 27]);
  for (const text of ['ctrl-', 'ab', '', 'ctrl-1']) assert.throws(() => parseDetachKeys(text), { code: 'DETACH_KEYS_INVALID' });
});

test('what only begins like the detach keys is passed on', () => {
  const filter = new DetachFilter(Buffer.from([16, 17]));
  const push = (...bytes: number[]) => {
    const { data, detached } = filter.push(Buffer.from(bytes));
    return [[...data], detached];
  };
  assert.deepEqual(push(97, 16), [[97], false]);
  assert.deepEqual(push(98), [[16, 98], false]);
  assert.deepEqual(push(16, 16), [[16], false]);
  assert.deepEqual(push(17, 99), [[], true]);
});
