import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseModeChange } from './mode-change.ts';

const rows: [change: string, before: number, isDirectory: boolean, after: number][] = [
  ['u+x', 0o644, false, 0o744],
  ['+x', 0o644, false, 0o755],
  ['a+x', 0o644, false, 0o755],
  ['go-rwx', 0o755, false, 0o700],
  ['go=', 0o755, false, 0o700],
  ['u=rwx,go=rx', 0o600, false, 0o755],
  ['a=r', 0o777, false, 0o444],
  ['=rw,+X', 0o755, false, 0o666],
  ['+X', 0o644, false, 0o644],
  ['+X', 0o744, false, 0o755],
  ['+X', 0o644, true, 0o755],
  ['u=rwX,go=rX', 0o600, true, 0o755],
  ['u=rwX,go=rX', 0o600, false, 0o644],
  ['g=u', 0o740, false, 0o770],
  ['o=g-w', 0o660, false, 0o664],
  ['u+s', 0o755, false, 0o4755],
  ['g+s', 0o755, true, 0o2755],
  ['+t', 0o777, true, 0o1777],
  ['o+t', 0o777, true, 0o777],
  ['-t', 0o1777, true, 0o777],
  ['u-s,g-s', 0o6755, false, 0o755],
  ['ug+rw,o-rwx', 0o444, false, 0o660],
  ['u=', 0o4755, false, 0o055],
];
for (const [change, before, isDirectory, after] of rows) {
  test(`${change} makes ${before.toString(8)}${isDirectory ? ' of a directory' : ''} ${after.toString(8)}`, () => {
    assert.equal(parseModeChange(change)?.(before, isDirectory).toString(8), after.toString(8));
  });
}

for (const text of ['', 'x', 'u', 'z+x', 'u+z', 'u+x,', '755', 'u+ug']) {
  test(`${JSON.stringify(text)} is no change of a mode`, () => assert.equal(parseModeChange(text), undefined));
}
