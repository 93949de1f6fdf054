import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { createIgnore } from './ignore.ts';

type Row = [patterns: string[], ignored: string[], kept: string[]];

// Rules of docs.docker.com/build/concepts/context and of moby/patternmatcher as BuildKit uses it.
const rows: Row[] = [
  [[], [], ['a', 'a/b']],
  [['# comment', '', '   '], [], ['# comment', 'a']],
  [[' # not a comment'], ['# not a comment'], ['a']],
  [['\u{feff}a'], ['a'], ['b']],
  [['a'], ['a', 'a/b', 'a/b/c'], ['b', 'b/a', 'ab']],
  [['/a'], ['a', 'a/b'], ['b/a']],
  [['./a'], ['a'], ['b/a']],
  [['a/'], ['a', 'a/b'], ['b/a']],
  [['a//b/'], ['a/b', 'a/b/c'], ['a', 'a/c']],
  [['a/../b'], ['b'], ['a']],
  [['  a  '], ['a'], ['b']],
  [['.'], [], ['a', '.git']],
  [['/'], [], ['a']],
  [['*'], ['a', 'a/b', '.git'], []],
  [['*.md'], ['README.md'], ['docs/README.md', 'README.mdx']],
  [['*/temp*'], ['a/temp', 'a/temporary.txt', 'a/temp/b'], ['temp', 'a/b/temp']],
  [['*/*/temp*'], ['a/b/temporary.txt'], ['a/temp', 'a/b/c/temp']],
  [['temp?'], ['tempa', 'temp-'], ['temp', 'tempab', 'temp/']],
  [['**/*.go'], ['a.go', 'x/a.go', 'x/y/z.go'], ['a.goo']],
  [['**/node_modules'], ['node_modules', 'a/node_modules', 'a/node_modules/b'], ['a/xnode_modules']],
  [['**node_modules'], ['node_modules', 'a/xnode_modules'], ['node_modulesx']],
  [['**'], ['a', 'a/b', '.git'], []],
  [['a/**'], ['a/b', 'a/b/c'], ['a', 'b']],
  [['a/**/b'], ['a/b', 'a/x/b', 'a/x/y/b'], ['ab', 'a/xb']],
  [['**/a/**'], ['a/b', 'x/a/b'], ['a', 'x/a']],
  [['[ab].txt'], ['a.txt', 'b.txt'], ['c.txt', '[ab].txt']],
  [['[a-c].txt'], ['b.txt'], ['d.txt', '-.txt']],
  [['[^a].txt'], ['b.txt'], ['a.txt']],
  [['\\*.txt'], ['*.txt'], ['a.txt']],
  [['\\#a'], ['#a'], ['a']],
  [['a.b+c(d)|{e}$'], ['a.b+c(d)|{e}$'], ['axb+c(d)|{e}$']],
  [['a*+(b)?'], ['ax+(b)c'], ['ax+(b)']],
  [['*.md', '!README.md'], ['a.md'], ['README.md']],
  [
    ['*.md', '!README*.md', 'README-secret.md'],
    ['a.md', 'README-secret.md'],
    ['README.md', 'README-x.md'],
  ],
  [['*.md', 'README-secret.md', '!README*.md'], ['a.md'], ['README-secret.md']],
  [['!a', 'a'], ['a'], ['b']],
  [
    ['*', '!src'],
    ['a', 'b/c'],
    ['src', 'src/a', 'src/b/c'],
  ],
  [
    ['*', '!src/keep'],
    ['src', 'src/a'],
    ['src/keep', 'src/keep/x'],
  ],
  [['*', '! src'], ['a'], ['src']],
  [
    ['a', '!a/b', 'a/b/c'],
    ['a', 'a/x', 'a/b/c', 'a/b/c/d'],
    ['a/b', 'a/b/x'],
  ],
  [
    ['dir', '!dir/**/*.txt'],
    ['dir', 'dir/a.bin'],
    ['dir/a.txt', 'dir/x/y.txt'],
  ],
  [['Dockerfile*'], ['Dockerfile', 'Dockerfile.dev'], ['dockerfile']],
  [['../a'], [], ['a']],
  [['ü*'], [Buffer.from('über').toString('latin1')], ['u']],
  [['?ber'], [Buffer.from('über').toString('latin1'), 'uber'], ['ber']],
];

for (const [patterns, ignored, kept] of rows) {
  test(`.dockerignore ${JSON.stringify(patterns)}`, () => {
    for (const isDirectory of [false, true]) {
      const ignore = createIgnore(patterns);
      for (const path of ignored) assert.equal(ignore.ignores(path, isDirectory), true, `${path} is ignored`);
      for (const path of kept) assert.equal(ignore.ignores(path, isDirectory), false, `${path} is kept`);
    }
  });
}

test('an ignored directory is walked only when a negated pattern can bring back something below it', () => {
  const ask = (patterns: string[], dir: string) => createIgnore(patterns).mayContainIncluded(dir);
  assert.equal(ask(['node_modules'], 'node_modules'), false);
  assert.equal(ask(['*', '!src/keep'], 'src'), true);
  assert.equal(ask(['*', '!src/keep'], 'lib'), false);
  assert.equal(ask(['*', '!src'], 'src/a'), false);
  assert.equal(ask(['*', '!*/keep'], 'lib'), true);
  assert.equal(ask(['*', '!*/keep'], 'lib/x'), false);
  assert.equal(ask(['*', '!l*/keep'], 'src'), false);
  assert.equal(ask(['*', '!**/keep'], 'lib/x/y'), true);
});

test('a malformed pattern is refused with its line', () => {
  for (const [line, fault] of [
    ['a[b', /line 2 .*"a\[b".*no closing/],
    ['a\\', /line 2 .*backslash/],
    ['!', /line 2 .*nothing follows/],
    ['[]', /line 2 .*no closing/],
  ] as const) {
    assert.throws(
      () => createIgnore(['ok', line]),
      (error: unknown) => {
        assert.ok(error instanceof EngineError);
        assert.equal(error.code, 'IGNORE_PATTERN_INVALID');
        assert.match(error.message, fault);
        return true;
      },
    );
  }
});
