import { EngineError } from '../base/errors.ts';

/**
 * Reads a JSON document that came from outside: each accessor checks a type and names the place when it is wrong (`config.Env[3]`).
 * JSON null counts as absent, as Go's decoder has it. Unknown fields are ignored; the original bytes are what keeps them.
 */
export class JsonDocument {
  readonly #what: string;
  readonly root: Record<string, unknown>;

  /** `what` names the document in errors ("image config sha256:…"). Throws InvalidArgument `DOCUMENT_INVALID`. */
  constructor(bytes: Uint8Array | string, what: string, maxBytes: number) {
    this.#what = what;
    const size = typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length;
    if (size > maxBytes) throw this.error('', `has ${size} bytes, at most ${maxBytes} are allowed`);
    let value: unknown;
    try {
      value = JSON.parse(typeof bytes === 'string' ? bytes : new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch (cause) {
      throw this.error('', `is not JSON: ${cause instanceof Error ? cause.message.slice(0, 120) : 'unreadable'}`, cause);
    }
    this.root = this.object(value, '');
  }

  object(value: unknown, place: string): Record<string, unknown> {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    throw this.error(place, `must be an object, is ${describe(value)}`);
  }

  string(value: unknown, place: string, maxLength = 1 << 20): string {
    if (typeof value !== 'string') throw this.error(place, `must be a string, is ${describe(value)}`);
    if (value.length > maxLength) throw this.error(place, `has ${value.length} characters, at most ${maxLength} are allowed`);
    return value;
  }

  integer(value: unknown, place: string): number {
    if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
    throw this.error(place, `must be a whole number, is ${describe(value)}`);
  }

  array<T>(value: unknown, place: string, maxItems: number, item: (value: unknown, place: string) => T): T[] {
    if (!Array.isArray(value)) throw this.error(place, `must be a list, is ${describe(value)}`);
    if (value.length > maxItems) throw this.error(place, `has ${value.length} items, at most ${maxItems} are allowed`);
    return value.map((element, index) => item(element, `${place}[${index}]`));
  }

  strings(value: unknown, place: string, maxItems = 10_000): string[] {
    return this.array(value, place, maxItems, (element, at) => this.string(element, at));
  }

  map<T>(value: unknown, place: string, maxItems: number, item: (value: unknown, place: string) => T): Record<string, T> {
    const entries = Object.entries(this.object(value, place));
    if (entries.length > maxItems) throw this.error(place, `has ${entries.length} fields, at most ${maxItems} are allowed`);
    return Object.fromEntries(entries.map(([key, element]) => [key, item(element, `${place}.${key.slice(0, 60)}`)]));
  }

  /** `{ [key]: read(value) }`, or nothing when the field is absent or null: made for spreading. */
  optional<K extends string, T>(
    parent: Record<string, unknown>,
    key: K,
    place: string,
    read: (value: unknown, place: string) => T,
  ): { [P in K]?: T } {
    const value = Object.hasOwn(parent, key) ? parent[key] : undefined;
    if (value === undefined || value === null) return {};
    return { [key]: read(value, place === '' ? key : `${place}.${key}`) } as { [P in K]?: T };
  }

  error(place: string, problem: string, cause?: unknown): EngineError {
    const subject = place === '' ? this.#what : `"${place}" in ${this.#what}`;
    return new EngineError('InvalidArgument', 'DOCUMENT_INVALID', `${subject} ${problem}`, cause === undefined ? {} : { cause });
  }
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return `${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}
