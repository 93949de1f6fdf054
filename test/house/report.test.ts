import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestLine } from '../../scripts/test-events.ts';
import { closingLines, resultOf } from '../../scripts/test-report.ts';

const line = (what: TestLine['what'], name: string, more: Partial<TestLine> = {}): TestLine => ({
  what,
  name,
  depth: 0,
  ms: 5,
  group: false,
  error: '',
  line: 7,
  ...more,
});
const well = { status: '', ms: 1000, log: '', left: [] };

test('the last line counts, and every failure stands above it with its reason', () => {
  const good = resultOf(
    'a.test.ts',
    [line('starts', 'a'), line('passed', 'a'), line('skipped', 'b'), line('passed', 'c', { group: true })],
    well,
  );
  const bad = resultOf('b.test.ts', [line('failed', 'd', { error: 'Error: why\n    at here' }), line('failed', 'of d')], {
    ...well,
    status: 'ended with 1',
  });
  const said = closingLines([good, bad], [{ where: 'tsc', error: 'wrong type' }]).split('\n');
  assert.equal(said.at(-2), '1 passed, 2 failed, 1 skipped');
  assert.ok(said.includes('✖ b.test.ts:7: d (5 ms)') && said.includes('    Error: why') && said.includes('✖ tsc'));
  assert.match(bad.text, /✖ d\n {4}Error: why\n/);
});

test('a file that hangs, is killed, or ends in the middle of a test has failed, by the name of that test', () => {
  const hangs = resultOf('a.test.ts', [line('starts', 'outer'), line('starts', 'inner')], {
    ...well,
    status: 'took too long',
    log: 'said',
  });
  assert.deepEqual(hangs.failures, [{ where: 'a.test.ts', error: 'the file took too long during: outer > inner\nsaid' }]);
  assert.equal(resultOf('b.test.ts', [line('starts', 'cut')], well).failures[0]?.error, 'it ended during: cut');
  assert.equal(resultOf('c.test.ts', [], well).failures.length, 1);
  assert.equal(resultOf('d.test.ts', [line('passed', 'x')], { ...well, status: 'ended with 1' }).failures.length, 1);
});

test('however many fail, a log that shows its last lines only shows all of their names', () => {
  const failed = Array.from({ length: 60 }, (_, i) => line('failed', `number ${i}`, { error: 'x\n'.repeat(500) }));
  const said = closingLines([resultOf('a.test.ts', failed, well)], []).split('\n');
  for (let i = 0; i < 60; i++) assert.ok(said.some((each) => each.includes(`number ${i} (`)));
  assert.ok(said.length < 260, String(said.length));
});
