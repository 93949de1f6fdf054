import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { type ChunkSizes, chunkOf, cutChunks, cutRead, fileChunks, streamChunks } from './chunker.ts';

/** Bytes that look random and are the same in every run. */
function noise(length: number, seed: string): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at < length; at += 32) blocks.push(createHash('sha256').update(`${seed} ${at}`).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

function lengths(pieces: Iterable<Uint8Array>, sizes?: ChunkSizes): number[] {
  return [...cutChunks(pieces, sizes)].map((chunk) => chunk.length);
}

function* split(bytes: Buffer, ...sizes: number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const data = noise(3_000_000, 'data');

/** The format's words, followed slowly: a chunk ends where the last 32 bytes, each shifted by how long ago it came, add up to a number whose high bits are zero. */
function slowLengths(bytes: Buffer, { minBytes, maskBits, maxBytes }: ChunkSizes): number[] {
  const gear = Array.from({ length: 256 }, (_, byte) =>
    createHash('sha256')
      .update(Buffer.concat([Buffer.from('slipway gear 1'), Buffer.of(byte)]))
      .digest()
      .readUInt32BE(0),
  );
  const found: number[] = [];
  for (let start = 0; start < bytes.length; ) {
    let length = Math.min(minBytes, bytes.length - start);
    for (; length < Math.min(maxBytes, bytes.length - start); length++) {
      let sum = 0n;
      for (let ago = 0; ago < 32; ago++) sum += BigInt(gear[bytes[start + length - 1 - ago] ?? 0] ?? 0) << BigInt(ago);
      if ((sum & 0xffff_ffffn) >> BigInt(32 - maskBits) === 0n) break;
    }
    found.push(length);
    start += length;
  }
  return found;
}

test('the cuts are those of the format', () => {
  // docs/formats/frames.md: another implementation has to come to these.
  assert.deepEqual(lengths([noise(500_000, 'format')]), [50681, 36470, 45548, 71898, 101419, 51136, 81307, 61541]);
  assert.deepEqual(lengths([noise(60_000, 'format')], streamChunks), [5545, 18414, 11525, 9112, 6085, 6714, 2605]);
  assert.deepEqual(slowLengths(noise(60_000, 'format'), streamChunks), [5545, 18414, 11525, 9112, 6085, 6714, 2605]);
  const text = Buffer.from('the same words again and again. '.repeat(900));
  assert.deepEqual(slowLengths(text, streamChunks), lengths([text], streamChunks));
});

test('a file read into one buffer is cut at the same places', () => {
  const whole = [...cutChunks([data])];
  for (const [scratchBytes, most] of [
    [2 << 20, Number.POSITIVE_INFINITY],
    [300_000, 4096],
    [262_145, 262_145],
    [1 << 20, 65_537],
  ] as const) {
    let at = 0;
    const read = (target: Buffer) => {
      const count = data.copy(target, 0, at, Math.min(at + most, data.length));
      at += count;
      return count;
    };
    const cut = Array.from(cutRead(read, Buffer.alloc(scratchBytes)), (chunk) => Buffer.from(chunk));
    assert.deepEqual(
      cut,
      whole.map((chunk) => Buffer.from(chunk)),
      `${scratchBytes} ${most}`,
    );
  }
  assert.deepEqual([...cutRead(() => 0, Buffer.alloc(300_000))], []);
});

test('cuts do not depend on how the stream comes', () => {
  const whole = lengths([data]);
  assert.ok(whole.length > 30);
  for (const sizes of [[1000], [32 * 1024], [262_144], [262_145, 1, 77_777], [2_999_999, 1]])
    assert.deepEqual(lengths(split(data, ...sizes)), whole, `${sizes}`);
  assert.deepEqual(Buffer.concat([...cutChunks(split(data, 100_000))]), data);
});

for (const [name, sizes] of Object.entries({ fileChunks, streamChunks })) {
  test(`${name} keep their bounds, and change only around what changed`, () => {
    const all = lengths([data], sizes);
    for (const [index, length] of all.entries()) {
      assert.ok(length <= sizes.maxBytes, `${length}`);
      if (index < all.length - 1) assert.ok(length >= sizes.minBytes, `${length}`);
    }
    const average = data.length / all.length;
    assert.ok(average > sizes.minBytes && average < sizes.minBytes + 1.6 * 2 ** sizes.maskBits, `${average} bytes on average`);
    const ids = new Set([...cutChunks([data], sizes)].map((chunk) => chunkOf(chunk).id));
    for (const at of [0, 5, 1_000_000, 2_999_000]) {
      const inserted = Buffer.concat([data.subarray(0, at), Buffer.from('something new'), data.subarray(at)]);
      const removed = Buffer.concat([data.subarray(0, at), data.subarray(at + 1000)]);
      for (const changed of [inserted, removed]) {
        const fresh = [...cutChunks([changed], sizes)].filter((chunk) => !ids.has(chunkOf(chunk).id));
        assert.ok(fresh.length >= 1 && fresh.length <= 4, `${fresh.length} new chunks for a change at ${at}`);
      }
    }
  });
}

test('what has no place to be cut is cut at the most a chunk can have, and what is small is one chunk', () => {
  assert.deepEqual(lengths([Buffer.alloc(600_000)]), lengths(split(Buffer.alloc(600_000), 7777)));
  for (const length of [1, 100, fileChunks.minBytes]) assert.deepEqual(lengths([data.subarray(0, length)]), [length]);
  assert.deepEqual(lengths([]), []);
  assert.deepEqual(lengths([Buffer.alloc(0)]), []);
});

test('a chunk is named by its first 16 bytes of SHA-256', () => {
  assert.deepEqual(chunkOf(Buffer.from('abc')), { id: 'ba7816bf8f01cfea414140de5dae2223', length: 3 });
});
