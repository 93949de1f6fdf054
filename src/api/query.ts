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
    const [first] = this.#all(name);
    return first === undefined || first === '' ? undefined : first;
  }

  required(name: string): string {
    const value = this.string(name);
    if (value === undefined) throw invalid('PARAMETER_MISSING', `bad parameter: ${name} cannot be empty`);
    return value;
  }

  list(name: string): string[] {
    return this.#all(name).filter((item) => item !== '');
  }

  /** Docker: everything but "", 0, no, false and none is true. */
  boolean(name: string, fallback = false): boolean {
    const [first] = this.#all(name);
    if (first === undefined) return fallback;
    return !['', '0', 'no', 'false', 'none'].includes(first.trim().toLowerCase());
  }

  integer(name: string): number | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    if (!/^[+-]?\d{1,15}$/.test(text)) {
      throw invalid('PARAMETER_INVALID', `the parameter "${name}" is not a whole number: "${text.slice(0, 100)}"`);
    }
    return Number(text);
  }

  /**
   * Nanoseconds since 1970 of a Unix time (`1700000000.5`), an RFC 3339 time, or a duration back from now (`10m`); undefined when absent, or 0 for
   * "from the beginning".
   */
  timeNs(name: string): bigint | undefined {
    const text = this.string(name);
    if (text === undefined || text === '0') return undefined;
    const durationMs = parseDurationMs(text);
    if (durationMs !== undefined) return BigInt(Math.round((Date.now() - durationMs) * 1000)) * 1000n;
    const time = parseTimeNs(text);
    if (time !== undefined) return time;
    throw invalid(
      'PARAMETER_INVALID',
      `the parameter "${name}" is not a time: "${text.slice(0, 100)}"`,
      'Give seconds since 1970, an RFC 3339 time, or a duration such as 10m.',
    );
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

  /** A NUL would end a name early for whoever hands it to the kernel. */
  #all(name: string): string[] {
    const value = this.#values[name];
    const values = value === undefined ? [] : Array.isArray(value) ? value : [value];
    if (values.some((item) => item.includes('\0'))) throw invalid('PARAMETER_INVALID', `the parameter "${name}" has a NUL character`);
    return values;
  }
}

/** Seconds since 1970 with a fraction, nanoseconds since 1970 (as events tell them), or RFC 3339; without a zone it is UTC. */
export function parseTimeNs(text: string): bigint | undefined {
  if (/^\d{18,20}$/.test(text)) return BigInt(text);
  const unix = /^(-?\d{1,12})(?:\.(\d{1,9})\d*)?$/.exec(text);
  if (unix !== null) return BigInt(unix[1] ?? '0') * 1_000_000_000n + BigInt((unix[2] ?? '').padEnd(9, '0'));
  const rfc = /^(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d\d:\d\d)?$/i.exec(text);
  if (rfc === null) return undefined;
  const clock = rfc[2] ?? '00:00';
  const ms = Date.parse(`${rfc[1]}T${clock.length === 2 ? `${clock}:00` : clock}${rfc[4]?.toUpperCase() ?? 'Z'}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms) * 1_000_000n + BigInt((rfc[3] ?? '').padEnd(9, '0'));
}

const unitMs: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's durations: `1h30m`, `1.5s`. */
export function parseDurationMs(text: string): number | undefined {
  if (text.length > 100 || !/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, number = '', unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    total += Number(number) * (unitMs[unit] ?? 0);
  return Number.isSafeInteger(Math.round(total)) ? total : undefined;
}
