import { humanDuration } from '../../base/human-duration.ts';

const decimalUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Powers of 1000 as Docker shows sizes of images: `72.8MB`. */
export function humanSize(bytes: number): string {
  return scaled(bytes, 1000, decimalUnits, 3);
}

/** The same as Docker shows sums of sizes: `72.81MB`. */
export function humanSum(bytes: number): string {
  return scaled(bytes, 1000, decimalUnits, 4);
}

/** Powers of 1024 as Docker shows memory: `1.25GiB`. */
export function binarySize(bytes: number): string {
  return scaled(bytes, 1024, binaryUnits, 4);
}

function scaled(bytes: number, base: number, units: readonly string[], digits: number): string {
  let size = bytes;
  let unit = 0;
  while (Math.abs(size) >= base && unit < units.length - 1) {
    size /= base;
    unit++;
  }
  return `${Number(size.toPrecision(digits))}${units[unit]}`;
}

/** `3 hours ago`; `N/A` for the zero time of an image without one. */
export function humanAge(thenMs: number, nowMs: number): string {
  return thenMs <= 0 ? 'N/A' : `${humanDuration(Math.max(0, nowMs - thenMs))} ago`;
}

/** Go's default form of a local time, as Docker's CreatedAt: `2024-05-01 13:00:00 +0200 CEST`. */
export function goTime(ms: number): string {
  const date = new Date(ms);
  const two = (value: number) => String(value).padStart(2, '0');
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}${two(Math.abs(offset) % 60)}`;
  const name = /\(([A-Z]{2,5})\)/.exec(date.toString())?.[1] ?? (offset === 0 ? 'UTC' : zone);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${zone} ${name}`;
}

/** A cell cut to `width` characters, with `…` for what is missing. */
export function ellipsis(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

/** The first twelve digits of an ID, its algorithm left out. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}
