import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { EngineError, errnoOf, isErrno } from '../base/errors.ts';
import { inNetns } from '../kernel/namespace.ts';
import { runProgram } from '../kernel/run-program.ts';

export type CommandResult = { exitCode: number; stdout: string; stderr: string };
export type CommandOptions = {
  input?: string | undefined;
  env?: Record<string, string> | undefined;
  timeoutMs?: number | undefined;
  /** The Debian package that has the command, for the hint when it is missing. */
  debianPackage: string;
  /** Path of the network namespace that it runs in; the engine's own when not given. */
  netns?: string | undefined;
};

/** The tools of network administration are in sbin, which the PATH of a service or of sudo may leave out. */
const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
/** iptables-save of a host with tens of thousands of rules. */
const outputLimitBytes = 64 << 20;
const found = new Map<string, string>();

/**
 * Runs a helper to its end and collects its output. Resolves whatever its exit status; `exitCode` is -1 after a signal. Throws Unavailable
 * `HELPER_MISSING` when there is no such command and Unavailable `HELPER_TIMEOUT` after `timeoutMs` (default 30 s).
 */
export async function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { input = '', env, timeoutMs = 30_000, debianPackage, netns } = options;
  try {
    const result = await runProgram(pathOf(file), args, {
      input,
      env: { PATH: path, LC_ALL: 'C', ...env },
      timeoutMs,
      outputLimitBytes,
      start: netns === undefined ? undefined : (spawn) => inNetns(netns, spawn),
    });
    if (!result.timedOut) return { exitCode: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
  } catch (error) {
    found.delete(file);
    throw isErrno(error, 'ENOENT') ? missingHelper(file, debianPackage, error) : error;
  }
  throw new EngineError('Unavailable', 'HELPER_TIMEOUT', `${file} did not end within ${timeoutMs / 1000} s and was killed`);
}

/** A path that is not there when the command is nowhere: running that says so. */
function pathOf(file: string): string {
  const known = found.get(file);
  if (known !== undefined || file.includes('/')) return known ?? file;
  const all = path.split(':').filter((directory) => directory !== '');
  const place = all.map((directory) => join(directory, file)).find(isExecutable);
  if (place !== undefined) found.set(file, place);
  return place ?? `/nonexistent/${file}`;
}

function isExecutable(candidate: string): boolean {
  try {
    accessSync(candidate, constants.X_OK);
    return true;
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

function missingHelper(file: string, debianPackage: string, cause: unknown): EngineError {
  return new EngineError('Unavailable', 'HELPER_MISSING', `${file} is not installed, and bridge networks need it`, {
    hint: `Install it (apt-get install -y ${debianPackage}), or use --network host.`,
    cause,
  });
}
