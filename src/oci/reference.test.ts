import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../base/errors.ts';
import { canonical, familiar, parseReference, repositoryOf, withDefaultTag } from './reference.ts';

const hex = 'ab'.repeat(32);

const accepted: [text: string, full: string, short: string][] = [
  ['web', 'docker.io/library/web', 'web'],
  ['web:2', 'docker.io/library/web:2', 'web:2'],
  ['acme/web', 'docker.io/acme/web', 'acme/web'],
  ['docker.io/web', 'docker.io/library/web', 'web'],
  ['index.docker.io/library/web:x', 'docker.io/library/web:x', 'web:x'],
  ['docker.io/library/a/b', 'docker.io/library/a/b', 'library/a/b'],
  ['localhost/web', 'localhost/web', 'localhost/web'],
  ['localhost:5000/web:1', 'localhost:5000/web:1', 'localhost:5000/web:1'],
  ['host:5000/a/b', 'host:5000/a/b', 'host:5000/a/b'],
  ['[2001:db8::1]:5000/a', '[2001:db8::1]:5000/a', '[2001:db8::1]:5000/a'],
  ['[::1]/a', '[::1]/a', '[::1]/a'],
  ['GHCR/a', 'GHCR/a', 'GHCR/a'],
  ['ghcr.io/a__b/c---d.e_f', 'ghcr.io/a__b/c---d.e_f', 'ghcr.io/a__b/c---d.e_f'],
  [`web@sha256:${hex}`, `docker.io/library/web@sha256:${hex}`, `web@sha256:${hex}`],
  [`web:1@sha256:${hex}`, `docker.io/library/web:1@sha256:${hex}`, `web:1@sha256:${hex}`],
  ['web:_T.a-1', 'docker.io/library/web:_T.a-1', 'web:_T.a-1'],
  ['localhost', 'docker.io/library/localhost', 'localhost'],
];

for (const [text, full, short] of accepted) {
  test(`"${text}" reads as ${full}`, () => {
    const reference = parseReference(text);
    assert.equal(canonical(reference), full);
    assert.equal(familiar(reference), short);
    assert.deepEqual(parseReference(full), reference);
    assert.deepEqual(parseReference(short), reference);
  });
}

const refused: [text: string, why: RegExp][] = [
  ['', /empty/],
  [':1', /name is missing/],
  ['/web', /begins with a slash/],
  ['web/', /empty part/],
  ['a//b', /empty part/],
  ['Web', /lower case/],
  ['ghcr.io/Web', /lower case/],
  ['web:', /tag after ":" is empty/],
  ['web:-1', /must not begin/],
  ['web:a b', /tag "a b"/],
  [`web:${'t'.repeat(129)}`, /129 characters/],
  ['web@', /digest after/],
  ['web@sha256:abc', /digest after/],
  [`web@sha512:${hex}${hex}`, /algorithm "sha512" is not supported/],
  [`web@sha256:${hex.toUpperCase()}`, /lower-case hex/],
  [hex, /image ID/],
  ['a___b', /"a___b"/],
  ['-a', /"-a"/],
  ['a..b', /"a\.\.b"/],
  ['host:port/web', /"port".*not a port number/],
  ['-x.io/web', /not a host name/],
  ['a.b:1:2/web', /not a port number/],
  [`${'a'.repeat(256)}`, /at most 255/],
  ['x'.repeat(2000), /at most 1024/],
  ['we\u0000b', /not allowed/],
  ['wéb', /not allowed/],
];

for (const [text, why] of refused) {
  test(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
    assert.throws(
      () => parseReference(text),
      (error: unknown) =>
        error instanceof EngineError &&
        error.kind === 'InvalidArgument' &&
        error.code === 'REFERENCE_INVALID' &&
        why.test(error.message) &&
        error.message.length < 400,
    );
  });
}

test('the default tag is added only where neither tag nor digest is there', () => {
  assert.equal(canonical(withDefaultTag(parseReference('web'))), 'docker.io/library/web:latest');
  assert.equal(canonical(withDefaultTag(parseReference('web:1'))), 'docker.io/library/web:1');
  assert.equal(canonical(withDefaultTag(parseReference(`web@sha256:${hex}`))), `docker.io/library/web@sha256:${hex}`);
  assert.equal(repositoryOf(parseReference('web:1')), 'docker.io/library/web');
});

test('a short form is given only where it reads back as the same repository', () => {
  for (const text of ['docker.io/acme.io/web', 'docker.io/localhost/web', `docker.io/library/${hex}`, 'docker.io/x']) {
    assert.deepEqual(parseReference(familiar(parseReference(text))), parseReference(text));
  }
});
