import { ExpansionError, replacePattern, trimPrefixPattern, trimSuffixPattern } from './pattern.ts';

export { ExpansionError };

/** Values of variables, by name. */
export type Environment = { get(name: string): string | undefined };

export type ExpandOptions = {
  /** `\` or the backquote, as the `escape` directive says. */
  escape?: string | undefined;
  /** Quotes stay in the result. */
  rawQuotes?: boolean | undefined;
  /** Escape characters stay in the result. */
  rawEscapes?: boolean | undefined;
  /** Quotes are ordinary characters (heredoc bodies). */
  ignoreQuotes?: boolean | undefined;
  /** A variable without a value stays as it was written. */
  keepUnset?: boolean | undefined;
};

export type Expansion = { readonly text: string; readonly words: readonly string[]; readonly unset: ReadonlySet<string> };

// A dozen lines of `ENV a=$a$a$a` would otherwise fill the memory, and nested defaults the stack.
const resultLimit = 1 << 20;
const depthLimit = 64;

/**
 * Expands variables and removes quotes and escapes as Dockerfiles define it (Dockerfile reference, "Environment replacement"): `$v`, `${v}`
 * with `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`. `words` is the result split at spaces that are neither quoted nor escaped.
 * Throws ExpansionError.
 */
export function expand(source: string, environment: Environment, options: ExpandOptions = {}): Expansion {
  return new Scanner(source, environment, options).run();
}

class Scanner {
  readonly #source: string;
  readonly #environment: Environment;
  readonly #options: ExpandOptions;
  readonly #escape: string;
  readonly #unset = new Set<string>();
  #rawEscapes: boolean;
  #at = 0;
  #depth = 0;
  #produced = 0;

  constructor(source: string, environment: Environment, options: ExpandOptions) {
    this.#source = source;
    this.#environment = environment;
    this.#options = options;
    this.#escape = options.escape ?? '\\';
    this.#rawEscapes = options.rawEscapes ?? false;
  }

  run(): Expansion {
    const words = new WordList();
    const text = this.#until(undefined, words);
    return { text, words: words.finish(), unset: this.#unset };
  }

  #peek(): string | undefined {
    return this.#source[this.#at];
  }

