import { EngineError, errnoOf } from '../base/errors.ts';
import type { Output } from './output.ts';

/** `Error: what went wrong`, and below it what to do. Stacks are shown for defects only, when SLIPWAY_DEBUG is set. */
export function printError(output: Output, error: unknown): void {
  const lines = [`${output.paint(2, 31, 'Error:')} ${visible(messageOf(error))}`];
  if (error instanceof EngineError && error.hint !== undefined) lines.push(visible(error.hint));
  if (process.env.SLIPWAY_DEBUG && error instanceof Error) lines.push(error.stack ?? '');
  output.error(`${lines.join('\n')}\n`);
}

/** Messages quote what others wrote (names, lines of files): control characters of theirs must not reach the terminal. */
function visible(text: string): string {
  return text.replace(/[\p{Cc}]/gu, (character) => (/[\n\t]/.test(character) ? character : '\u{fffd}'));
}

function messageOf(error: unknown): string {
  if (error instanceof EngineError) return error.message;
  if (error instanceof Error)
    return errnoOf(error) === undefined && error.name !== 'Error' ? `${error.name}: ${error.message}` : error.message;
  return String(error);
}

/** The process's status for an error: its own where Docker has a number, 130 for a cancelled command, else what the command says. */
export function statusOf(error: unknown, commandStatus: number): number {
  if (error instanceof EngineError) return error.exitCode ?? (error.kind === 'Cancelled' ? 130 : commandStatus);
  return error instanceof Error && error.name === 'AbortError' ? 130 : commandStatus;
}
