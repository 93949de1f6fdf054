import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LogLine } from './port.ts';
import { formatRecord, LineJoiner, parseRecord, parseTime } from './record.ts';

const text = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes.map((byte) => (byte === 0x0a ? 0x20 : byte))));
const record: fc.Arbitrary<LogLine> = fc.record(
  {
    timeNs: fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }),
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    line: text,
    partial: fc.boolean(),
  },
  { noNullPrototype: true },
);

test('what is formatted is parsed again, byte for byte', () => {
  fc.assert(
    fc.property(record, (original) => {
      const parsed = parseRecord(formatRecord(original).subarray(0, -1));
      assert.deepEqual(parsed && { ...parsed, line: Buffer.from(parsed.line) }, original);
    }),
    { numRuns: 500 },
  );
});

test('bytes that are no record are refused, never thrown at', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      parseRecord(Buffer.from(bytes));
    }),
    { numRuns: 1_000 },
  );
  for (const torn of [
    '',
    '2026-01-01T00:00:00.0',
    '2026-01-01T00:00:00.000000000+00:00 stdout',
    '2026-01-01T00:00:00.000000000+00:00 stdall F x',
    '2026-13-41T00:00:00.000000000+00:00 stdout F x',
  ]) {
    assert.equal(parseRecord(Buffer.from(torn)), undefined, torn);
  }
});

test('times keep their nanoseconds and zone', () => {
  assert.equal(parseTime('1970-01-01T00:00:01.000000002+00:00'), 1_000_000_002n);
  assert.equal(parseTime('1970-01-01T01:00:00.5+01:00'), 500_000_000n);
  assert.equal(parseTime('1970-01-01T00:00:00Z'), 0n);
});

test('pieces of two streams are joined each for itself', () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 60 }), (records) => {
      const joiner = new LineJoiner();
      const lines = records.flatMap((each) => joiner.push(each) ?? []);
      const rest = joiner.rest();
      for (const stream of ['stdout', 'stderr'] as const) {
        const of = (list: LogLine[]) => list.filter((each) => each.stream === stream);
        const written = of(records).map(({ line, partial }) => Buffer.concat([line, Buffer.from(partial ? '' : '\n')]));
        const read = of([...lines, ...rest]).map(({ line, partial }) => Buffer.concat([line, Buffer.from(partial ? '' : '\n')]));
        assert.deepEqual(Buffer.concat(read), Buffer.concat(written));
        assert.ok(of(lines).every(({ partial }) => !partial));
      }
    }),
    { numRuns: 300 },
  );
});

test('a line over the limit comes in pieces instead of filling memory', () => {
  const joiner = new LineJoiner(10);
  const piece = (line: string, partial: boolean) => joiner.push({ timeNs: 1n, stream: 'stdout', line: Buffer.from(line), partial });
  assert.equal(piece('12345', true), undefined);
  assert.equal(piece('67890', true)?.partial, true);
  assert.deepEqual(piece('rest', false)?.line.toString(), 'rest');
});
