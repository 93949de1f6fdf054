import { usageError } from '../flags.ts';

type Fn = (args: readonly unknown[]) => unknown;

/** Go's notion of an empty value. */
export function truthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** Go's default way of printing a value. */
export function show(value: unknown): string {
  if (value === undefined) return '<no value>';
  if (value === null) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (typeof value === 'object')
    return `map[${Object.keys(value)
      .sort()
      .map((key) => `${key}:${show((value as Record<string, unknown>)[key])}`)
      .join(' ')}]`;
  return String(value);
}

const text = (value: unknown) => (typeof value === 'string' ? value : show(value));

const functions: Record<string, Fn> = {
  json: ([value]) => JSON.stringify(value ?? null),
  join: ([values, separator]) => (Array.isArray(values) ? values.map(text).join(text(separator ?? '')) : text(values)),
  split: ([value, separator]) => text(value).split(text(separator ?? '')),
  upper: ([value]) => text(value).toUpperCase(),
  lower: ([value]) => text(value).toLowerCase(),
  title: ([value]) => text(value).replace(/(^|\s)\S/g, (letter) => letter.toUpperCase()),
  len: ([value]) => lengthOf(value),
  index: ([value, ...keys]) => keys.reduce(elementOf, value),
  slice: ([value, from = 0, to]) =>
    typeof value === 'string' || Array.isArray(value) ? value.slice(Number(from), to === undefined ? undefined : Number(to)) : undefined,
  pad: ([value, before, after]) => (truthy(value) ? ' '.repeat(Number(before ?? 0)) + text(value) + ' '.repeat(Number(after ?? 0)) : ''),
  truncate: ([value, length]) => text(value).slice(0, Number(length)),
  print: (values) => values.map(text).join(''),
  println: (values) => `${values.map(text).join(' ')}\n`,
  printf: ([format, ...values]) => printf(text(format), values),
  eq: ([first, ...others]) => others.some((other) => other === first),
  ne: ([a, b]) => a !== b,
  lt: ([a, b]) => compare(a, b) < 0,
  le: ([a, b]) => compare(a, b) <= 0,
  gt: ([a, b]) => compare(a, b) > 0,
  ge: ([a, b]) => compare(a, b) >= 0,
  and: (values) => values.find((value) => !truthy(value)) ?? values.at(-1),
  or: (values) => values.find(truthy) ?? values.at(-1),
  not: ([value]) => !truthy(value),
};

export const functionNames: readonly string[] = Object.keys(functions);

export function callFunction(name: string, args: readonly unknown[]): unknown {
  const called = functions[name];
  if (called === undefined) throw usageError(`unknown template function: ${name}`);
  return called(args);
}

function lengthOf(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  return typeof value === 'object' && value !== null ? Object.keys(value).length : 0;
}

function elementOf(value: unknown, key: unknown): unknown {
  if (Array.isArray(value)) return value[Number(key)];
  return typeof value === 'object' && value !== null && Object.hasOwn(value, text(key))
    ? (value as Record<string, unknown>)[text(key)]
    : undefined;
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : 0;
}

/** %s %v %d %q %t %x %% with width and `-`; anything else is an error. */
function printf(format: string, values: readonly unknown[]): string {
  let next = 0;
  return format.replace(/%(-?)(\d*)(?:\.\d+)?(.)/g, (whole, left: string, width: string, verb: string) => {
    if (verb === '%') return '%';
    if (!'svdqtx'.includes(verb)) throw usageError(`printf in templates does not support ${whole}`, 'It knows %s, %v, %d, %q, %t and %x.');
    const value = values[next++];
    const shown = verb === 'q' ? JSON.stringify(text(value)) : verb === 'x' ? Number(value).toString(16) : text(value);
    return left === '' ? shown.padStart(Number(width)) : shown.padEnd(Number(width));
  });
}