  #next(): string | undefined {
    return this.#source[this.#at++];
  }

  #until(stop: string | undefined, words: WordList | undefined): string {
    if (++this.#depth > depthLimit) throw new ExpansionError(`substitutions are nested more than ${depthLimit} deep`);
    let result = '';
    const emit = (text: string) => {
      this.#produced += text.length;
      if (this.#produced > resultLimit) throw new ExpansionError(`the expanded text is longer than ${resultLimit} characters`);
      result += text;
    };
    for (let character = this.#peek(); character !== undefined; character = this.#peek()) {
      if (character === stop) {
        this.#at++;
        this.#depth--;
        return result;
      }
      if (character === '$') {
        const value = this.#dollar();
        emit(value);
        words?.addSplit(value);
      } else if (!this.#options.ignoreQuotes && (character === "'" || character === '"')) {
        const value = character === "'" ? this.#singleQuote() : this.#doubleQuote();
        emit(value);
        words?.addWhole(value);
      } else if (character === '<') {
        const value = this.#heredocMark();
        emit(value);
        words?.addWhole(value);
      } else {
        this.#at++;
        if (character === this.#escape) {
          const escaped = this.#next();
          const value = (this.#rawEscapes ? character : '') + (escaped ?? '');
          emit(value);
          words?.addWhole(value);
        } else {
          emit(character);
          words?.addSplit(character);
        }
      }
    }
    if (stop !== undefined) throw new ExpansionError(`unexpected end while looking for the matching ${stop}`);
    this.#depth--;
    return result;
  }

  #singleQuote(): string {
    const end = this.#source.indexOf("'", this.#at + 1);
    if (end < 0) throw new ExpansionError("unexpected end while looking for the matching '");
    const inside = this.#source.slice(this.#at + 1, end);
    this.#at = end + 1;
    return this.#options.rawQuotes ? `'${inside}'` : inside;
  }

  #doubleQuote(): string {
    this.#at++;
    let result = '';
    for (;;) {
      const character = this.#peek();
      if (character === undefined) throw new ExpansionError('unexpected end while looking for the matching "');
      if (character === '$') {
        result += this.#dollar();
        continue;
      }
      this.#at++;
      if (character === '"') return this.#options.rawQuotes ? `"${result}"` : result;
      if (character === this.#escape) {
        if (this.#rawEscapes) result += character;
        const escaped = this.#peek();
        if (escaped === undefined) continue;
        // Inside double quotes only these three can be escaped; any other backslash is itself.
        if (escaped === '"' || escaped === '$' || escaped === this.#escape) {
          this.#at++;
          result += escaped;
        } else result += character;
      } else result += character;
    }
  }

  /** Spaces after `<<` belong to a heredoc's word and do not split it. */
  #heredocMark(): string {
    this.#at++;
    if (this.#peek() !== '<') return '<';
    this.#at++;
    let mark = '<<';
    for (let space = this.#peek(); space === ' ' || space === '\t' || space === '\r'; space = this.#peek()) {
      mark += space;
      this.#at++;
    }
    return mark;
  }

  #dollar(): string {
    this.#at++;
    if (this.#peek() !== '{') {
      const name = this.#variableName();
      if (name === '') return '$';
      return this.#value(name) ?? (this.#options.keepUnset ? `$${name}` : '');
    }
    this.#at++;
    const first = this.#peek();
    if (first === undefined) throw new ExpansionError("missing '}'");
    if (first === '{' || first === '}' || first === ':') throw new ExpansionError('bad substitution');
    return this.#braced(this.#variableName());
  }

  #braced(name: string): string {
    const modifier = this.#next();
    if (modifier === undefined) throw new ExpansionError("missing '}'");
    if (modifier === '}') return this.#value(name) ?? (this.#options.keepUnset ? `\${${name}}` : '');
    if (modifier === '/') return this.#replacement(name);
    if (modifier === ':') {
      const second = this.#next() ?? '';
      if (second === '' || !'-+?'.includes(second)) throw new ExpansionError(`unsupported modifier (:${second}) in substitution`);
      return this.#conditional(name, second, true);
    }
    if ('-+?'.includes(modifier)) return this.#conditional(name, modifier, false);
    if (modifier === '#' || modifier === '%') return this.#trimmed(name, modifier);
    throw new ExpansionError(`unsupported modifier (${modifier}) in substitution`);
  }

  #conditional(name: string, modifier: string, emptyIsUnset: boolean): string {
    const word = this.#operand('}', false);
    const value = this.#value(name);
    if (value === undefined && this.#options.keepUnset) return `\${${name}${emptyIsUnset ? ':' : ''}${modifier}${word}}`;
    const present = value !== undefined && !(emptyIsUnset && value === '');
    if (modifier === '-') return present ? value : word;
    if (modifier === '+') return present ? word : '';
    if (present) return value;
    throw new ExpansionError(`${name}: ${word !== '' ? word : `is not allowed to be ${value === undefined ? 'unset' : 'empty'}`}`);
  }

  #trimmed(name: string, modifier: string): string {
    const word = this.#operand('}', true);
    const value = this.#value(name);
    if (value === undefined) return this.#options.keepUnset ? `\${${name}${modifier}${word}}` : '';
    const longest = word.startsWith(modifier);
    const pattern = longest ? word.slice(1) : word;
    return modifier === '#' ? trimPrefixPattern(value, pattern, longest) : trimSuffixPattern(value, pattern, longest);
  }

  #replacement(name: string): string {
    const all = this.#peek() === '/';
    if (all) this.#at++;
    const pattern = this.#operand('/', true);
    const replacement = this.#operand('}', true);
    const value = this.#value(name);
    if (value === undefined) return this.#options.keepUnset ? `\${${name}/${pattern}/${replacement}}` : '';
    const result = replacePattern(value, pattern, replacement, all);
    if (result.length > resultLimit) throw new ExpansionError(`the expanded text is longer than ${resultLimit} characters`);
    return result;
  }

  #operand(stop: string, rawEscapes: boolean): string {
    const before = this.#rawEscapes;
    this.#rawEscapes = rawEscapes;
    try {
      return this.#until(stop, undefined);
    } finally {
      this.#rawEscapes = before;
    }
  }

  #value(name: string): string | undefined {
    const value = this.#environment.get(name);
    if (value === undefined) this.#unset.add(name);
    return value;
  }

  /** A name, a positional parameter ($12) or one special parameter ($@ and the like); neither of the last two ever has a value. */
  #variableName(): string {
    const match = /^(?:\p{Nd}+|[@*#?\-$!]|[\p{L}_][\p{L}\p{Nd}_]*)/u.exec(this.#source.slice(this.#at, this.#at + 4096));
    const name = match?.[0] ?? '';
    this.#at += name.length;
    return name;
  }
}

class WordList {
  readonly #words: string[] = [];
  #current = '';

  addSplit(text: string): void {
    for (const character of text) {
      if (/\s/u.test(character)) this.#end();
      else this.#current += character;
    }
  }

  addWhole(text: string): void {
    this.#current += text;
  }

  finish(): string[] {
    this.#end();
    return this.#words;
  }

  #end(): void {
    if (this.#current !== '') this.#words.push(this.#current);
    this.#current = '';
  }
}
