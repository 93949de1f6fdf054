import { suggestion } from '../../base/nearest.ts';
import type { Location } from './source.ts';
import type { Line } from './syntax.ts';

export type FlagKind = 'string' | 'boolean' | 'list';
export type FlagValue = { readonly value: string; readonly location: Location };

/** The flags of one instruction, checked against what it takes. */
export class Flags {
  readonly #line: Line;
  readonly #values = new Map<string, FlagValue[]>();

  constructor(line: Line, known: Readonly<Record<string, FlagKind>>) {
    this.#line = line;
    for (const word of line.flags) {
      const [, name = '', assigned] = /^--([^=]*)(=[\s\S]*)?$/.exec(word.text) ?? [];
      const location = line.locate(word.offset, name.length + 2);
      const kind = Object.hasOwn(known, name) ? known[name] : undefined;
      if (kind === undefined) {
        throw line.source.invalid(
          'FLAG_UNKNOWN',
          location,
          `${line.keyword} has no flag --${name}`,
          suggestion(name, Object.keys(known), '--'),
        );
      }
      this.#add(name, kind, assigned?.slice(1), location);
    }
  }

  #add(name: string, kind: FlagKind, value: string | undefined, location: Location): void {
    const earlier = this.#values.get(name) ?? [];
    const source = this.#line.source;
    if (earlier.length > 0 && kind !== 'list') throw source.invalid('FLAG_REPEATED', location, `--${name} is given twice`);
    if (kind === 'boolean') {
      const text = value?.toLowerCase() ?? 'true';
      if (text !== 'true' && text !== 'false') {
        throw source.invalid('FLAG_INVALID', location, `--${name} takes true or false, not ${JSON.stringify(value)}`);
      }
      this.#values.set(name, [{ value: text, location }]);
      return;
    }
    if (value === undefined) throw source.invalid('FLAG_INVALID', location, `--${name} needs a value`, `Write --${name}=VALUE.`);
    this.#values.set(name, [...earlier, { value, location }]);
  }

  get(name: string): FlagValue | undefined {
    return this.#values.get(name)?.[0];
  }

  text(name: string): string | undefined {
    return this.get(name)?.value;
  }

  boolean(name: string): boolean | undefined {
    const value = this.text(name);
    return value === undefined ? undefined : value === 'true';
  }

  list(name: string): readonly FlagValue[] {
    return this.#values.get(name) ?? [];
  }
}
