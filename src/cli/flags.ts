import { EngineError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';

/**
 * Flags as Docker's command line has them (the rules of Go's pflag): `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, booleans that
 * combine (`-it`) and take a value only after `=` (`--sig-proxy=false`), and `--` to end them.
 */
type FlagShape = {
  readonly kind: 'boolean' | 'text' | 'list' | 'integer';
  readonly help: string;
  readonly short?: string | undefined;
  /** What the help calls the value. */
  readonly value?: string | undefined;
  readonly aliases?: readonly string[] | undefined;
  /** Also accepts `--no-NAME`. */
  readonly negatable?: boolean | undefined;
};
export type Flag<T> = FlagShape & { readonly __value?: T };
export type FlagTable = Readonly<Record<string, Flag<unknown>>>;
export type FlagValue = boolean | string | number | string[] | undefined;
export type Values<F extends FlagTable> = { [K in keyof F]: F[K] extends Flag<infer T> ? T : never };

type Extras = Pick<FlagShape, 'short' | 'value' | 'aliases' | 'negatable'>;

/** undefined when it was not given, so that `--init=false` differs from silence. */
export function boolean(help: string, extras: Extras = {}): Flag<boolean | undefined> {
  return { kind: 'boolean', help, ...extras };
}
export function text(help: string, extras: Extras = {}): Flag<string | undefined> {
  return { kind: 'text', help, ...extras };
}
/** May be given many times; every value in the order given. */
export function list(help: string, extras: Extras = {}): Flag<string[]> {
  return { kind: 'list', help, ...extras };
}
export function integer(help: string, extras: Extras = {}): Flag<number | undefined> {
  return { kind: 'integer', help, ...extras };
}

export type ParsedFlags = { values: Record<string, FlagValue>; args: string[]; help: boolean };

/** A mistake in what was typed. `command` is filled in by the dispatcher for the pointer to `--help`. */
export function usageError(message: string, hint?: string): EngineError {
  return new EngineError('InvalidArgument', 'USAGE', message, { hint, exitCode: 125 });
}

/**
 * Splits an argument vector into flags and the rest. With `interspersed` false, flags stop at the first argument that is not one, so that
 * `run IMAGE ls -l` leaves `-l` to `ls`. Throws InvalidArgument `USAGE`.
 */
export function parseFlags(table: FlagTable, argv: readonly string[], options: { interspersed: boolean }): ParsedFlags {
  const parser = new FlagParser(table, argv);
  return parser.parse(options.interspersed);
}

class FlagParser {
  readonly #table: FlagTable;
  readonly #argv: readonly string[];
  readonly #names = new Map<string, string>();
  readonly #values: Record<string, FlagValue> = {};
  #next = 0;
  #help = false;

  constructor(table: FlagTable, argv: readonly string[]) {
    this.#table = table;
    this.#argv = argv;
    for (const [name, flag] of Object.entries(table)) {
      this.#names.set(`--${name}`, name);
      for (const alias of flag.aliases ?? []) this.#names.set(`--${alias}`, name);
      if (flag.short !== undefined) this.#names.set(`-${flag.short}`, name);
      if (flag.kind === 'list') this.#values[name] = [];
    }
  }

  parse(interspersed: boolean): ParsedFlags {
    const args: string[] = [];
    while (this.#next < this.#argv.length) {
      const word = this.#argv[this.#next++] ?? '';
      if (word === '--') {
        args.push(...this.#argv.slice(this.#next));
        break;
      }
      if (word.startsWith('--')) this.#long(word);
      else if (word.startsWith('-') && word !== '-') this.#shorts(word);
      else if (interspersed) args.push(word);
      else {
        args.push(word, ...this.#argv.slice(this.#next));
        break;
      }
      if (this.#help) break;
    }
    return { values: this.#values, args, help: this.#help };
  }

  #long(word: string): void {
    const equals = word.indexOf('=');
    const spelled = equals < 0 ? word : word.slice(0, equals);
    const inline = equals < 0 ? undefined : word.slice(equals + 1);
    const name = this.#names.get(spelled);
    if (name === undefined) {
      if (spelled === '--help') this.#help = true;
      else if (!this.#negated(spelled, inline)) throw this.#unknown(spelled);
      return;
    }
    this.#set(name, spelled, inline ?? (this.#flag(name).kind === 'boolean' ? 'true' : this.#take(spelled)));
  }

  #negated(spelled: string, inline: string | undefined): boolean {
    const name = spelled.startsWith('--no-') ? this.#names.get(`--${spelled.slice(5)}`) : undefined;
    if (name === undefined || !this.#flag(name).negatable || inline !== undefined) return false;
    this.#values[name] = false;
    return true;
  }

  #shorts(word: string): void {
    for (let at = 1; at < word.length; at++) {
      const spelled = `-${word[at]}`;
      const name = this.#names.get(spelled);
      if (name === undefined) {
        if (spelled !== '-h') throw this.#unknown(spelled, word);
        this.#help = true;
        return;
      }
      const rest = word.slice(at + 1);
      if (this.#flag(name).kind === 'boolean') {
        if (!rest.startsWith('=')) {
          this.#set(name, spelled, 'true');
          continue;
        }
        this.#set(name, spelled, rest.slice(1));
      } else this.#set(name, spelled, rest === '' ? this.#take(spelled) : rest.startsWith('=') ? rest.slice(1) : rest);
      return;
    }
  }

  #flag(name: string): Flag<unknown> {
    return this.#table[name] as Flag<unknown>; // `name` came out of #names, which holds names of the table only
  }

  #take(spelled: string): string {
    const value = this.#argv[this.#next++];
    if (value === undefined) throw usageError(`flag needs an argument: ${spelled}`);
    return value;
  }

  #set(name: string, spelled: string, value: string): void {
    const { kind } = this.#flag(name);
    if (kind === 'boolean') this.#values[name] = parseBoolean(spelled, value);
    else if (kind === 'integer') this.#values[name] = parseInteger(spelled, value);
    else if (kind === 'list') (this.#values[name] as string[]).push(value);
    else this.#values[name] = value;
  }

  #unknown(spelled: string, cluster?: string): EngineError {
    const within = cluster !== undefined && cluster.length > 2 ? ` in ${cluster}` : '';
    const kind = spelled.startsWith('--') ? 'unknown flag' : 'unknown shorthand flag';
    const known = spelled.startsWith('--')
      ? nearest(
          spelled,
          [...this.#names.keys()].filter((name) => name.startsWith('--')),
        )
      : undefined;
    return usageError(`${kind}: ${spelled}${within}`, known === undefined ? undefined : `Did you mean ${known}?`);
  }
}

function parseBoolean(spelled: string, value: string): boolean {
  if (/^(?:1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(?:0|f|F|false|FALSE|False)$/.test(value)) return false;
  throw usageError(`invalid argument "${value}" for ${spelled}: it must be true or false`);
}

function parseInteger(spelled: string, value: string): number {
  const number = /^[+-]?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw usageError(`invalid argument "${value}" for ${spelled}: it must be a whole number`);
  return number;
}
