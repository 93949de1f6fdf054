import { EngineError } from '../../base/errors.ts';
import { runProgram } from '../../kernel/run-program.ts';

export type CommandResult = { exitCode: number; stdout: string; stderr: string };

/**
 * Runs a helper to its end and keeps what it said. Rejects only when it cannot be started, is ended by a signal, or does not end in time: then with
 * Unavailable `COMMAND_TIMEOUT`, the helper killed.
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  { timeoutMs = 30_000, what = command }: { timeoutMs?: number; what?: string } = {},
): Promise<CommandResult> {
  const result = await runProgram(command, args, { env: process.env, timeoutMs });
  if (result.timedOut) {
    throw new EngineError('Unavailable', 'COMMAND_TIMEOUT', `${what} did not end within ${timeoutMs / 1000} s and was killed`, {
      hint: 'The host may be overloaded, or a disk of it does not answer.',
    });
  }
  if (result.exitCode === undefined) throw new Error(`${what} was ended by signal ${result.signal}; it said: ${result.stderr.trim()}`);
  return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
}
