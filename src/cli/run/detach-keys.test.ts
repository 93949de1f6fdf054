import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DetachWatcher, defaultDetachKeys, parseDetachKeys } from './detach-keys.ts';

const type = (watcher: DetachWatcher, ...pieces: string[]) => {
  let forwarded = '';
  for (const piece of pieces) {
    const { forward, detached } = watcher.push(Buffer.from(piece, 'latin1'));
    forwarded += forward.toString('latin1');
    if (detached) return { forwarded, detached };
  }
  return { forwarded, detached: false };
};

test('keys are read as Docker writes them', () => {
  assert.deepEqual([...parseDetachKeys('ctrl-p,ctrl-q')], [16, 17]);
  assert.deepEqual([...parseDetachKeys('ctrl-@,ctrl-[,ctrl-_,a')], [0, 27, 31, 97]);
  for (const text of ['', 'ctrl-1', 'ab', 'ctrl-p,,']) assert.throws(() => parseDetachKeys(text), /--detach-keys/, text);
});

test('the sequence detaches and is not passed on, in one piece or in two', () => {
  const keys = parseDetachKeys(defaultDetachKeys);
  assert.deepEqual(type(new DetachWatcher(keys), 'ls\x10\x11rest'), { forwarded: 'ls', detached: true });
  assert.deepEqual(type(new DetachWatcher(keys), 'a\x10', '\x11'), { forwarded: 'a', detached: true });
});

test('half of a sequence is passed on once the next key tells', () => {
  const keys = parseDetachKeys(defaultDetachKeys);
  assert.deepEqual(type(new DetachWatcher(keys), '\x10', 'x'), { forwarded: '\x10x', detached: false });
  assert.deepEqual(type(new DetachWatcher(keys), '\x10\x10', '\x11'), { forwarded: '\x10', detached: true });
});
