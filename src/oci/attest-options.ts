import { EngineError } from '../base/errors.ts';
import { suggestion } from '../base/nearest.ts';

/** Statements that a build is to make about its result. */
export type AttestOptions = { provenance?: 'min' | 'max'; sbom?: boolean };

const provenanceKeys = ['mode', 'version', 'inline-only', 'disabled'];
const sbomKeys = ['disabled'];

/**
 * What docker writes behind `--attest type=NAME,…`, and clients of BuildKit in the attribute `attest:NAME`: `true`, `false`, or `key=value` with commas between. Without a word it is asked for.
 *
 * InvalidArgument `ATTESTATION_INVALID`; Unsupported `ATTESTATION_UNSUPPORTED` for a version or scanner that there is not.
 */
export function parseAttestation(type: string, text: string): AttestOptions {
  if (type !== 'provenance' && type !== 'sbom') {
    const hint = suggestion(type, ['provenance', 'sbom']) ?? 'Types are provenance and sbom.';
    throw new EngineError('InvalidArgument', 'ATTESTATION_INVALID', `an attestation of the type "${type.slice(0, 50)}" is not known`, {
      hint,
    });
  }
  if (/^(?:false|0|disabled)$/i.test(text)) return {};
  const options = /^(?:true|1)?$/i.test(text) ? new Map<string, string>() : fieldsOf(type, text);
  if (isTrue(type, 'disabled', options.get('disabled'))) return {};
  if (type === 'sbom') return { sbom: true };
  // Clients ask for such provenance by themselves, where it costs nothing: here it would have layers made that nobody needs yet.
  if (isTrue(type, 'inline-only', options.get('inline-only'))) return {};
  const { version = 'v1', mode = 'min' } = Object.fromEntries(options);
  if (version !== 'v1')
    throw unsupported(`provenance of the version "${version.slice(0, 20)}" is not made`, 'Ask for version=v1, or for none.');
  if (mode === 'min' || mode === 'max') return { provenance: mode };
  throw invalid(`the mode of provenance is min or max, not "${mode.slice(0, 50)}"`);
}

function fieldsOf(type: 'provenance' | 'sbom', text: string): Map<string, string> {
  const known = type === 'provenance' ? provenanceKeys : sbomKeys;
  const fields = new Map<string, string>();
  for (const part of text.split(',').filter((each) => each !== '')) {
    const at = part.indexOf('=');
    const [key, value] = at < 0 ? [part, 'true'] : [part.slice(0, at), part.slice(at + 1)];
    // buildx repeats it here.
    if (key === 'type' && value === type) continue;
    // `min` alone is how BuildKit's own tools write it, too.
    if (type === 'provenance' && at < 0 && (key === 'min' || key === 'max')) fields.set('mode', key);
    else if (key === 'generator')
      throw unsupported(`the SBOM is made by the engine, and not by ${value.slice(0, 100)}`, 'Leave generator= out.');
    else if (known.includes(key)) fields.set(key, value);
    else {
      const hint = suggestion(key, known) ?? `Options are ${known.join(', ')}.`;
      throw new EngineError('InvalidArgument', 'ATTESTATION_INVALID', `${type} has no option "${key.slice(0, 50)}"`, { hint });
    }
  }
  return fields;
}

function isTrue(type: string, key: string, value: string | undefined): boolean {
  if (value === undefined || /^(?:false|0)$/i.test(value)) return false;
  if (/^(?:true|1)$/i.test(value)) return true;
  throw invalid(`${key} of ${type} takes true or false, not "${value.slice(0, 50)}"`);
}

function invalid(message: string): EngineError {
  return new EngineError('InvalidArgument', 'ATTESTATION_INVALID', message);
}

function unsupported(message: string, hint: string): EngineError {
  return new EngineError('Unsupported', 'ATTESTATION_UNSUPPORTED', message, { hint });
}
