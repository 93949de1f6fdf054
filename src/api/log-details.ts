import type { ContainerRecord } from '../runtime/port.ts';
import { linearPattern } from './pattern.ts';

/**
 * What `logs?details=1` puts before each line: the labels and variables that the container's log options `labels`, `labels-regex`, `env` and
 * `env-regex` name, as `key=value` pairs in the order of their keys (moby daemon/logger/loginfo.go). '' for none.
 */
export function logDetails({ config, hostConfig }: ContainerRecord): string {
  const options = hostConfig.LogConfig?.Config ?? {};
  const variables = (config.Env ?? []).map((text) => {
    const equals = text.indexOf('=');
    return equals < 0 ? ([text, ''] as const) : ([text.slice(0, equals), text.slice(equals + 1)] as const);
  });
  const pairs = new Map([
    ...chosen(Object.entries(config.Labels ?? {}), options.labels, options['labels-regex']),
    ...chosen(variables, options.env, options['env-regex']),
  ]);
  return [...pairs.keys()]
    .toSorted()
    .map((key) => `${queryEscape(key)}=${queryEscape(pairs.get(key) ?? '')}`)
    .join(',');
}

type Pair = readonly [key: string, value: string];

function chosen(pairs: readonly Pair[], names: string | undefined, pattern: string | undefined): readonly Pair[] {
  const listed = new Set((names ?? '').split(',').filter((name) => name !== ''));
  const expression = pattern ? linearPattern(pattern) : undefined;
  return pairs.filter(([key]) => listed.has(key) || expression?.test(key) === true);
}

/** Go's url.QueryEscape. */
function queryEscape(text: string): string {
  const hex = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text.toWellFormed())
    .replaceAll('%20', '+')
    .replace(/[!'()*]/g, hex);
}
