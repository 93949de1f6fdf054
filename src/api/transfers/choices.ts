import type { ImageForm, LayerChoice, LayerCompression } from '../../transport/port.ts';
import { isPlainObject } from '../decode.ts';
import { invalid } from '../errors.ts';
import type { Query } from '../query.ts';

const maxGroups = 100;
const maxPatterns = 10_000;

/** `format=both|oci|chunked`: Slipway's own parameter of a push. */
export function formOf(query: Query): ImageForm | undefined {
  const text = query.string('format');
  if (text === undefined || text === 'both' || text === 'oci' || text === 'chunked') return text;
  throw invalid('PARAMETER_INVALID', `the parameter "format" is "${text.slice(0, 50)}"; expected both, oci or chunked`);
}

/** `compression=gzip|zstd|none`. */
export function compressionOf(query: Query): LayerCompression | undefined {
  const text = query.string('compression');
  if (text === undefined || text === 'gzip' || text === 'zstd' || text === 'none') return text;
  throw invalid('PARAMETER_INVALID', `the parameter "compression" is "${text.slice(0, 50)}"; expected gzip, zstd or none`);
}

/** `layers=adaptive|single|per-step`, or a JSON list of `{"name", "patterns"}`. */
export function layersOf(query: Query): LayerChoice | undefined {
  const text = query.string('layers');
  if (text === undefined) return undefined;
  if (text === 'adaptive' || text === 'single' || text === 'per-step') return { kind: text };
  const groups = text.startsWith('[') ? query.json('layers') : undefined;
  if (!Array.isArray(groups) || groups.length === 0 || groups.length > maxGroups) {
    throw invalid(
      'PARAMETER_INVALID',
      `the parameter "layers" is "${text.slice(0, 50)}"`,
      `Expected adaptive, single, per-step, or a JSON list of 1 to ${maxGroups} groups: [{"name": "modules", "patterns": ["app/node_modules"]}].`,
    );
  }
  return { kind: 'groups', groups: groups.map(groupOf) };
}

function groupOf(value: unknown, at: number): { name: string; patterns: string[] } {
  const { name, patterns } = isPlainObject(value) ? value : {};
  const sound = typeof name === 'string' && /^[\w.-]{1,100}$/.test(name) && Array.isArray(patterns) && patterns.length <= maxPatterns;
  if (!sound || patterns.length === 0 || !patterns.every((pattern) => typeof pattern === 'string' && pattern !== '')) {
    throw invalid(
      'PARAMETER_INVALID',
      `group ${at + 1} of the parameter "layers" is not sound`,
      'A group has a name of letters, digits, "_", "." and "-", and patterns.',
    );
  }
  return { name: name as string, patterns: patterns as string[] };
}
