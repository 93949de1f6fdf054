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

/** A length of time as Docker says it: `About a minute`, `3 hours`. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(seconds / 3600 + 0.5);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
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
