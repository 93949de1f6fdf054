import type { EngineClient } from './client/client.ts';
import type { FlagTable, FlagValue, Values } from './flags.ts';
import type { Output } from './output.ts';

/** What a command is given besides its flags and arguments. */
export type Context = {
  /** Connects on its first request, not before. */
  readonly client: EngineClient;
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Words that named the command: `container ls`. */
  readonly path: string;
};

export type Command = {
  /** What follows the command's name: `[OPTIONS] IMAGE [COMMAND] [ARG...]`. */
  readonly usage: string;
  readonly summary: string;
  readonly description?: string | undefined;
  /** Command lines without the program's name, with a word on each. */
  readonly examples?: readonly (readonly [line: string, says: string])[] | undefined;
  readonly flags: FlagTable;
  /** False: flags stop at the first argument, because what follows belongs to somebody else. */
  readonly interspersed: boolean;
  readonly args: { readonly min: number; readonly max: number };
  /** Exit status for errors of the engine that have none of their own. */
  readonly errorStatus: number;
  run(context: Context, flags: Record<string, FlagValue>, args: readonly string[]): Promise<number | undefined>;
};

type CommandSpec<F extends FlagTable> = {
  usage: string;
  summary: string;
  description?: string;
  examples?: readonly (readonly [line: string, says: string])[];
  flags: F;
  interspersed?: boolean;
  /** [least, most] arguments; most defaults to no limit. */
  args: readonly [min: number, max?: number];
  errorStatus?: number;
  /** Returns the exit status; nothing means 0. */
  // biome-ignore lint/suspicious/noConfusingVoidType: most commands return nothing
  run(context: Context, flags: Values<F>, args: readonly string[]): Promise<number | void>;
};

/** Keeps the flags' types for `run` and forgets them for the table of commands. */
export function defineCommand<const F extends FlagTable>(spec: CommandSpec<F>): Command {
  return {
    usage: spec.usage,
    summary: spec.summary,
    description: spec.description,
    examples: spec.examples,
    flags: spec.flags,
    interspersed: spec.interspersed ?? true,
    args: { min: spec.args[0], max: spec.args[1] ?? Number.POSITIVE_INFINITY },
    errorStatus: spec.errorStatus ?? 1,
    run: async (context, flags, args) => (await spec.run(context, flags as Values<F>, args)) ?? undefined,
  };
}
