import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdtempSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import type { LiveSpool, LogLine, ReadOptions } from './port.ts';
import { formatRecord, LineJoiner } from './record.ts';
import { SpoolReader } from './spool-reader.ts';
import { SpoolRotator } from './spool-rotator.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'slipway-spool-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const reader = () => new SpoolReader({ directory: () => directory, ended: () => Promise.resolve() });
const path = (name = 'spool') => join(directory, name);
const record = (line: string, more: Partial<LogLine> = {}): Buffer =>
  formatRecord({ timeNs: 1n, stream: 'stdout', line: Buffer.from(line), partial: false, ...more });

async function read(options: ReadOptions = {}): Promise<string[]> {
  const lines: string[] = [];
  for await (const { line } of reader().read('id', options)) lines.push(line.toString());
  return lines;
}

test('no spool, an empty one and a torn end', async () => {
  assert.deepEqual(await read(), []);
  appendFileSync(path(), '');
  assert.deepEqual(await read({ tail: 5 }), []);
  appendFileSync(path(), Buffer.concat([record('whole'), record('torn').subarray(0, 30)]));
  assert.deepEqual(await read(), ['whole']);
  assert.deepEqual(await read({ tail: 1 }), ['whole']);
  appendFileSync(path(), Buffer.concat([Buffer.from('\n'), record('after')]));
  assert.deepEqual(await read(), ['whole', 'after']);
});

test('files are read oldest first, by number', async () => {
  for (const [name, line] of [
    ['spool.9', 'a'],
    ['spool.10', 'b'],
    ['spool', 'c'],
  ] as const) {
    appendFileSync(path(name), record(line));
  }
  appendFileSync(path('spool.tmp'), record('not yet'));
  assert.deepEqual(await read(), ['a', 'b', 'c']);
  assert.deepEqual(await read({ tail: 2 }), ['b', 'c']);
});

test('tail gives exactly the last lines of what a whole read gives', async () => {
  const piece = fc.record({
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    size: fc.constantFrom(0, 5, 300, 8_000),
    partial: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(piece, { maxLength: 40 }), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 60 }),
      async (files, tail) => {
        for (const name of readdirSync(directory)) rmSync(path(name));
        const records: LogLine[] = [];
        for (const [index, pieces] of files.entries()) {
          for (const { stream, size, partial } of pieces)
            records.push({ timeNs: BigInt(records.length), stream, line: Buffer.from(String(records.length % 10).repeat(size)), partial });
          appendFileSync(
            path(index === files.length - 1 ? 'spool' : `spool.${index + 1}`),
            Buffer.concat(records.slice(-pieces.length || records.length).map(formatRecord)),
          );
        }
        const joiner = new LineJoiner();
        const interleaved = records.some(
          (each, index) => each.partial && records[index + 1] !== undefined && records[index + 1]?.stream !== each.stream,
        );
        const whole = [...records.flatMap((each) => joiner.push(each) ?? []), ...joiner.rest()].map(({ line }) => line.toString());
        const all = await read();
        assert.deepEqual(all, whole);
        const last = await read({ tail });
        assert.equal(last.length, Math.min(tail, all.length));
        // With pieces of both streams mixed, what counts as last may differ; else it is exact.
        if (!interleaved) assert.deepEqual(last, all.slice(-tail));
      },
    ),
    { numRuns: 60 },
  );
});

test('tail is exact wherever the blocks read from the end begin', async () => {
  const line = (index: number) => String(index).padStart(15, '0');
  const records = Array.from({ length: 1_300 }, (_, index) => record(line(index)));
  const recordBytes = records[0]?.length ?? 0;
  for (let shift = 0; shift < recordBytes; shift++) {
    // The last record's length moves the beginnings of all blocks by a byte.
    appendFileSync(path(), Buffer.concat([...records, record('x'.repeat(shift))]));
    const last = await read({ tail: 1_201 });
    assert.deepEqual(last, [...records.slice(-1_200).map((_, index) => line(100 + index)), 'x'.repeat(shift)], `shifted by ${shift}`);
    rmSync(path());
  }
});

test('a position taken at the end holds over a rotation', async () => {
  appendFileSync(path(), record('before'));
  const { promise, resolve } = Promise.withResolvers<void>();
  const lines = reader().read('id', { tail: 0, follow: true, ended: promise });
  renameSync(path(), path('spool.1'));
  appendFileSync(path('spool.1'), record('late in the old file'));
  appendFileSync(path(), record('new file'));
  const seen: string[] = [];
  setTimeout(resolve, 30);
  for await (const { line } of lines) seen.push(line.toString());
  assert.deepEqual(seen, ['late in the old file', 'new file']);
});

test('raw gives pieces as they come', async () => {
  appendFileSync(path(), Buffer.concat([record('$ ', { partial: true }), record('done')]));
  assert.deepEqual(await read({ raw: true }), ['$ ', 'done']);
  assert.deepEqual(await read(), ['$ done']);
});

