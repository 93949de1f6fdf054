import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EntryType } from '../../store/model.ts';
import { goMode, hasContent, typeOfMode, unixMode } from './mode.ts';

test('modes are those of Go’s io/fs, both ways', () => {
  const rows: [mode: number, type: EntryType | undefined, unix: number, content: boolean][] = [
    [0o644, EntryType.file, 0o644, true],
    [2 ** 31 + 0o755, EntryType.directory, 0o755, false],
    [2 ** 31 + 2 ** 20 + 0o777, EntryType.directory, 0o1777, false],
    [2 ** 23 + 0o755, EntryType.file, 0o4755, true],
    [2 ** 22 + 0o755, EntryType.file, 0o2755, true],
    [2 ** 27 + 0o777, EntryType.symlink, 0o777, false],
    [2 ** 26 + 0o660, EntryType.blockDevice, 0o660, false],
    [2 ** 26 + 2 ** 21 + 0o620, EntryType.charDevice, 0o620, false],
    [2 ** 25 + 0o600, EntryType.fifo, 0o600, false],
    [2 ** 24 + 0o777, undefined, 0o777, false],
    [2 ** 19 + 0o600, undefined, 0o600, false],
  ];
  for (const [mode, type, unix, content] of rows) {
    assert.equal(typeOfMode(mode), type, mode.toString(8));
    assert.equal(unixMode(mode), unix, mode.toString(8));
    assert.equal(hasContent(mode), content, mode.toString(8));
    if (type !== undefined) assert.equal(goMode(type, unix), mode, mode.toString(8));
  }
});
