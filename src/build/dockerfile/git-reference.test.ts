import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GitReference, GitReferenceError, parseGitReference } from './git-reference.ts';

const https = 'https://example.com/foo/bar.git';

/** Expectations follow Docker's documentation of git contexts and BuildKit's reading of it. */
const rows: [text: string, expected: GitReference | undefined][] = [
  [https, { remote: https }],
  ['https://example.com/foo/bar', undefined],
  ['http://example.com/foo/bar.git', { remote: 'http://example.com/foo/bar.git' }],
  ['git://example.com/foo/bar', { remote: 'git://example.com/foo/bar' }],
  ['git@example.com:foo/bar.git', { remote: 'git@example.com:foo/bar.git' }],
  ['custom.user-name@example.com:foo/bar', undefined],
  ['user_name@example.com:foo/bar', { remote: 'user_name@example.com:foo/bar' }],
  ['ssh://git@example.com:2222/foo/bar', { remote: 'ssh://git@example.com:2222/foo/bar' }],
  [`${https}#main`, { remote: https, ref: 'main' }],
  [`${https}#feature/x:sub/dir`, { remote: https, ref: 'feature/x', subdirectory: 'sub/dir' }],
  [`${https}#:sub`, { remote: https, subdirectory: 'sub' }],
  [`${https}#main:/sub/../other/`, { remote: https, ref: 'main', subdirectory: 'other' }],
  [`${https}#main:../../etc`, { remote: https, ref: 'main', subdirectory: 'etc' }],
  [`${https}#main:/`, { remote: https, ref: 'main' }],
  ['git@example.com:foo/bar.git#v1:sub', { remote: 'git@example.com:foo/bar.git', ref: 'v1', subdirectory: 'sub' }],
  ['git@example.com:foo/bar.git?tag=v1&subdir=x', { remote: 'git@example.com:foo/bar.git', ref: 'refs/tags/v1', subdirectory: 'x' }],
  [`${https}?ref=main`, { remote: https, ref: 'main' }],
  [`${https}?branch=main`, { remote: https, ref: 'refs/heads/main' }],
  [`${https}?tag=refs/tags/v1`, { remote: https, ref: 'refs/tags/v1' }],
  [`${https}?checksum=abc1234`, { remote: https, checksum: 'abc1234' }],
  [`${https}?commit=abc1234`, { remote: https, checksum: 'abc1234' }],
  [`${https}?keep-git-dir`, { remote: https, keepGitDirectory: true }],
  [`${https}?keep-git-dir=0&submodules=false`, { remote: https, keepGitDirectory: false, submodules: false }],
  [`${https}?ref=main#main`, { remote: https, ref: 'main' }],
  ['./foo.git', undefined],
  ['../foo', undefined],
  ['/foo/bar.git', undefined],
  ['github.com/foo/bar', undefined],
  ['ftp://example.com/foo.git', undefined],
  ['file:///foo.git', undefined],
  ['C:/foo', undefined],
  ['a:b', undefined],
];
for (const [text, expected] of rows) {
  test(`${text} is ${expected === undefined ? 'no repository' : JSON.stringify(expected)}`, () => {
    assert.deepEqual(parseGitReference(text), expected);
  });
}

for (const [query, message] of [
  ['ref=a&tag=b', /two refs/],
  ['branch=a&tag=b', /two refs/],
  ['ref=a&ref=b', /given twice/],
  ['ref=', /has no value/],
  ['depth=1', /no option depth/],
  ['submodules=maybe', /true or false/],
] as const) {
  test(`${query} is refused`, () => {
    assert.throws(
      () => parseGitReference(`${https}?${query}`),
      (error: unknown) => error instanceof GitReferenceError && message.test(error.message),
    );
  });
}
