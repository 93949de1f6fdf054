import { EngineError, isErrno } from '../base/errors.ts';
import { inNetns } from '../kernel/namespace.ts';
import { runProgram } from '../kernel/run-program.ts';

export type CommandResult = { exitCode: number; stdout: string; stderr: string };
export type CommandOptions = {
  input?: string | undefined;
  env?: Record<string, string> | undefined;
  /** Runs the command inside this network namespace. */
  netns?: string | undefined;
  timeoutMs?: number | undefined;
  /** The Debian package that has the command, for the hint when it is missing. */
  debianPackage: string;
};

/** The tools of network administration are in sbin, which the PATH of a service or of sudo may leave out. */
const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

/**
 * Runs a helper to its end and collects its output (which is short). Resolves whatever its exit status; `exitCode` is -1 after a signal.
 * Throws Unavailable `HELPER_MISSING` when there is no such command and Unavailable `HELPER_TIMEOUT` after `timeoutMs` (default 30 s).
 */
export async function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { input, env, netns, timeoutMs = 30_000, debianPackage } = options;
  try {
    const result = await runProgram(file, args, {
      input: input ?? '',
      env: { PATH: path, LC_ALL: 'C', ...env },
      timeoutMs,
      // The child is there before the call returns, so it is born in the namespace.
      start: netns === undefined ? undefined : (spawn) => inNetns(netns, spawn),
    });
    if (result.timedOut)
      throw new EngineError('Unavailable', 'HELPER_TIMEOUT', `${file} did not end within ${timeoutMs / 1000} s and was killed`);
    return { exitCode: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
  } catch (error) {
    throw isErrno(error, 'ENOENT') ? missingHelper(file, debianPackage, error) : error;
  }
}

function missingHelper(file: string, debianPackage: string, cause: unknown): EngineError {
  return new EngineError('Unavailable', 'HELPER_MISSING', `${file} is not installed, and bridge networks need it`, {
    hint: `Install it (apt-get install -y ${debianPackage}), or use --network host.`,
    cause,
  });
}
