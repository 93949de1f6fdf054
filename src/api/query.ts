import { invalid } from './errors.ts';

/** Typed reading of a query string, by Docker's rules (moby api/server/httputils/form.go). Errors name the parameter. */
export class Query {
  readonly #values: Record<string, string | string[] | undefined>;

  constructor(values: unknown) {
    this.#values = (values ?? {}) as Record<string, string | string[] | undefined>;
  }

  has(name: string): boolean {
    return this.#values[name] !== undefined;
  }

  /** The first value; an empty one counts as absent. */
  string(name: string): string | undefined {
    const value = this.#values[name];
    const first = Array.isArray(value) ? value[0] : value;
    return first === undefined || first === '' ? undefined : first;
  }

  required(name: string): string {
    const value = this.string(name);
    if (value === undefined) throw invalid('PARAMETER_MISSING', `the parameter "${name}" is missing or empty`);
    return value;
  }

  list(name: string): string[] {
    const value = this.#values[name];
    if (value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).filter((item) => item !== '');
  }

  /** Docker: everything but "", 0, no, false and none is true. */
  boolean(name: string, fallback = false): boolean {
    const value = this.#values[name];
    if (value === undefined) return fallback;
    const text = (Array.isArray(value) ? value[0] : value)?.trim().toLowerCase() ?? '';
    return !['', '0', 'no', 'false', 'none'].includes(text);
  }

  integer(name: string): number | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    if (!/^[+-]?\d{1,15}$/.test(text))
      throw invalid('PARAMETER_INVALID', `the parameter "${name}" is not a whole number: "${text.slice(0, 100)}"`);
    return Number(text);
  }

  /** Nanoseconds since 1970 of a Unix time (`1700000000.5`) or an RFC 3339 time; undefined when absent or 0. */
  timeNs(name: string): bigint | undefined {
    const text = this.string(name);
    if (text === undefined || text === '0') return undefined;
    const time = parseTimeNs(text);
    if (time === undefined) {
      throw invalid(
        'PARAMETER_INVALID',
        `the parameter "${name}" is not a time: "${text.slice(0, 100)}"`,
        'Give seconds since 1970 or an RFC 3339 time.',
      );
    }
    return time;
  }

  json(name: string): unknown {
    const text = this.string(name);
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw invalid('PARAMETER_INVALID', `the parameter "${name}" is not JSON: ${(cause as SyntaxError).message}`);
    }
  }
}

export function parseTimeNs(text: string): bigint | undefined {
  const unix = /^(-?\d{1,12})(?:\.(\d{1,9})\d*)?$/.exec(text);
  if (unix !== null) return BigInt(unix[1] ?? '0') * 1_000_000_000n + BigInt((unix[2] ?? '').padEnd(9, '0'));
  const rfc = /^(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  if (rfc === null) return undefined;
  const ms = Date.parse(`${rfc[1]}T${rfc[2] ?? '00:00'}${rfc[4] ?? 'Z'}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms) * 1_000_000n + BigInt((rfc[3] ?? '').padEnd(9, '0'));
}
