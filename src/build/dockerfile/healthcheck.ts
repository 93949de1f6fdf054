import type { Healthcheck } from '../../oci/image.ts';
import { Flags, type FlagValue } from './flags.ts';
import type { Line } from './syntax.ts';
import { parseJsonArray } from './words.ts';

const flagNames = {
  interval: 'string',
  timeout: 'string',
  'start-period': 'string',
  'start-interval': 'string',
  retries: 'string',
} as const;

/** HEALTHCHECK [OPTIONS] CMD command, or NONE. Durations become nanoseconds, as in Docker's image config. */
export function parseHealthcheck(line: Line): Healthcheck {
  const flags = new Flags(line, flagNames);
  const [, type = '', command = ''] = /^(\S*)\s*([\s\S]*)$/u.exec(line.rest) ?? [];
  const kind = type.toUpperCase();
  const whole = { ...line.location, length: line.text.length };
  if (kind === 'NONE') {
    if (command !== '') throw line.source.invalid('HEALTHCHECK_INVALID', whole, 'HEALTHCHECK NONE takes no arguments');
    return { Test: ['NONE'] };
  }
  if (kind !== 'CMD') {
    throw line.source.invalid(
      'HEALTHCHECK_INVALID',
      whole,
      'HEALTHCHECK takes CMD and a command, or NONE',
      'Write HEALTHCHECK CMD COMMAND.',
    );
  }
  if (command === '') throw line.source.invalid('HEALTHCHECK_INVALID', whole, 'HEALTHCHECK CMD needs a command');
  const json = parseJsonArray(command);
  if (json === 'not-strings') throw line.source.invalid('JSON_INVALID', whole, 'a JSON array after HEALTHCHECK CMD holds strings only');
  const healthcheck: Healthcheck = { Test: json === 'not-json' ? ['CMD-SHELL', command] : ['CMD', ...json] };
  for (const [name, field] of [
    ['interval', 'Interval'],
    ['timeout', 'Timeout'],
    ['start-period', 'StartPeriod'],
    ['start-interval', 'StartInterval'],
  ] as const) {
    const flag = flags.get(name);
    const nanoseconds = flag === undefined ? 0 : duration(line, flag);
    if (nanoseconds > 0) healthcheck[field] = nanoseconds;
  }
  const retries = flags.get('retries');
  if (retries !== undefined) {
    if (!/^\d{1,9}$/.test(retries.value)) {
      throw line.source.invalid(
        'FLAG_INVALID',
        retries.location,
        `--retries takes a number of 0 or more, not ${JSON.stringify(retries.value)}`,
      );
    }
    if (Number(retries.value) > 0) healthcheck.Retries = Number(retries.value);
  }
  return healthcheck;
}

const unitNanoseconds: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

function duration(line: Line, flag: FlagValue): number {
  const parts = Array.from(flag.value.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/gy));
  const length = parts.reduce((sum, part) => sum + part[0].length, 0);
  const nanoseconds = Math.round(parts.reduce((sum, part) => sum + Number(part[1]) * (unitNanoseconds[part[2] ?? ''] ?? 0), 0));
  if (flag.value !== '0' && (parts.length === 0 || length !== flag.value.length || !Number.isSafeInteger(nanoseconds))) {
    throw line.source.invalid(
      'FLAG_INVALID',
      flag.location,
      `${JSON.stringify(flag.value)} is not a duration`,
      'Write it like 30s, 1m30s or 500ms.',
    );
  }
  if (nanoseconds > 0 && nanoseconds < 1e6) {
    throw line.source.invalid('FLAG_INVALID', flag.location, `${flag.value} is less than a millisecond`);
  }
  return nanoseconds;
}
