import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { defaultPolicy } from '../gc/policy.ts';
import { gcPolicy } from './config-gc.ts';

const file = '/etc/slipway/slipway.toml';
const read = (value: object) => gcPolicy((name) => (name === 'gc' ? { value: value as Record<string, unknown>, from: file } : undefined));

test('without a section there are defaults, and each key changes its own', () => {
  assert.deepEqual(
    gcPolicy(() => undefined),
    defaultPolicy,
  );
  assert.deepEqual(read({}), defaultPolicy);
  const policy = read({
    high: '90% 20g',
    low: '75%, 40g',
    share: '50%',
    'min-age': '90s',
    images: { 'keep-last': 5, 'keep-used-within': '2w', keep: ['base:*'], 'keep-labels': ['tier=gold'] },
    'build-cache': { 'keep-used-within': 0 },
    containers: { 'ended-for': '12h' },
    volumes: { 'unused-for': '30d' },
  });
  const hour = 3_600_000;
  assert.deepEqual(policy, {
    high: { share: 0.9, freeBytes: 20 * 1024 ** 3 },
    low: { share: 0.75, freeBytes: 40 * 1024 ** 3 },
    share: 0.5,
    minAgeMs: 90_000,
    images: { keepLast: 5, keepUsedWithinMs: 14 * 24 * hour, keep: ['base:*'], keepLabels: ['tier=gold'] },
    buildCache: { keepUsedWithinMs: 0 },
    containers: { endedForMs: 12 * hour },
    volumes: { unusedForMs: 30 * 24 * hour },
  });
});

test('what cannot be is refused with its key and the rule', () => {
  const refused: [given: object, words: RegExp][] = [
    [{ hihg: '80%' }, /gc\.hihg/],
    [{ images: { 'keep-lsat': 1 } }, /gc\.images\.keep-lsat/],
    [{ images: 3 }, /gc\.images .*: it must be a table/],
    [{ high: '120%' }, /gc\.high .*"120%" is not a/],
    [{ high: 'full' }, /gc\.high .*is not a mark such as 85% \(full\), 20g \(free\) or both/],
    [{ share: '0%' }, /gc\.share .*is not a share such as 30%/],
    [{ 'min-age': '5 minutes' }, /gc\.min-age .*is not a time such as 90s/],
    [{ images: { 'keep-last': -1 } }, /gc\.images\.keep-last .*is not a whole number/],
    [{ high: '70%', low: '80%' }, /low must not be above high/],
    [{ high: '85% 20g', low: '80% 10g' }, /low must leave as much free as high/],
  ];
  for (const [given, words] of refused) {
    assert.throws(
      () => read(given),
      (error) =>
        error instanceof EngineError && error.kind === 'InvalidArgument' && words.test(error.message) && error.message.includes(file),
      JSON.stringify(given),
    );
  }
});
