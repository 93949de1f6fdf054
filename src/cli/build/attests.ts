import { parseAttestation } from '../../oci/attest-options.ts';
import { usageError } from '../flags.ts';

type AttestFlags = { readonly attest: readonly string[]; readonly provenance?: string | undefined; readonly sbom?: string | undefined };

/** `--attest type=provenance,mode=max`, and docker's short forms of it, as the API takes them; undefined when there are none. A mistake is told before anything is sent. */
export function attestsOf({ attest, provenance, sbom }: AttestFlags): string | undefined {
  const asked: Record<string, string> = {};
  for (const text of attest) {
    const fields = text.split(',');
    const type = fields.find((field) => field.startsWith('type='))?.slice('type='.length);
    if (type === undefined)
      throw usageError(`invalid --attest ${JSON.stringify(text)}: it has no type`, 'Write type=provenance or type=sbom.');
    asked[type] = fields.filter((field) => !field.startsWith('type=')).join(',');
  }
  if (provenance !== undefined) asked.provenance = provenance;
  if (sbom !== undefined) asked.sbom = sbom;
  for (const [type, text] of Object.entries(asked)) parseAttestation(type, text);
  return Object.keys(asked).length === 0 ? undefined : JSON.stringify(asked);
}
