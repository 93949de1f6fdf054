import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAttestation } from './attest-options.ts';

test('what docker and buildx write is read', () => {
  const rows: [type: string, text: string, expected: object][] = [
    ['provenance', '', { provenance: 'min' }],
    ['provenance', 'true', { provenance: 'min' }],
    ['provenance', 'false', {}],
    ['provenance', 'type=provenance,mode=max', { provenance: 'max' }],
    ['sbom', 'type=sbom', { sbom: true }],
    ['provenance', 'mode=max', { provenance: 'max' }],
    ['provenance', 'max', { provenance: 'max' }],
    ['provenance', 'mode=min,version=v1,disabled=false', { provenance: 'min' }],
    ['provenance', 'mode=max,disabled=true', {}],
    ['provenance', 'mode=min,inline-only=true', {}],
    ['sbom', '', { sbom: true }],
    ['sbom', 'true', { sbom: true }],
    ['sbom', 'false', {}],
    ['sbom', 'disabled=true', {}],
  ];
  for (const [type, text, expected] of rows) assert.deepEqual(parseAttestation(type, text), expected, `${type} ${text}`);
});

test('what cannot be is an error that says what could', () => {
  const rows: [type: string, text: string, code: string, hint: RegExp | undefined][] = [
    ['provenence', '', 'ATTESTATION_INVALID', /Did you mean provenance\?/],
    ['provenance', 'mdoe=max', 'ATTESTATION_INVALID', /Did you mean mode\?/],
    ['provenance', 'mode=all', 'ATTESTATION_INVALID', undefined],
    ['provenance', 'disabled=maybe', 'ATTESTATION_INVALID', undefined],
    ['provenance', 'version=v0.2', 'ATTESTATION_UNSUPPORTED', /version=v1/],
    ['sbom', 'generator=docker/scout', 'ATTESTATION_UNSUPPORTED', /generator=/],
  ];
  for (const [type, text, code, hint] of rows) {
    assert.throws(
      () => parseAttestation(type, text),
      (error: Error & { code?: string; hint?: string }) => {
        assert.equal(error.code, code, text);
        if (hint !== undefined) assert.match(error.hint ?? '', hint);
        return true;
      },
    );
  }
});
