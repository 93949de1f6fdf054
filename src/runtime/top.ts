import { EngineError, isErrno } from '../base/errors.ts';
import { runCommand } from './drivers/command.ts';

/** `docker top`: the host's ps, with the rows of the given processes. Unavailable `PS_MISSING`. */
export async function top(pids: readonly number[], psArgs: string | undefined): Promise<{ Titles: string[]; Processes: string[][] }> {
  const args = (psArgs || '-ef').split(/\s+/).filter((arg) => arg !== '');
  // ps takes programs to run in none of its options, but a stray one would be an error of its own; NUL cannot be in an argument.
  if (args.some((arg) => arg.includes('\0'))) throw new EngineError('InvalidArgument', 'PS_ARGS_INVALID', 'ps arguments hold a NUL');
  const { exitCode, stdout, stderr } = await runCommand('ps', args).catch((error) => {
    if (!isErrno(error, 'ENOENT')) throw error;
    throw new EngineError('Unavailable', 'PS_MISSING', 'the host has no ps', { hint: 'apt-get install procps', cause: error });
  });
  if (exitCode !== 0) throw new EngineError('InvalidArgument', 'PS_FAILED', `ps ${args.join(' ')}: ${stderr.trim()}`);
  return parsePs(stdout, pids);
}

/** Columns are told by their titles; the last one takes the rest of the row. */
export function parsePs(text: string, pids: readonly number[]): { Titles: string[]; Processes: string[][] } {
  const [head = '', ...rows] = text.trimEnd().split('\n');
  const titles = head.trim().split(/\s+/);
  const pidColumn = titles.indexOf('PID');
  if (pidColumn === -1)
    throw new EngineError('InvalidArgument', 'PS_FAILED', "Couldn't find PID field in ps output", {
      hint: 'Choose columns with the pid among them.',
    });
  const wanted = new Set(pids.map(String));
  const fields = rows.map((row) => {
    const words = row.trim().split(/\s+/);
    return [...words.slice(0, titles.length - 1), words.slice(titles.length - 1).join(' ')];
  });
  return { Titles: titles, Processes: fields.filter((row) => wanted.has(row[pidColumn] ?? '')) };
}
