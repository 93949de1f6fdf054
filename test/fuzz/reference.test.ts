import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EngineError } from '../../src/base/errors.ts';
import { canonical, familiar, parseReference } from '../../src/oci/reference.ts';

const runs = { numRuns: 2000 };
const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const component = fc
  .tuple(alphanumeric, fc.array(fc.tuple(fc.constantFrom('.', '_', '__', '-', '---'), alphanumeric), { maxLength: 3 }))
  .map(([first, rest]) => first + rest.map(([separator, word]) => separator + word).join(''));
const host = fc.oneof(
  fc.constantFrom('localhost', 'docker.io', 'index.docker.io', '[::1]', 'A'),
  fc.stringMatching(/^[a-z0-9]{1,6}\.[a-zA-Z]{2,4}$/),
);
const domain = fc
  .tuple(host, fc.option(fc.nat(65_535), { nil: undefined }))
  .map(([name, port]) => name + (port === undefined ? '' : `:${port}`));
const sound = fc
  .record({
    domain: domain,
    path: fc.array(component, { minLength: 1, maxLength: 4 }),
    tag: fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/), { nil: undefined }),
    digest: fc.option(fc.stringMatching(/^[0-9a-f]{64}$/), { nil: undefined }),
  })
  .map(
    (part) =>
      [part.domain, ...part.path].join('/') +
      (part.tag === undefined ? '' : `:${part.tag}`) +
      (part.digest === undefined ? '' : `@sha256:${part.digest}`),
  );

test('every sound reference reads, and both its forms read back as the same', () => {
  fc.assert(
    fc.property(sound, (text) => {
      const reference = parseReference(text);
      assert.deepEqual(parseReference(canonical(reference)), reference);
      assert.deepEqual(parseReference(familiar(reference)), reference);
    }),
    runs,
  );
});

test('any text is either a reference that reads back as itself or one clear error', () => {
  const noise = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary', maxLength: 1500 }),
    fc.string({ unit: fc.constantFrom('a', 'A', '0', '/', ':', '@', '.', '-', '_', '[', ']', 'sha256:', '\n') }),
  );
  fc.assert(
    fc.property(noise, (text) => {
      try {
        const reference = parseReference(text);
        assert.deepEqual(parseReference(canonical(reference)), reference);
        assert.deepEqual(parseReference(familiar(reference)), reference);
      } catch (error) {
        assert.ok(error instanceof EngineError && error.code === 'REFERENCE_INVALID', String(error));
      }
    }),
    runs,
  );
});
