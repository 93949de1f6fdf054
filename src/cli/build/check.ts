import { EngineError } from '../../base/errors.ts';
import type { Context } from '../command.ts';

/** What `build --check` says at the end. With warnings it throws: the status is 1. */
export function tellOfCheck({ output }: Context, warnings: number): void {
  if (warnings === 0) {
    output.line('Check complete, no warnings found.');
    return;
  }
  const message = `Check complete, ${warnings} ${warnings === 1 ? 'warning has' : 'warnings have'} been found`;
  throw new EngineError('InvalidArgument', 'CHECKS_FAILED', message, { exitCode: 1 });
}