/** Writes as the monitor does: on request it makes spool.tmp, writes there, and renames it. */
class Writer {
  fd = openSync(path(), 'a');
  openName = path();
  reopened = 0;
  write(line: string): void {
    writeSync(this.fd, record(line));
  }
  spool(maxBytes: number, maxFiles: number): LiveSpool {
    return {
      id: 'id',
      directory,
      maxBytes,
      maxFiles,
      openPaths: async () => [this.openName, '/dev/null'],
      reopen: async () => {
        this.reopened++;
        assert.ok(existsSync(path('spool.tmp')), 'made beforehand');
        this.fd = openSync(path('spool.tmp'), 'w');
        renameSync(path('spool.tmp'), path());
        this.openName = path();
      },
    };
  }
}

test('a rotation closes what is full, keeps the newest files, and tells the writer once', async () => {
  const writer = new Writer();
  const rotator = new SpoolRotator({ live: () => [] });
  const spool = writer.spool(200, 3);
  const rotate = async () => {
    // The name of an open file follows its renames.
    const closing = rotator.check({
      ...spool,
      openPaths: async () => [
        existsSync(path())
          ? path()
          : path(`spool.${Math.max(...readdirSync(directory).flatMap((name) => Number(/^spool\.(\d+)$/.exec(name)?.[1] ?? 0)))}`),
      ],
    });
    await closing;
  };
  for (let line = 0; line < 30; line++) {
    writer.write(`line ${line}`);
    await rotate();
  }
  const names = readdirSync(directory).filter((name) => name !== 'spool.tmp');
  assert.ok(names.length <= 3, names.join(' '));
  const lines = await read();
  assert.equal(lines.at(-1), 'line 29');
  assert.deepEqual(
    lines,
    Array.from({ length: lines.length }, (_, index) => `line ${30 - lines.length + index}`),
  );
});

test('a spool that is written fast is looked at again soon after each rotation', async () => {
  const writer = new Writer();
  const spool = {
    ...writer.spool(1_000, 100),
    // The name of an open file follows its renames; the current one is there but for a moment.
    openPaths: async () => [
      existsSync(path())
        ? path()
        : path(`spool.${Math.max(...readdirSync(directory).flatMap((name) => Number(/^spool\.(\d+)$/.exec(name)?.[1] ?? 0)))}`),
    ],
  };
  const rotator = new SpoolRotator({ live: () => [spool], intervalMs: 50 });
  rotator.start();
  const until = Date.now() + 1_000;
  while (Date.now() < until) {
    for (let line = 0; line < 20; line++) writer.write('x'.repeat(50));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await rotator.close();
  assert.ok(writer.reopened >= 5, `${writer.reopened} rotations in a second`);
});

test('a writer that does not hold the current file is not told to replace it', async () => {
  const writer = new Writer();
  for (let line = 0; line < 20; line++) writer.write('x');
  await new SpoolRotator({ live: () => [] }).check({ ...writer.spool(10, 2), openPaths: async () => ['/elsewhere'] });
  assert.equal(writer.reopened, 0);
  assert.deepEqual(readdirSync(directory), ['spool']);
});

test('a rotation that was cut off after its rename is brought to an end', async () => {
  const writer = new Writer();
  writer.write('old');
  renameSync(path(), path('spool.1'));
  writer.openName = path('spool.1');
  await new SpoolRotator({ live: () => [] }).check(writer.spool(1_000, 2));
  assert.equal(writer.reopened, 1);
  writer.write('new');
  assert.deepEqual(await read(), ['old', 'new']);
});

test('a follower that is slow loses nothing to rotations that remove what it has not read', async () => {
  const writer = new Writer();
  const spool = writer.spool(100, 4);
  const rotator = new SpoolRotator({ live: () => [] });
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  writer.write('line 0');
  const seen: string[] = [];
  const lines = new SpoolReader({ directory: () => directory, ended: () => ended }).read('id', { follow: true })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (!first.done) seen.push(first.value.line.toString());
  for (let line = 1; line <= 40; line++) {
    writer.write(`line ${line}`);
    await rotator.check({
      ...spool,
      openPaths: async () => [
        existsSync(path())
          ? path()
          : path(
              readdirSync(directory)
                .filter((name) => /\d$/.test(name))
                .sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)))
                .at(-1) ?? '',
            ),
      ],
    });
    // The reader hears of a rotation through inotify, as long as the loop turns.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  end();
  for (let next = await lines.next(); !next.done; next = await lines.next()) seen.push(next.value.line.toString());
  assert.ok(readdirSync(directory).length <= 5);
  assert.deepEqual(
    seen,
    Array.from({ length: 41 }, (_, index) => `line ${index}`),
  );
});
