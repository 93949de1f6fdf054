import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../../base/errors.ts';
import { parseBytes, parseCpus, parseDuration, parseTimestamp } from './units.ts';

test('sizes are powers of 1024 however they are spelled', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['1', 1],
    ['32b', 32],
    ['1k', 1024],
    ['1 KB', 1024],
    ['1kiB', 1024],
    ['1.5m', 1_572_864],
    ['2G', 2 ** 31],
  ] as const) {
    assert.equal(parseBytes(text, '-m'), bytes, text);
  }
  for (const text of ['', '-1', 'm', '1x', '1 0', '1e3', '99999999999p']) assert.throws(() => parseBytes(text, '-m'), EngineError, text);
});

test('durations as Go writes them', () => {
  for (const [text, ns] of [
    ['0', 0],
    ['300ms', 3e8],
    ['1m30s', 9e10],
    ['1.5h', 5.4e12],
    ['.5s', 5e8],
    ['-2s', -2e9],
  ] as const) {
    assert.equal(parseDuration(text, '--x'), ns, text);
  }
  for (const text of ['', '1', '1d', 's', '1s1', '1.s.']) assert.throws(() => parseDuration(text, '--x'), EngineError, text);
});

test('cpus', () => {
  assert.equal(parseCpus('0.5'), 5e8);
  assert.equal(parseCpus('2'), 2e9);
  assert.throws(() => parseCpus('1.0000000001'), EngineError);
});

test('times: durations back from now, dates, seconds', () => {
  const now = Date.parse('2024-05-01T12:00:00Z');
  assert.equal(parseTimestamp('10m', '--since', now), `${now / 1000 - 600}.000000000`);
  assert.equal(parseTimestamp('2024-05-01T12:00:00Z', '--since', now), `${now / 1000}.000000000`);
  assert.equal(parseTimestamp('2024-05-01T14:00:00.5+02:00', '--since', now), `${now / 1000}.500000000`);
  assert.equal(parseTimestamp('1714564800.25', '--since', now), '1714564800.25');
  assert.equal(Number(parseTimestamp('2024-05-01', '--since', now)), new Date('2024-05-01T00:00:00').getTime() / 1000);
  assert.throws(() => parseTimestamp('yesterday', '--since', now), EngineError);
});
