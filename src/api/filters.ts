import { isPlainObject } from './decode.ts';
import { invalid } from './errors.ts';
import { parseTimeNs, type Query } from './query.ts';

/**
 * The `filters` parameter: JSON, `{"label": ["a", "b=c"]}` or, from old clients, `{"label": {"a": true}}`. Values of one key are alternatives, except
 * labels, which must all match; keys must all match.
 */
export class Filters {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  /** Throws InvalidArgument that names the key when it is not in `allowed`. */
  static parse(query: Query, allowed: readonly string[]): Filters {
    const json = query.json('filters');
    const values = new Map<string, readonly string[]>();
    if (json === undefined || json === null) return new Filters(values);
    if (!isPlainObject(json)) throw invalid('FILTER_INVALID', 'the parameter "filters" must be a JSON object');
    for (const [key, given] of Object.entries(json)) {
      if (!allowed.includes(key)) {
        throw invalid('FILTER_INVALID', `invalid filter '${key}'`, `Filters of this listing: ${allowed.join(', ')}.`);
      }
      values.set(key, valuesOf(key, given));
    }
    return new Filters(values);
  }

  get(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  has(key: string): boolean {
    return this.get(key).length > 0;
  }

  /** True when the key is absent or one of its values satisfies `test`. */
  any(key: string, test: (value: string) => boolean): boolean {
    const values = this.get(key);
    return values.length === 0 || values.some(test);
  }

  /** A filter with one boolean value (`dangling=true`). */
  boolean(key: string): boolean | undefined {
    const value = this.get(key)[0]?.toLowerCase();
    if (value === undefined) return undefined;
    if (['1', 'true', 't'].includes(value)) return true;
    if (['0', 'false', 'f'].includes(value)) return false;
    throw invalid('FILTER_INVALID', `the filter "${key}" must be true or false, not "${value.slice(0, 100)}"`);
  }

  /** The `until` filter of prune routes: a time, or a duration back from now (`24h`, `1h30m`). Milliseconds since 1970; infinity when absent. */
  untilMs(nowMs: number): number {
    const text = this.get('until')[0];
    if (text === undefined) return Number.POSITIVE_INFINITY;
    const durationMs = parseDurationMs(text);
    if (durationMs !== undefined) return nowMs - durationMs;
    const timeNs = parseTimeNs(text);
    if (timeNs !== undefined) return Number(timeNs / 1_000_000n);
    throw invalid('FILTER_INVALID', `the filter "until" is not a time or a duration: "${text.slice(0, 100)}"`);
  }

  /** Every `label` value is there and no `label!` value is. */
  labels(labels: Record<string, string> | null | undefined): boolean {
    const has = (value: string) => hasLabel(labels ?? {}, value);
    return this.get('label').every(has) && !this.get('label!').some(has);
  }

  /** As Docker matches names and ids: a regular expression, or the text itself when it is not one. */
  matches(key: string, candidate: string): boolean {
    return this.any(key, (value) => {
      if (value === candidate) return true;
      try {
        return new RegExp(value).test(candidate);
      } catch {
        return candidate.includes(value);
      }
    });
  }
}

const unitMs: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's durations: `1h30m`, `1.5s`. */
export function parseDurationMs(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    total += Number(number) * (unitMs[unit] ?? 0);
  return total;
}

function valuesOf(key: string, given: unknown): string[] {
  if (Array.isArray(given) && given.every((value) => typeof value === 'string')) return given;
  if (isPlainObject(given)) return Object.keys(given).filter((value) => given[value] === true);
  throw invalid('FILTER_INVALID', `the filter "${key}" must be a list of strings`);
}

function hasLabel(labels: Record<string, string>, wanted: string): boolean {
  const equals = wanted.indexOf('=');
  if (equals < 0) return Object.hasOwn(labels, wanted);
  return labels[wanted.slice(0, equals)] === wanted.slice(equals + 1);
}
