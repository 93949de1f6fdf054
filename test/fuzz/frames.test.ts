import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import type { ChunkId, FrameTable } from '../../src/transport/frames/model.ts';
import { decodeFrameTable, encodeFrameTable } from '../../src/transport/frames/table.ts';

const bounded = { numRuns: 2000, interruptAfterTimeLimit: 4000, markInterruptAsFailure: false };

/** Sound tables: frames with chunks one after the other, and gaps between them. */
const tables = fc
  .array(
    fc.tuple(
      fc.integer({ min: 1, max: 600_000 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 2000 }), fc.integer({ min: 1, max: 40_000 })), { maxLength: 6 }),
      fc.integer({ min: 0, max: 900 }),
    ),
    {
      maxLength: 12,
    },
  )
  .map((given): FrameTable => {
    const chunks: FrameTable['chunks'][number][] = [];
    const frames = given.map(([compressed, parts, tail], frame) => {
      let end = 0;
      for (const [gap, length] of parts) {
        chunks.push({ id: (chunks.length + 1).toString(16).padStart(32, 'a') as ChunkId, frame, offset: end + gap, length });
        end += gap + length;
      }
      return { compressed, plain: Math.max(1, end + tail) };
    });
    return { compression: 'zstd', frames, chunks };
  });

/** What every reader of a table relies on. */
function assertSound({ frames, chunks }: FrameTable): void {
  const ends = frames.map(() => 0);
  let last = 0;
  const ids = new Set<string>();
  for (const { id, frame, offset, length } of chunks) {
    assert.ok(frame >= last && length > 0 && offset >= (ends[frame] ?? Number.POSITIVE_INFINITY), 'in order, no overlap');
    assert.ok(offset + length <= (frames[frame]?.plain ?? 0), 'in its frame');
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.ok(!ids.has(id));
    ids.add(id);
    ends[frame] = offset + length;
    last = frame;
  }
  for (const { compressed, plain } of frames) assert.ok(compressed > 0 && plain > 0);
}

function decodeOrRefuse(bytes: Uint8Array): void {
  let table: FrameTable;
  try {
    table = decodeFrameTable(bytes, 'a table');
  } catch (error) {
    assert.ok(error instanceof EngineError && error.code === 'FRAME_TABLE_INVALID', String(error));
    return;
  }
  assertSound(table);
}

test('frame tables come back as they went', () => {
  fc.assert(
    fc.property(tables, (table) => {
      const decoded = decodeFrameTable(encodeFrameTable(table));
      assert.deepEqual(decoded, table);
      assertSound(decoded);
    }),
    bounded,
  );
});

test('a frame table with bytes changed, cut out or put in is refused or sound', () => {
  fc.assert(
    fc.property(
      tables,
      fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'put')), { minLength: 1, maxLength: 4 }),
      (table, changes) => {
        let plain = Buffer.from(zstdDecompressSync(encodeFrameTable(table)));
        for (const [where, value, how] of changes) {
          const at = where % (plain.length + 1);
          const rest = plain.subarray(how === 'put' ? at : at + 1);
          plain = Buffer.concat([plain.subarray(0, at), how === 'cut' ? Buffer.alloc(0) : Buffer.of(value), rest]);
        }
        decodeOrRefuse(zstdCompressSync(plain));
      },
    ),
    bounded,
  );
});

test('any bytes at all are refused or sound', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, packed) => {
      decodeOrRefuse(packed ? zstdCompressSync(Buffer.concat([Buffer.from([0x53, 0x46, 1]), bytes])) : bytes);
    }),
    bounded,
  );
});
