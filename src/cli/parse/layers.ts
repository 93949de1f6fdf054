import { list, usageError } from '../flags.ts';

/** `--layers` of push and save. */
export const layersFlag = list('How new layers are cut: adaptive, single, per-step, or groups, one a flag', {
  value: 'KIND|NAME=PATTERN[:PATTERN]',
});

/** The parameter `layers` of the API: a word, or JSON of the groups in their order. Throws `USAGE`. */
export function layersQuery(values: readonly string[]): string | undefined {
  const [first] = values;
  if (first === undefined) return undefined;
  if (['adaptive', 'single', 'per-step'].includes(first)) {
    if (values.length > 1) throw usageError(`--layers ${first} stands alone`);
    return first;
  }
  return JSON.stringify(values.map(groupOf));
}

function groupOf(value: string): { name: string; patterns: string[] } {
  const equals = value.indexOf('=');
  const name = value.slice(0, Math.max(0, equals));
  const patterns = value
    .slice(equals + 1)
    .split(':')
    .filter((pattern) => pattern !== '');
  if (!/^[\w.-]{1,100}$/.test(name) || patterns.length === 0) {
    throw usageError(
      `invalid argument "${value}" for --layers`,
      'Use adaptive, single, per-step, or NAME=PATTERN[:PATTERN], for example --layers modules=app/node_modules.',
    );
  }
  return { name, patterns };
}
