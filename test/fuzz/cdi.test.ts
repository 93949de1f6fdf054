import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import { readCdiSpecification } from '../../src/runtime/spec/cdi/specification.ts';

/** Whatever lies in a folder of CDI specifications is either one or refused with a place. */

const refuses = (value: unknown) => {
  try {
    readCdiSpecification(value);
  } catch (error) {
    assert.ok(error instanceof EngineError && error.code === 'CDI_INVALID', String(error));
  }
};

test('any JSON', () => {
  fc.assert(fc.property(fc.jsonValue(), refuses), { numRuns: 500 });
});

test('a specification with anything in place of a part of it', () => {
  const whole = () => ({
    cdiVersion: '1.1.0',
    kind: 'vendor.com/class',
    annotations: { a: 'b' },
    containerEdits: { env: ['A=1'] },
    devices: [
      {
        name: 'x',
        containerEdits: {
          env: ['B=1'],
          deviceNodes: [{ path: '/dev/x', type: 'c', major: 1, minor: 2 }],
          mounts: [{ hostPath: '/a', containerPath: '/b', options: ['ro'] }],
          hooks: [{ hookName: 'poststop', path: '/h' }],
          intelRdt: { closID: 'a' },
          netDevices: [{ hostInterfaceName: 'a', name: 'b' }],
          additionalGids: [1],
        },
      },
    ],
  });
  readCdiSpecification(whole());
  const places = (value: unknown, path: (string | number)[] = []): (string | number)[][] =>
    typeof value === 'object' && value !== null
      ? [path, ...Object.entries(value).flatMap(([key, each]) => places(each, [...path, key]))]
      : [path];
  const all = places(whole()).filter((path) => path.length > 0);
  fc.assert(
    fc.property(fc.constantFrom(...all), fc.jsonValue(), (path, value) => {
      const changed: Record<string, unknown> = whole();
      let at = changed;
      for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
      at[path.at(-1) as string] = value;
      refuses(changed);
    }),
    { numRuns: 1_000 },
  );
});
