/** Docker's "never". */
export const zeroTime = '0001-01-01T00:00:00Z';

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** RFC 3339 with nine digits, so that lines sort as text: `2026-01-02T03:04:05.000000006Z`. */
export function nanoTime(ns: bigint): string {
  const ms = Number(ns / 1_000_000n);
  const rest = String(ns % 1_000_000n).padStart(6, '0');
  return `${new Date(ms).toISOString().slice(0, -1)}${rest}Z`;
}
