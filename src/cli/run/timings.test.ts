import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunTimings } from './timings.ts';

function timed(spans: { name: string; startMs: number; endMs: number }[]): string {
  let nowMs = 0;
  const timings = new RunTimings(1_000, () => nowMs);
  nowMs = 1_040;
  timings.asked();
  nowMs = 1_100;
  timings.told(spans);
  nowMs = 1_120;
  return timings.table();
}

test('parts are in the order in which they began, counted from the start of the client', () => {
  const table = timed([
    { name: 'create', startMs: 1_042, endMs: 1_050 },
    { name: 'network', startMs: 1_052.5, endMs: 1_080 },
    { name: 'mount', startMs: 1_051, endMs: 1_053 },
  ]);
  assert.equal(
    table,
    `part               from ms   took ms
cli start              0.0      40.0
connect               40.0       2.0
create                42.0       8.0
mount                 51.0       2.0
network               52.5      27.5
answer                80.0      20.0
clean-up             100.0      20.0
total                          120.0
`,
  );
});

test('the spans of a host whose clock differs are put where they must have been', () => {
  const table = timed([{ name: 'create', startMs: 5_000_000, endMs: 5_000_050 }]);
  assert.match(table, /^connect +40\.0 +5\.0$/m);
  assert.match(table, /^create +45\.0 +50\.0$/m);
  assert.match(table, /^answer +95\.0 +5\.0$/m);
});

test('without spans, of a start that failed, only what the client knows is told', () => {
  let nowMs = 1_010;
  const timings = new RunTimings(1_000, () => nowMs);
  timings.asked();
  nowMs = 1_030;
  assert.deepEqual(timings.table().split('\n').slice(1), [
    `${'cli start'.padEnd(16)}       0.0      10.0`,
    `${'total'.padEnd(26)}      30.0`,
    '',
  ]);
});
