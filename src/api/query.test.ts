import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Filters } from './filters.ts';
import { parseDurationMs, parseTimeNs, Query } from './query.ts';

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
  assert.equal(parseTimeNs('1700000000123456789'), 1_700_000_000_123_456_789n);
  assert.equal(parseTimeNs('2023-11-14T22:13Z'), 1_699_999_980_000_000_000n);
  for (const text of ['', 'yesterday', '1e5', '2023-13-40']) assert.equal(parseTimeNs(text), undefined, text);
});

test('a parameter that is wrong is named', () => {
  assert.throws(() => new Query({ h: '1.5' }).integer('h'), { message: /"h" is not a whole number/ });
  assert.throws(() => new Query({ since: 'x' }).timeNs('since'), { message: /"since" is not a time/ });
  assert.throws(() => new Query({ filters: '{' }).json('filters'), { message: /"filters" is not JSON/ });
  assert.throws(() => new Query({}).required('path'), { message: 'bad parameter: path cannot be empty' });
  assert.throws(() => new Query({ path: 'a\0b' }).string('path'), { message: /"path" has a NUL/ });
});

const parse = (filters: unknown) =>
  Filters.parse(new Query({ filters: JSON.stringify(filters) }), ['label', 'label!', 'name', 'dangling', 'until']);

test('filters are read in both of their forms', () => {
  assert.deepEqual(parse({ name: ['a', 'b'] }).get('name'), ['a', 'b']);
  assert.deepEqual(parse({ name: { a: true, b: false } }).get('name'), ['a']);
  assert.throws(() => parse({ nope: ['x'] }), { message: "invalid filter 'nope'" });
  assert.throws(() => parse({ name: 'x' }), { code: 'FILTER_INVALID' });
  assert.throws(() => parse(['x']), { code: 'FILTER_INVALID', message: 'invalid filter' });
});

test('labels must all match, other values are alternatives', () => {
  const labels = { tier: 'front', app: 'web' };
  assert.equal(parse({ label: ['tier', 'app=web'] }).labels(labels), true);
  assert.equal(parse({ label: ['tier', 'app=db'] }).labels(labels), false);
  assert.equal(parse({ 'label!': ['tier=back'] }).labels(labels), true);
  assert.equal(parse({ 'label!': ['tier'] }).labels(labels), false);
  assert.equal(parse({ name: ['^we', 'db'] }).matches('name', 'web'), true);
  // What is no pattern is taken literally.
  assert.equal(parse({ name: ['['] }).matches('name', 'a[b'), false);
  assert.equal(parse({ name: ['['] }).matches('name', '['), true);
});

test('no pattern takes more than linear time', () => {
  const started = performance.now();
  assert.equal(parse({ name: ['(a+)+$', '(a|a)*b'] }).matches('name', `${'a'.repeat(5000)}!`), false);
  assert.ok(performance.now() - started < 20_000);
});

test('a filter with a boolean value has one, and says what else it got', () => {
  assert.equal(parse({ dangling: ['true'] }).boolean('dangling'), true);
  assert.equal(parse({ dangling: { 0: true } }).boolean('dangling'), false);
  for (const values of [['maybe'], ['true', 'false']]) {
    assert.throws(() => parse({ dangling: values }).boolean('dangling'), { message: `invalid filter 'dangling=[${values.join(' ')}]'` });
  }
});

test('until takes a time or a duration', () => {
  assert.equal(parseDurationMs('1h30m'), 5_400_000);
  assert.equal(parseDurationMs('1.5s'), 1500);
  assert.equal(parseDurationMs('soon'), undefined);
  assert.equal(parse({ until: ['24h'] }).untilMs(100_000_000), 13_600_000);
  assert.equal(parse({ until: ['1000'] }).untilMs(5), 1_000_000);
  assert.throws(() => parse({ until: ['1h', '2h'] }).untilMs(5), { message: 'more than one until filter specified' });
  assert.equal(parse({}).untilMs(5), Number.POSITIVE_INFINITY);
});
