import { usageError } from '../flags.ts';

const binaryPowers: Record<string, number> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/** Bytes from Docker's sizes: `512m`, `1.5GiB`, `64kb`, `1024`. Powers of 1024 whatever the spelling. */
export function parseBytes(text: string, flag: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text);
  if (match === null) throw usageError(`invalid argument "${text}" for ${flag}: expected a size such as 512m, 1.5g or 65536`);
  const bytes = Math.trunc(Number(match[1]) * 1024 ** (binaryPowers[(match[2] ?? '').toLowerCase()] ?? 0));
  if (!Number.isSafeInteger(bytes)) throw usageError(`invalid argument "${text}" for ${flag}: the size is too large`);
  return bytes;
}

/** Like `parseBytes`; `-1` is Docker's "no limit". */
export function parseBytesOrUnlimited(text: string, flag: string): number {
  return text === '-1' ? -1 : parseBytes(text, flag);
}

/** CPUs as Docker's `--cpus`, in billionths of one. */
export function parseCpus(text: string): number {
  if (!/^\d*\.?\d{1,9}$|^\d+\.$/.test(text))
    throw usageError(`invalid argument "${text}" for --cpus: expected a number such as 1.5, with at most 9 decimals`);
  return Math.round(Number(text) * 1e9);
}

const nanoseconds: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 6e10, h: 3.6e12 };

/** Nanoseconds from a duration in Go's form: `300ms`, `1m30s`, `1.5h`, `0`. */
export function parseDuration(text: string, flag: string): number {
  const match = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text);
  if (match === null) throw usageError(`invalid argument "${text}" for ${flag}: expected a duration such as 300ms, 1m30s or 2h`);
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g))
    total += Number(amount) * (nanoseconds[unit ?? ''] ?? 0);
  return Math.round(text.startsWith('-') ? -total : total);
}

/**
 * Docker's --since and --until for logs and events: a duration back from now, an RFC 3339 time or a date (local when it has no zone), or seconds since 1970. The
 * result is the form that the API takes: seconds, with a fraction of nanoseconds.
 */
export function parseTimestamp(text: string, flag: string, nowMs: number): string {
  if (/^\d+(?:\.\d{1,9})?$/.test(text)) return text;
  if (/^[+-]?(?:[\d.]+(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return (nowMs / 1000 - parseDuration(text, flag) / 1e9).toFixed(9);
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d(?:\.\d{1,9})?)?)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  if (match !== null) {
    const [, date, time = '00:00:00', zone] = match;
    const [clock = '00:00:00', fraction = ''] = time.split('.');
    const whole = clock.split(':').length === 1 ? `${clock}:00:00` : clock.split(':').length === 2 ? `${clock}:00` : clock;
    const ms = Date.parse(`${date}T${whole}${zone ?? ''}`);
    if (!Number.isNaN(ms)) return `${ms / 1000}.${fraction.padEnd(9, '0')}`;
  }
  throw usageError(`invalid argument "${text}" for ${flag}: expected 10m, 2024-05-01T13:00:00Z, 2024-05-01 or seconds since 1970`);
}
