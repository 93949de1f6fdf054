import type { Healthcheck } from '../../oci/image.ts';

/** How Go prints things, where that is what stands in every image's history. */

/** `%q` of a string. */
export function quoted(text: string): string {
  return JSON.stringify(text)
    .replace(/\\u00([0-9a-f]{2})/g, '\\x$1')
    .replace(/\x7f/g, '\\x7f')
    .replace(/\\x0b/g, '\\v')
    .replace(/\\x07/g, '\\a');
}

/** `%q` of a slice. */
export function quotedList(items: readonly string[]): string {
  return `[${items.map(quoted).join(' ')}]`;
}

/** `%v` of a slice. */
export function plainList(items: readonly string[]): string {
  return `[${items.join(' ')}]`;
}

/** `time.Duration.String()`; from nanoseconds. */
export function durationText(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${nanoseconds / 1e3}µs`;
  if (nanoseconds < 1e9) return `${nanoseconds / 1e6}ms`;
  const seconds = Math.floor(nanoseconds / 1e9);
  const fraction = String(nanoseconds % 1e9)
    .padStart(9, '0')
    .replace(/0+$/, '');
  const secondsText = `${seconds % 60}${fraction === '' ? '' : `.${fraction}`}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 0) return secondsText;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${minutes}m${secondsText}` : `${hours}h${minutes % 60}m${secondsText}`;
}

/** `%+v` of Docker's HealthcheckConfig. */
export function healthcheckText(healthcheck: Healthcheck): string {
  const { Test = [], Interval = 0, Timeout = 0, StartPeriod = 0, StartInterval = 0, Retries = 0 } = healthcheck;
  const durations = `Interval:${durationText(Interval)} Timeout:${durationText(Timeout)} StartPeriod:${durationText(StartPeriod)}`;
  return `{Test:${plainList(Test)} ${durations} StartInterval:${durationText(StartInterval)} Retries:${Retries}}`;
}
