import { EngineError } from '../base/errors.ts';

/** A flag as data: what the parser is made of when its command runs. */
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

/** A mistake in what was typed. Without a hint the dispatcher points to the command's `--help`. */
export function usageError(message: string, hint?: string): EngineError {
  return new EngineError('InvalidArgument', 'USAGE', message, { hint, exitCode: 125 });
}
