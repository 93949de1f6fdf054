import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BuildLine, BuildResultLine } from '../../api-types/build.ts';
import { LiveProgress } from './live-progress.ts';
import { PlainProgress } from './plain-progress.ts';
import { LineSplitter, showDuration } from './vertices.ts';

const output = (vertex: string, text: string, stream: 'stdout' | 'stderr' = 'stdout'): BuildLine => ({
  kind: 'output',
  vertex,
  stream,
  data: Buffer.from(text).toString('base64'),
});
const lines: [atMs: number, line: BuildLine][] = [
  [0, { kind: 'vertex', vertex: 'a', name: '[1/3] FROM base', state: 'cached' }],
  [10, { kind: 'vertex', vertex: 'b', name: '[2/3] RUN npm ci', state: 'running' }],
  [1010, output('b', 'added 57')],
  [1020, output('b', ' packages\nwarn\r\n')],
  [1030, { kind: 'vertex', vertex: 'c', name: '[other 1/1] COPY . .', state: 'running' }],
  [1040, { kind: 'vertex', vertex: 'c', name: '[other 1/1] COPY . .', state: 'done', durationMs: 12 }],
  [1050, output('b', 'tail')],
  [2010, { kind: 'vertex', vertex: 'b', name: '[2/3] RUN npm ci', state: 'done', durationMs: 2000 }],
  [2020, { kind: 'warning', message: 'old syntax', line: 3 }],
];
const result: BuildResultLine = {
  kind: 'result',
  imageId: 'sha256:abc',
  tree: 'ff',
  content: 'ff',
  tags: ['web:2'],
  vertices: 3,
  cachedVertices: 1,
  durationMs: 2030,
};

test('plain progress reads as BuildKit’s', () => {
  let now = 0;
  let text = '';
  const progress = new PlainProgress(
    (piece) => {
      text += piece;
    },
    () => now,
  );
  for (const [atMs, line] of lines) {
    now = atMs;
    progress.line(line);
  }
  progress.result(result);
  progress.close();
  assert.equal(
    text,
    `#1 [1/3] FROM base
#1 CACHED

#2 [2/3] RUN npm ci
#2 1.010 added 57 packages
#2 1.010 warn

#3 [other 1/1] COPY . .
#3 DONE 0.0s

#2 [2/3] RUN npm ci ...
#2 2.000 tail
#2 DONE 2.0s
WARNING: old syntax (line 3)
Built sha256:abc as web:2 in 2.02s: 3 vertices, 1 cached
`,
  );
});

test('live progress keeps what ended, draws what runs, and gives the terminal back', () => {
  let now = 0;
  let text = '';
  const screen = {
    write: (piece: string) => {
      text += piece;
    },
    size: () => ({ columns: 60, rows: 10 }),
    paint: (_code: number, shown: string) => shown,
  };
  const progress = new LiveProgress(screen, () => now);
  for (const [atMs, line] of lines.slice(0, 4)) {
    now = atMs;
    progress.line(line);
  }
  progress.draw();
  const frame = text.slice(text.lastIndexOf('\u001b[0J') + 4);
  assert.match(frame, /^Building 1 of 2 done +1\.0s\n> \[2\/3\] RUN npm ci +1\.0s\n {4}added 57 packages\n {4}warn\n$/);
  for (const [atMs, line] of lines.slice(4)) {
    now = atMs;
    progress.line(line);
  }
  progress.result(result);
  progress.close();
  progress.close();
  assert.ok(text.startsWith('\u001b[?25l'));
  assert.ok(text.endsWith('\u001b[?25h'));
  assert.match(text, /= CACHED \[1\/3\] FROM base/);
  assert.match(text, /\+ \[2\/3\] RUN npm ci +2\.0s/);
});

test('live progress prints the output of what failed', () => {
  let text = '';
  const screen = {
    write: (piece: string) => {
      text += piece;
    },
    size: () => ({ columns: 80, rows: 24 }),
    paint: (_code: number, shown: string) => shown,
  };
  const progress = new LiveProgress(screen, () => 0);
  progress.line({ kind: 'vertex', vertex: 'b', name: 'RUN false', state: 'running' });
  progress.line(output('b', 'one\ntwo'));
  progress.line({ kind: 'vertex', vertex: 'b', name: 'RUN false', state: 'error', error: 'exit 1' });
  progress.close();
  assert.match(text, /x RUN false.*\n > one\n > two\n/);
});

test('lines: carriage returns start anew, control sequences go, characters may be cut', () => {
  const splitter = new LineSplitter();
  const euro = Buffer.from('€\n');
  assert.deepEqual(splitter.push(Buffer.from('10%\r100%\r\n\u001b[31mred\u001b[0m\u0007\n')), ['100%', 'red']);
  assert.deepEqual([...splitter.push(euro.subarray(0, 1)), ...splitter.push(euro.subarray(1))], ['€']);
  assert.deepEqual(splitter.push(Buffer.from('rest')), []);
  assert.deepEqual(splitter.end(), ['rest']);
});

test('durations of steps', () => {
  assert.deepEqual([40, 12_340, 125_000].map(showDuration), ['0.0s', '12.3s', '2m05s']);
});
