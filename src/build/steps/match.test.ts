import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toBytes } from '../../base/bytes.ts';
import { EngineError } from '../../base/errors.ts';
import { compilePattern } from './match.ts';

// Rows of Go's documentation and tests of path/filepath.Match.
const rows: [pattern: string, name: string, matches: boolean][] = [
  ['abc', 'abc', true],
  ['*', 'abc', true],
  ['*', '', true],
  ['*c', 'abc', true],
  ['a*', 'a', true],
  ['a*', 'abc', true],
  ['a*b*c*d*e*', 'axbxcxdxe', true],
  ['a*b*c*d*e*', 'axbxcxdxexxx', true],
  ['a*b?c*x', 'abxbbxdbxebxczzx', true],
  ['a*b?c*x', 'abxbbxdbxebxczzy', false],
  ['ab[c]', 'abc', true],
  ['ab[b-d]', 'abc', true],
  ['ab[e-g]', 'abc', false],
  ['ab[^c]', 'abc', false],
  ['ab[^b-d]', 'abc', false],
  ['ab[^e-g]', 'abc', true],
  ['a\\*b', 'a*b', true],
  ['a\\*b', 'ab', false],
  ['a?b', 'a☺b', true],
  ['a[^a]b', 'a☺b', true],
  ['a???b', 'a☺b', false],
  ['[a-ζ]*', 'α', true],
  ['*[a-ζ]', 'A', false],
  ['[\\]a]', ']', true],
  ['[\\-]', '-', true],
  ['[x\\-]', 'x', true],
  ['[\\-x]', 'a', false],
  ['*x', 'xxx', true],
  ['.*', '.hidden', true],
  ['*', '.hidden', true],
];

for (const [pattern, name, matches] of rows) {
  test(`${pattern} ${matches ? 'matches' : 'does not match'} ${name}`, () => {
    assert.equal(compilePattern(toBytes(pattern))[0]?.(toBytes(name)), matches);
  });
}

test('a pattern is taken apart at slashes', () => {
  assert.equal(compilePattern(toBytes('a/*/c')).length, 3);
});

for (const pattern of ['[', '[]', '[^]', '[a', '[a-', '[a-]', '[-x]', 'a\\', '[\\']) {
  test(`${pattern} is refused`, () => {
    assert.throws(() => compilePattern(toBytes(pattern)), EngineError);
  });
}

test('stars cost no more than pattern times name', () => {
  const [matcher] = compilePattern(toBytes(`${'*a'.repeat(100)}*b`));
  const startedAt = performance.now();
  assert.equal(matcher?.(toBytes('a'.repeat(255))), false);
  assert.ok(performance.now() - startedAt < 20_000);
});
