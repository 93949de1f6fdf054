import { readFileSync } from 'node:fs';
import { errnoOf } from '../../base/errors.ts';
import { usageError } from '../flags.ts';

/**
 * The environment from Docker's `--env-file` and `-e`, files first. `NAME=value` is taken as it is; `NAME` alone takes the value from `env`. Without one there it
 * is dropped from a file, and passed on from a flag, where it means "unset what the image sets".
 */
export function parseEnvironment(flags: readonly string[], files: readonly string[], env: NodeJS.ProcessEnv): string[] {
  const values: string[] = [];
  for (const file of files) {
    for (const line of readLines(file, '--env-file')) {
      const entry = withValue(line, env);
      checkName(line, file);
      if (entry.includes('=')) values.push(entry);
    }
  }
  for (const flag of flags) {
    if (flag === '' || flag.startsWith('='))
      throw usageError(`invalid environment variable: ${JSON.stringify(flag)}`, 'Variables look like NAME=value or NAME.');
    values.push(withValue(flag, env));
  }
  return values;
}

/** `-l name=value` or `-l name`, and the lines of `--label-file`, files first. */
export function parseLabels(flags: readonly string[], files: readonly string[] = []): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const text of [...files.flatMap((file) => readLines(file, '--label-file')), ...flags]) {
    const [name, value] = cut(text);
    if (name.trim() === '') throw usageError(`invalid label ${JSON.stringify(text)}: it has no name`);
    labels[name] = value ?? '';
  }
  return labels;
}

/** A list of `name=value` where the value is required: `--sysctl`, `--log-opt`, `--opt`. */
export function parsePairs(texts: readonly string[], flag: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const text of texts) {
    const [name, value] = cut(text);
    if (name === '' || value === undefined) throw usageError(`invalid argument "${text}" for ${flag}: expected name=value`);
    pairs[name] = value;
  }
  return pairs;
}

/** Splits at the first `=`; the value is undefined when there is none. */
export function cut(text: string): [name: string, value: string | undefined] {
  const equals = text.indexOf('=');
  return equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)];
}

function withValue(entry: string, env: NodeJS.ProcessEnv): string {
  if (entry.includes('=')) return entry;
  const value = env[entry];
  return value === undefined ? entry : `${entry}=${value}`;
}

function checkName(line: string, file: string): void {
  const [name] = cut(line);
  if (name === '' || /\s/.test(name))
    throw usageError(`${file}: ${JSON.stringify(name)} is no name for a variable: it is empty or has spaces`);
}

/** Lines with something on them, comments left out, blanks before the name too. */
function readLines(file: string, flag: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`cannot read ${file} (${flag}): ${errnoOf(error) ?? String(error)}`);
  }
  return text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .map((line) => line.trimStart())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
