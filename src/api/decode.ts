import { invalid } from './errors.ts';

/**
 * Hand parsers for request bodies. A check takes a value of unknown shape and the name of the field that holds it, and gives back a typed value or
 * throws InvalidArgument `FIELD_INVALID` that names the field (`HostConfig.Memory`). As in Docker's own decoder (Go's encoding/json), `null` means
 * absent, a field's name may be in any case, and `object` lets unknown fields through; `unknownFields` finds them where silence would mislead.
 */
export type Check<T> = (value: unknown, field: string) => T;
type Shape = Record<string, Check<unknown>>;
type Decoded<S extends Shape> = { [K in keyof S]?: ReturnType<S[K]> };

export const string: Check<string> = (value, field) => {
  if (typeof value !== 'string') throw wrong(field, 'a string', value);
  if (value.includes('\0')) throw invalid('FIELD_INVALID', `${field} has a NUL character`);
  return value;
};

export const boolean: Check<boolean> = (value, field) => {
  if (typeof value !== 'boolean') throw wrong(field, 'true or false', value);
  return value;
};

/** As far as Docker's 64 bits go. */
export const integer: Check<number> = (value, field) => {
  if (typeof value !== 'number' || !Number.isInteger(value)) throw wrong(field, 'a whole number', value);
  if (Math.abs(value) > 2 ** 63) throw wrong(field, 'a whole number of 64 bits', value);
  return value;
};

export const unsigned: Check<number> = (value, field) => {
  const number = integer(value, field);
  if (number < 0) throw wrong(field, 'a whole number that is not negative', value);
  return number;
};

/** Of no interest but that it is there. */
export const anything: Check<unknown> = (value) => value;

/** A map whose values carry nothing: `{"80/tcp": {}}`. */
export const emptyObject: Check<Record<string, never>> = (value, field) => {
  if (!isPlainObject(value)) throw wrong(field, 'an object', value);
  return {};
};

export function list<T>(item: Check<T>): Check<T[]> {
  return (value, field) => {
    if (!Array.isArray(value)) throw wrong(field, 'a list', value);
    return value.map((element, index) => item(element, `${field}[${index}]`));
  };
}

export function record<T>(item: Check<T>): Check<Record<string, T>> {
  return (value, field) => {
    if (!isPlainObject(value)) throw wrong(field, 'an object', value);
    // No prototype: a key `__proto__` is a key like any other.
    const result: Record<string, T> = Object.create(null);
    for (const [key, element] of Object.entries(value)) result[key] = item(element, `${field}.${key}`);
    return result;
  };
}

export function nullable<T>(check: Check<T>): Check<T | null> {
  return (value, field) => (value === null ? null : check(value, field));
}

export function oneOf<const T extends string>(...allowed: T[]): Check<T> {
  return (value, field) => {
    const text = string(value, field);
    const found = allowed.find((option) => option === text);
    if (found === undefined) throw invalid('FIELD_INVALID', `${field} is "${text.slice(0, 100)}"; expected one of: ${allowed.join(', ')}`);
    return found;
  };
}

/** A list of strings, or one string (Docker's Cmd and Entrypoint take both). */
export const stringOrList: Check<string | string[]> = (value, field) =>
  typeof value === 'string' ? string(value, field) : list(string)(value, field);

export function object<S extends Shape>(shape: S): Check<Decoded<S>> {
  const nameOf = fieldNames(shape);
  return (value, field) => {
    if (!isPlainObject(value)) throw wrong(field, 'an object', value);
    const result: Record<string, unknown> = {};
    for (const [given, element] of Object.entries(value)) {
      const name = nameOf(given);
      const check = name === undefined ? undefined : shape[name];
      // Of several spellings the proper one counts.
      if (name !== given && name !== undefined && Object.hasOwn(value, name)) continue;
      if (name === undefined || check === undefined || element === null || element === undefined) continue;
      result[name] = check(element, field === '' ? name : `${field}.${name}`);
    }
    return result as Decoded<S>;
  };
}

/** The name in `shape` that a key of a client's object means; undefined for none. */
function fieldNames(shape: Shape): (given: string) => string | undefined {
  const names = new Map(Object.keys(shape).map((name) => [name.toLowerCase(), name]));
  return (given) => names.get(given.toLowerCase());
}

/** Names of the fields of `value` that are not in `shape` and hold something (not null, false, 0, '', [], {} or a list of zeros). */
export function unknownFields(value: unknown, shape: Shape): string[] {
  if (!isPlainObject(value)) return [];
  const nameOf = fieldNames(shape);
  return Object.entries(value).flatMap(([key, given]) => (nameOf(key) !== undefined || isZero(given) ? [] : [key.slice(0, 100)]));
}

/** The body of a request as an object; absent is `{}` where `required` is not set. */
export function bodyOf<T>(body: unknown, check: Check<T>, options: { required?: boolean } = {}): T {
  if (isStream(body)) {
    const { headers } = body as { headers?: Record<string, string | undefined> };
    const type = (headers?.['content-type'] ?? '').slice(0, 100);
    throw invalid('CONTENT_TYPE_INVALID', `unsupported Content-Type header (${type}): must be 'application/json'`);
  }
  if (body === undefined || body === null) {
    if (options.required) throw invalid('BODY_MISSING', 'invalid JSON: got EOF while reading request body', 'Send a JSON object.');
    return check({}, '');
  }
  if (!isPlainObject(body)) throw wrong('the request body', 'a JSON object', body);
  return check(body, '');
}

export function requireField<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw invalid('FIELD_MISSING', `${field} is missing`);
  return value;
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStream(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'pipe' in body && typeof body.pipe === 'function';
}

function isZero(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === 0 || value === '') return true;
  if (Array.isArray(value)) return value.every((element) => element === 0);
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function wrong(field: string, expected: string, value: unknown): Error {
  const kind = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : JSON.stringify(value);
  return invalid('FIELD_INVALID', `${field || 'the request body'} must be ${expected}, not ${String(kind).slice(0, 100)}`);
}
