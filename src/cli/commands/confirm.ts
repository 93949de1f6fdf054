import { readSync } from 'node:fs';
import type { Context } from '../command.ts';
import { boolean } from '../flags.ts';

export const forceFlag = boolean('Do not ask', { short: 'f' });

/** Asks on the terminal, as Docker's prune commands do. Without an answer nothing is done. */
export async function confirm(context: Context, warning: string, force: boolean | undefined): Promise<boolean> {
  if (force) return true;
  context.output.error(`WARNING! ${warning}\nAre you sure you want to continue? [y/N] `);
  const answer = Buffer.alloc(16);
  const length = readSync(0, answer);
  return answer.toString('utf8', 0, length).trim().toLowerCase() === 'y';
}
