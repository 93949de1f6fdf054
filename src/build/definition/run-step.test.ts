import assert from 'node:assert/strict';
import { test } from 'node:test';
import { narrowed } from './run-step.ts';

test('a definition narrows what the request allows, and never widens it', () => {
  const rows: [allowed: string[] | undefined, wanted: string[] | undefined, expected: string[] | undefined][] = [
    [undefined, undefined, undefined],
    [undefined, ['a.org'], ['a.org']],
    [['a.org'], undefined, ['a.org']],
    [['a.org'], ['b.org'], []],
    [['*.debian.org'], ['deb.debian.org', 'evil.org', 'debian.org'], ['deb.debian.org']],
    [['deb.debian.org', 'x.org'], ['*.debian.org'], ['deb.debian.org']],
    [['*.debian.org'], ['*.security.debian.org', '*.org'], ['*.security.debian.org', '*.debian.org']],
    [[], ['a.org'], []],
    [['a.org'], [], []],
  ];
  for (const [allowed, wanted, expected] of rows) assert.deepEqual(narrowed(allowed, wanted), expected, `${allowed} ${wanted}`);
});
