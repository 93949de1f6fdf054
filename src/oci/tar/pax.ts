import type { ByteString } from '../../base/bytes.ts';

/** One `length key=value\n` record of a PAX extended header (POSIX.1-2017, pax, "pax Extended Header"). Both sides are bytes. */
export type PaxRecord = readonly [key: ByteString, value: ByteString];

const xattrPrefix = 'SCHILY.xattr.';

/** A record's key ends at its first "=", so a name that holds one is escaped, as GNU tar does it. All other names stand as they are, as in Go. */
export function xattrKey(name: ByteString): string {
  return xattrPrefix + (name.includes('=') ? name.replaceAll('%', '%25').replaceAll('=', '%3D') : name);
}

/** The xattr's name, or undefined when the key is of another kind. */
export function xattrName(key: ByteString): ByteString | undefined {
  if (!key.startsWith(xattrPrefix)) return undefined;
  const name = key.slice(xattrPrefix.length);
  return (name.includes('%3D') ? name.replaceAll('%3D', '=').replaceAll('%25', '%') : name) as ByteString;
}

/** Splits an extended header's body, or says what is wrong with it. Order and repetition are kept: GNU sparse 0.0 needs both. */
export function parsePaxRecords(body: ByteString): PaxRecord[] | { problem: string } {
  const records: PaxRecord[] = [];
  let at = 0;
  while (at < body.length) {
    // Some writers fill the body up with NULs.
    if (body.charCodeAt(at) === 0) return /[^\0]/.test(body.slice(at)) ? { problem: 'a PAX record begins with NUL' } : records;
    const space = body.indexOf(' ', at);
    const digits = space < 0 ? '' : body.slice(at, space);
    if (!/^[0-9]{1,10}$/.test(digits)) return { problem: 'a PAX record does not begin with its length' };
    const end = at + Number(digits);
    if (end <= space + 1 || end > body.length) return { problem: `a PAX record's length ${digits} does not fit its header` };
    if (body[end - 1] !== '\n') return { problem: `a PAX record of length ${digits} does not end with a newline` };
    const equals = body.indexOf('=', space);
    if (equals < 0 || equals >= end) return { problem: 'a PAX record has no "="' };
    const key = body.slice(space + 1, equals) as ByteString;
    if (key === '' || key.includes('\0')) return { problem: 'a PAX record has an empty or broken key' };
    records.push([key, body.slice(equals + 1, end - 1) as ByteString]);
    at = end;
  }
  return records;
}

/** The record with its own length in front, which counts its own digits. */
export function formatPaxRecord(key: string, value: string): ByteString {
  const rest = 3 + key.length + value.length; // " ", "=", "\n"
  let length = rest + String(rest).length;
  if (String(length).length !== String(rest).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n` as ByteString;
}

/** `[-]seconds[.fraction]` to seconds rounded down and nanoseconds 0..999,999,999; undefined when it is not a time. Digits past ns are cut off. */
export function parsePaxTime(text: string): { sec: number; nsec: number } | undefined {
  const match = /^(-?)(\d{1,16})(?:\.(\d*))?$/.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = '', fraction = ''] = match;
  const sec = Number(whole);
  const nsec = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (!Number.isSafeInteger(sec)) return undefined;
  if (sign === '') return { sec, nsec };
  return nsec === 0 ? { sec: sec === 0 ? 0 : -sec, nsec: 0 } : { sec: -sec - 1, nsec: 1_000_000_000 - nsec };
}

export function formatPaxTime(sec: number, nsec: number): string {
  if (nsec === 0) return String(sec);
  const negative = sec < 0;
  const whole = negative ? -(sec + 1) : sec;
  const fraction = String(negative ? 1_000_000_000 - nsec : nsec)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${negative ? '-' : ''}${whole}.${fraction}`;
}
