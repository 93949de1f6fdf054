import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SourceReader } from './source-reader.ts';

const bytes = Buffer.from(Array.from({ length: 100 }, (_, index) => index));

/** Gives seven bytes at a time, each once `next` lets it; notes where it was opened and how many streams were ended. */
function slowSource() {
  const state = { opened: [] as number[], ended: 0, held: undefined as Promise<void> | undefined };
  return {
    state,
    async *read(offset: number) {
      state.opened.push(offset);
      try {
        for (let at = offset; at < bytes.length; at += 7) {
          await state.held;
          yield bytes.subarray(at, at + 7);
        }
      } finally {
        state.ended += 1;
      }
    },
  };
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('ranges that follow each other come out of one stream, others open it anew', async () => {
  const source = slowSource();
  const reader = new SourceReader(source, bytes.length);
  for (const [offset, length] of [
    [0, 10],
    [10, 30],
    [40, 5],
    [0, 3],
    [3, 97],
  ] as const) {
    assert.deepEqual(await collect(reader.range(offset, length)), bytes.subarray(offset, offset + length));
  }
  assert.deepEqual(source.state.opened, [0, 0]);
  await reader[Symbol.asyncDispose]();
  assert.equal(source.state.ended, 2);
});

test('a range that was given up while it waited does not take from the next', async () => {
  const source = slowSource();
  const reader = new SourceReader(source, bytes.length);
  const { promise, resolve } = Promise.withResolvers<void>();
  source.state.held = promise;
  const given = reader.range(0, 50);
  const first = given.next();
  await Promise.resolve();
  source.state.held = undefined;
  const second = collect(reader.range(0, 50));
  resolve();
  assert.deepEqual(await second, bytes.subarray(0, 50));
  assert.equal((await first).done, true);
  assert.deepEqual(await collect(reader.range(50, 50)), bytes.subarray(50));
});
