import type { EngineClient } from './client/client.ts';
import type { FlagTable, Values } from './flags.ts';
import type { Output } from './output.ts';

/** What a command is given besides its flags and arguments. */
export type Context = {
  /** Connects on its first request, not before. */
  readonly client: EngineClient;
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Where `--config` says that config.json lies. */
  readonly configFolder: string | undefined;
  /** Words that named the command: `container ls`. */
  readonly path: string;
};

/** What the help and the parser know of a command. */
type Grammar<F extends FlagTable> = {
  readonly summary: string;
  readonly description?: string | undefined;
  /** Command lines without the program's name, with a word on each. */
  readonly examples?: readonly (readonly [line: string, says: string])[] | undefined;
  readonly flags: F;
  /** `<IMAGE> [COMMAND] [ARG...]`: angle brackets where one is required. None are allowed when it is left out. */
  readonly args?: string | undefined;
  /** False: flags stop at the first argument, because what follows belongs to somebody else. */
  readonly interspersed?: boolean | undefined;
  /** Exit status for errors of the engine that have none of their own; 1 when left out. */
  readonly errorStatus?: number | undefined;
};

/** A command without its flags' types, as the table of commands has it. `run` returns the exit status. */
export type Command = Grammar<FlagTable> & {
  run(context: Context, flags: Values<FlagTable>, args: readonly string[]): Promise<number>;
};

/** Keeps the flags' types for `run` and forgets them for the table of commands. */
export function defineCommand<const F extends FlagTable>(
  spec: Grammar<F> & {
    /** Returns the exit status; nothing means 0. */
    // biome-ignore lint/suspicious/noConfusingVoidType: most commands return nothing
    run(context: Context, flags: Values<F>, args: readonly string[]): Promise<number | void>;
  },
): Command {
  return { ...spec, run: async (context, flags, args) => (await spec.run(context, flags as Values<F>, args)) ?? 0 };
}
