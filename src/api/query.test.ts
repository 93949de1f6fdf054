import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filters, parseDurationMs } from './filters.ts';
import { parseTimeNs, Query } from './query.ts';

test('booleans follow Docker: everything but 0, no, false and none is true', () => {
  const values: [string, boolean][] = [
    ['1', true],
    ['true', true],
    ['yes', true],
    ['0', false],
    ['False', false],
    ['', false],
    ['none', false],
  ];
  for (const [text, expected] of values) assert.equal(new Query({ q: text }).boolean('q'), expected, text);
  assert.equal(new Query({}).boolean('q', true), true);
});

test('times are Unix seconds or RFC 3339, to the nanosecond', () => {
  assert.equal(parseTimeNs('1700000000'), 1_700_000_000_000_000_000n);
  assert.equal(parseTimeNs('1700000000.000000001'), 1_700_000_000_000_000_001n);
  assert.equal(parseTimeNs('2023-11-14T22:13:20.123456789Z'), 1_700_000_000_123_456_789n);
  assert.equal(parseTimeNs('2023-11-14T23:13:20+01:00'), 1_700_000_000_000_000_000n);
  assert.equal(parseTimeNs('2023-11-14'), BigInt(Date.UTC(2023, 10, 14)) * 1_000_000n);
  for (const text of ['', 'yesterday', '1e5', '2023-13-40']) assert.equal(parseTimeNs(text), undefined, text);
});

test('a parameter that is wrong is named', () => {
  assert.throws(() => new Query({ h: '1.5' }).integer('h'), { message: /"h" is not a whole number/ });
  assert.throws(() => new Query({ since: 'x' }).timeNs('since'), { message: /"since" is not a time/ });
  assert.throws(() => new Query({ filters: '{' }).json('filters'), { message: /"filters" is not JSON/ });
  assert.throws(() => new Query({}).required('path'), { message: /"path" is missing/ });
});

const parse = (filters: unknown) =>
  Filters.parse(new Query({ filters: JSON.stringify(filters) }), ['label', 'label!', 'name', 'dangling', 'until']);

test('filters are read in both of their forms', () => {
  assert.deepEqual(parse({ name: ['a', 'b'] }).get('name'), ['a', 'b']);
  assert.deepEqual(parse({ name: { a: true, b: false } }).get('name'), ['a']);
  assert.throws(() => parse({ nope: ['x'] }), { message: "invalid filter 'nope'" });
  assert.throws(() => parse({ name: 'x' }), { code: 'FILTER_INVALID' });
  assert.throws(() => parse(['x']), { code: 'FILTER_INVALID' });
});

test('labels must all match, other values are alternatives', () => {
  const labels = { tier: 'front', app: 'web' };
  assert.equal(parse({ label: ['tier', 'app=web'] }).labels(labels), true);
  assert.equal(parse({ label: ['tier', 'app=db'] }).labels(labels), false);
  assert.equal(parse({ 'label!': ['tier=back'] }).labels(labels), true);
  assert.equal(parse({ 'label!': ['tier'] }).labels(labels), false);
  assert.equal(parse({ name: ['^we', 'db'] }).matches('name', 'web'), true);
  assert.equal(parse({ name: ['['] }).matches('name', 'a[b'), true);
});

test('until takes a time or a duration', () => {
  assert.equal(parseDurationMs('1h30m'), 5_400_000);
  assert.equal(parseDurationMs('1.5s'), 1500);
  assert.equal(parseDurationMs('soon'), undefined);
  assert.equal(parse({ until: ['24h'] }).untilMs(100_000_000), 13_600_000);
  assert.equal(parse({ until: ['1000'] }).untilMs(5), 1_000_000);
  assert.equal(parse({}).untilMs(5), Number.POSITIVE_INFINITY);
});
