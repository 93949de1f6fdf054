import { EngineError } from '../../base/errors.ts';
import type { Context } from '../command.ts';
import { printError } from '../errors.ts';
import { ReaderGone } from '../output.ts';

/**
 * Does something to each name and prints those for which it worked. A failure is printed and does not keep the others from their turn; the exit
 * status is then 1.
 */
export async function eachName(
  context: Context,
  names: readonly string[],
  act: (name: string) => Promise<unknown>,
  options: { quiet?: boolean } = {},
): Promise<number> {
  let status = 0;
  for (const name of names) {
    try {
      await act(name);
      if (!options.quiet) context.output.line(name);
    } catch (error) {
      // What ails every name alike ends the command.
      if (error instanceof ReaderGone || (error instanceof EngineError && error.code.startsWith('DAEMON_'))) throw error;
      printError(context.output, error);
      status = 1;
    }
  }
  return status;
}
