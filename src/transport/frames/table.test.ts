import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { ByteWriter } from '../../store/tree/byte-writer.ts';
import type { ChunkId, FrameTable } from './model.ts';
import { decodeFrameTable, encodeFrameTable, tableLimits } from './table.ts';

const id = (number: number) => number.toString(16).padStart(32, '0') as ChunkId;

const table: FrameTable = {
  compression: 'gzip',
  frames: [
    { compressed: 700, plain: 2000 },
    { compressed: 90, plain: 1000 },
    { compressed: 5, plain: 1 },
  ],
  chunks: [
    { id: id(7), frame: 0, offset: 512, length: 100 },
    { id: id(3), frame: 0, offset: 612, length: 1388 },
    { id: id(9), frame: 2, offset: 0, length: 1 },
  ],
};

test('a table comes back as it went, and the same table gives the same bytes', () => {
  for (const compression of ['gzip', 'zstd'] as const) {
    const encoded = encodeFrameTable({ ...table, compression });
    assert.deepEqual(decodeFrameTable(encoded), { ...table, compression });
    assert.deepEqual(encodeFrameTable({ ...table, compression }), encoded);
  }
  assert.deepEqual(decodeFrameTable(encodeFrameTable({ compression: 'zstd', frames: [], chunks: [] })), {
    compression: 'zstd',
    frames: [],
    chunks: [],
  });
});

const refused: Record<string, [FrameTable, RegExp]> = {
  'a chunk beyond the end of its frame': [
    { ...table, chunks: [{ id: id(1), frame: 1, offset: 990, length: 11 }] },
    /does not end in its frame/,
  ],
  'a chunk in a frame that is not there': [
    { ...table, chunks: [{ id: id(1), frame: 3, offset: 0, length: 1 }] },
    /in a frame that is not there/,
  ],
  'an empty chunk': [{ ...table, chunks: [{ id: id(1), frame: 1, offset: 0, length: 0 }] }, /a chunk is empty/],
  'a chunk twice': [
    {
      ...table,
      chunks: [
        { id: id(1), frame: 0, offset: 0, length: 5 },
        { id: id(1), frame: 0, offset: 5, length: 5 },
      ],
    },
    /twice/,
  ],
  'a chunk larger than chunks are': [
    {
      ...table,
      frames: [{ compressed: 9, plain: 1 << 20 }],
      chunks: [{ id: id(1), frame: 0, offset: 0, length: tableLimits.chunkBytes + 1 }],
    },
    /the length of a chunk is 262145, more than 262144/,
  ],
  'a frame larger than frames may be': [
    { ...table, frames: [{ compressed: 9, plain: tableLimits.frameBytes + 1 }], chunks: [] },
    /plain size of a frame/,
  ],
  'an empty frame': [{ ...table, frames: [{ compressed: 9, plain: 0 }], chunks: [] }, /a frame is empty/],
  'two sizes for what is not compressed': [{ compression: 'none', frames: [{ compressed: 9, plain: 10 }], chunks: [] }, /has two sizes/],
};

for (const [what, [given, message]] of Object.entries(refused)) {
  test(`refuses ${what}`, () => {
    assert.throws(() => decodeFrameTable(encodeFrameTable(given), 'the table of web:1'), { code: 'FRAME_TABLE_INVALID', message });
    assert.throws(() => decodeFrameTable(encodeFrameTable(given), 'the table of web:1'), { message: /^the table of web:1 is not sound/ });
  });
}

test('refuses chunks that overlap, whatever the order', () => {
  // The encoder cannot say it: a distance is never negative. Neither can bytes: they are read back with every number at least 0.
  const overlapping: FrameTable = {
    ...table,
    chunks: [
      { id: id(1), frame: 0, offset: 0, length: 100 },
      { id: id(2), frame: 0, offset: 50, length: 100 },
    ],
  };
  assert.throws(() => decodeFrameTable(encodeFrameTable(overlapping)), { code: 'FRAME_TABLE_INVALID' });
});

test('refuses what is cut short, has more after it, unpacks to too much, or has more items than bytes', () => {
  const plain = new ByteWriter();
  for (const byte of [0x53, 0x46, 1, 0]) plain.u8(byte);
  plain.varint(4_000_000);
  assert.throws(() => decodeFrameTable(zstdCompressSync(plain.view())), { message: /more than there are bytes for/ });
  assert.throws(() => decodeFrameTable(zstdCompressSync(Buffer.alloc(tableLimits.plainTableBytes + 1))), { message: /cannot be unpacked/ });
  const encoded = encodeFrameTable(table);
  for (let end = 0; end < encoded.length; end++)
    assert.throws(() => decodeFrameTable(encoded.subarray(0, end)), { code: 'FRAME_TABLE_INVALID' });
  assert.throws(() => decodeFrameTable(Buffer.concat([encoded, zstdCompressSync(Buffer.from('more'))])), { message: /left over/ });
  assert.throws(() => decodeFrameTable(zstdCompressSync(Buffer.from([0x53, 0x46, 2, 0, 0, 0]))), { message: /has version 2/ });
});
