import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BuildLine } from '../../api-types/build.ts';
import { BuildNotes } from './notes.ts';

function noted(lines: readonly (readonly [atMs: number, line: Partial<BuildLine & { kind: 'vertex' }>])[]): BuildNotes {
  let now = 1_000;
  const notes = new BuildNotes(() => now);
  for (const [atMs, line] of lines) {
    now = 1_000 + atMs;
    notes.line({ kind: 'vertex', vertex: 'a', name: 'A', state: 'running', ...line });
  }
  return notes;
}

test('steps that ran side by side are in rows of their own, and rows are used again', () => {
  const notes = noted([
    [0, { vertex: 'a', name: 'A', reason: 'it never ran here' }],
    [10, { vertex: 'b', name: 'B' }],
    [30, { vertex: 'a', name: 'A', state: 'done', durationMs: 30, reason: 'it never ran here' }],
    [30, { vertex: 'c', name: 'C' }],
    [35, { vertex: 'd', name: 'D', state: 'cached', durationMs: 2 }],
    [50, { vertex: 'b', name: 'B', state: 'error', durationMs: 40, error: 'no' }],
    [60, { vertex: 'c', name: 'C', state: 'cancelled', durationMs: 30 }],
  ]);
  const events = notes.trace().traceEvents as { name: string; ts: number; dur: number; tid: number; ph: string; args: object }[];
  assert.deepEqual(
    events.map(({ name, ts, dur, tid, ph }) => [name, ts, dur, tid, ph]),
    [
      ['A', 0, 30_000, 1, 'X'],
      ['B', 10_000, 40_000, 2, 'X'],
      ['C', 30_000, 30_000, 1, 'X'],
      ['D', 33_000, 2_000, 3, 'X'],
    ],
  );
  assert.deepEqual(events[1]?.args, { state: 'error', error: 'no' });
});

test('every vertex is explained: hit, miss or what became of it', () => {
  const notes = noted([
    [0, { vertex: 'a', name: 'COPY . .', state: 'cached', reason: 'what it reads did not change' }],
    [1, { vertex: 'b', name: 'RUN make', reason: 'the root file system changed' }],
    [2_001, { vertex: 'b', name: 'RUN make', state: 'done', durationMs: 2_000, reason: 'the root file system changed' }],
    [2_002, { vertex: 'c', name: 'RUN no', state: 'error', durationMs: 1 }],
  ]);
  assert.deepEqual(notes.explanation(), [
    '#1 hit  COPY . .: what it reads did not change',
    '#2 miss RUN make: the root file system changed (2.0s)',
    '#3 error RUN no (0.0s)',
  ]);
});
