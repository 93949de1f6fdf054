import { isPlainObject } from './decode.ts';
import { invalid } from './errors.ts';
import { linearPattern } from './pattern.ts';
import { parseDurationMs, parseTimeNs, type Query } from './query.ts';

/**
 * The `filters` parameter: JSON, `{"label": ["a", "b=c"]}` or `{"label": {"a": true}}`. Values of one key are alternatives, except labels, which
 * must all match; keys must all match. Messages are Docker's (moby api/types/filters).
 */
export class Filters {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  /** Throws InvalidArgument that names the key when it is not in `allowed`. */
  static parse(query: Query, allowed: readonly string[]): Filters {
    const json = parseJson(query.string('filters'));
    const values = new Map<string, readonly string[]>();
    for (const [key, given] of Object.entries(json)) {
      if (!allowed.includes(key)) {
        throw invalid('FILTER_INVALID', `invalid filter '${key.slice(0, 100)}'`, `Filters of this listing: ${allowed.join(', ')}.`);
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

  /** These filters and one value more. */
  with(key: string, value: string): Filters {
    return new Filters(new Map([...this.#values, [key, [...this.get(key), value]]]));
  }

  /** True when the key is absent or one of its values satisfies `test`. */
  any(key: string, test: (value: string) => boolean): boolean {
    const values = this.get(key);
    return values.length === 0 || values.some(test);
  }

  /** A filter with one boolean value (`dangling=true`). */
  boolean(key: string): boolean | undefined {
    const values = this.get(key).map((value) => value.toLowerCase());
    if (values.length === 0) return undefined;
    const isTrue = values.some((value) => ['1', 'true', 't'].includes(value));
    const isFalse = values.some((value) => ['0', 'false', 'f'].includes(value));
    if (isTrue !== isFalse) return isTrue;
    throw invalid('FILTER_INVALID', `invalid filter '${key}=[${values.join(' ').slice(0, 100)}]'`, 'Give true or false.');
  }

  /** The `until` filter of prune routes: a time, or a duration back from now (`24h`, `1h30m`). Milliseconds since 1970; infinity when absent. */
  untilMs(nowMs: number): number {
    const [text, ...more] = this.get('until');
    if (text === undefined) return Number.POSITIVE_INFINITY;
    if (more.length > 0) throw invalid('FILTER_INVALID', 'more than one until filter specified');
    const durationMs = parseDurationMs(text);
    if (durationMs !== undefined) return nowMs - durationMs;
    const timeNs = parseTimeNs(text);
    if (timeNs !== undefined) return Number(timeNs / 1_000_000n);
    throw invalid('FILTER_INVALID', `failed to parse value as time or duration: "${text.slice(0, 100)}"`);
  }

  /** Every `label` value is there and not all of the `label!` values are. */
  labels(labels: Record<string, string> | null | undefined): boolean {
    const has = (value: string) => hasLabel(labels ?? {}, value);
    const unwanted = this.get('label!');
    return this.get('label').every(has) && !(unwanted.length > 0 && unwanted.every(has));
  }

  /** As Docker matches names and ids: a regular expression, or the text itself. Any of `candidates` will do. */
  matches(key: string, ...candidates: string[]): boolean {
    return this.any(key, (value) => {
      if (candidates.includes(value)) return true;
      const pattern = linearPattern(value);
      return pattern !== undefined && candidates.some((candidate) => pattern.test(candidate));
    });
  }
}

function parseJson(text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  if (json === null) return {};
  if (!isPlainObject(json)) {
    throw invalid('FILTER_INVALID', 'invalid filter', 'The parameter "filters" is a JSON object: {"label": ["a=b"]}.');
  }
  return json;
}

function valuesOf(key: string, given: unknown): string[] {
  if (Array.isArray(given) && given.every((value) => typeof value === 'string')) return [...new Set(given)];
  if (isPlainObject(given)) return Object.keys(given).filter((value) => given[value] === true);
  throw invalid('FILTER_INVALID', `invalid filter '${key}'`, 'Its value is a list of strings.');
}

function hasLabel(labels: Record<string, string>, wanted: string): boolean {
  const equals = wanted.indexOf('=');
  if (equals < 0) return Object.hasOwn(labels, wanted);
  const key = wanted.slice(0, equals);
  return Object.hasOwn(labels, key) && labels[key] === wanted.slice(equals + 1);
}
