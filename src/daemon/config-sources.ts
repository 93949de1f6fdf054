import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { parse, TomlError } from 'smol-toml';
import { EngineError, isErrno } from '../base/errors.ts';
import { type Key, keys, nearestKey, type RawValue } from './config-keys.ts';

/** A value and where it was given, for errors. */
export type Given = { value: RawValue; from: string };
/** What was given for a key, by its name. */
export type Lookup = (name: string) => Given | undefined;

const defaultFile = '/etc/slipway/slipway.toml';

/** Variables of the command line's and of development's own, which the daemon leaves alone. */
const otherVariables = new Set(['SLIPWAY_HOST', 'SLIPWAY_DEBUG', 'SLIPWAY_LAUNCHER']);
const otherPrefixes = ['SLIPWAY_TEST_', 'SLIPWAY_BENCH_', 'SLIPWAY_SNAPSHOT_'];

/**
 * Everything that was given: flags over SLIPWAY_* variables over the file. InvalidArgument `CONFIG_UNKNOWN_KEY` names a key that there is not,
 * and the nearest that there is.
 */
export function readSources(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Lookup {
  const flags = readFlags(argv);
  const variables = readVariables(env);
  const explicit = flags.get('config') ?? variables.get('config');
  const file = readFile(explicit === undefined ? undefined : String(explicit.value), env);
  return (name) => flags.get(name) ?? variables.get(name) ?? file.get(name);
}

/** What `slipway daemon --help` shows. */
export function daemonUsage(): string {
  return flagParser().helpInformation();
}

function flagParser(): Command {
  const parser = new Command('slipway daemon')
    .description(
      'Runs the engine until it gets SIGTERM; containers go on. Each option is also a key of the configuration file (without the dashes; those of ' +
        '[network] and [tls] in their table) and an environment variable (--docker-socket is SLIPWAY_DOCKER_SOCKET). Flags win over the ' +
        'environment, the environment over the file.',
    )
    .helpOption('-h, --help', 'show this')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeErr() {}, writeOut() {} });
  for (const key of keys) {
    if (key.flag === '') continue;
    const option = new Option(`--${key.flag} <${key.placeholder}>`, key.help);
    // A repeated flag adds to a list; of the others the last one counts.
    if (key.list) option.argParser((value, before: string | undefined) => (before === undefined ? value : `${before},${value}`));
    parser.addOption(option);
  }
  return parser;
}

function readFlags(argv: readonly string[]): Map<string, Given> {
  const parser = flagParser();
  try {
    parser.parse(argv, { from: 'user' });
  } catch (error) {
    throw error instanceof CommanderError ? flagError(error, parser) : error;
  }
  const given = new Map<string, Given>();
  for (const option of parser.options) {
    const value: unknown = parser.getOptionValue(option.attributeName());
    const key = keys.find(({ flag }) => `--${flag}` === option.long);
    if (key !== undefined && typeof value === 'string') given.set(key.name, { value, from: `--${key.flag}` });
  }
  return given;
}

function flagError(error: CommanderError, parser: Command): EngineError {
  const [message = '', near] = error.message.replace(/^error: /, '').split('\n');
  if (error.code === 'commander.unknownOption' || error.code === 'commander.excessArguments') {
    const shown = error.code === 'commander.unknownOption' ? /'(.*)'/.exec(message)?.[1] : parser.args[0];
    return unknown('option', shown ?? message, near?.replace(/^\((.*)\)$/, '$1'));
  }
  const [, flag, placeholder] = /'(--\S+) <(.*)>' argument missing/.exec(message) ?? [];
  const why = flag === undefined ? message : `${flag} needs a value: ${flag} ${placeholder}`;
  return new EngineError('InvalidArgument', 'CONFIG_INVALID', why);
}

function readVariables(env: Readonly<Record<string, string | undefined>>): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('SLIPWAY_') || value === undefined) continue;
    if (otherVariables.has(variable) || otherPrefixes.some((prefix) => variable.startsWith(prefix))) continue;
    const key = keys.find((each) => each.variable === variable);
    if (key === undefined) throw unknown('environment variable', variable, meant(nearestKey(variable, (each) => each.variable)));
    if (value !== '') given.set(key.name, { value, from: variable });
  }
  return given;
}

function readFile(explicit: string | undefined, env: Readonly<Record<string, string | undefined>>): Map<string, Given> {
  const path = resolve(explicit ?? defaultFile);
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (cause) {
    if (explicit === undefined && isErrno(cause, 'ENOENT')) return new Map();
    const why = isErrno(cause, 'ENOENT') ? 'there is no such file' : String(cause);
    throw new EngineError('InvalidArgument', 'CONFIG_UNREADABLE', `cannot read the configuration ${path}: ${why}`, {
      hint: env.SLIPWAY_CONFIG === undefined ? 'Check --config.' : 'Check --config and SLIPWAY_CONFIG.',
      cause,
    });
  }
  try {
    return flatten(parse(content), path, '');
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const [first = ''] = cause.message.split('\n');
    throw new EngineError('InvalidArgument', 'CONFIG_INVALID', `${path}, line ${cause.line}, column ${cause.column}: ${first}`, { cause });
  }
}

/** Keys of a table as `network.mtu`. `[runtimes]` and `[registries]` are one key each: their names are the user's. */
function flatten(table: Record<string, unknown>, path: string, prefix: string): Map<string, Given> {
  const given = new Map<string, Given>();
  const nameOf = (key: Key) => (key.inFile ? key.name : '');
  for (const [part, value] of Object.entries(table)) {
    const name = `${prefix}${part}`;
    const key = keys.find((each) => each.name === name && each.inFile);
    if (key !== undefined) given.set(name, { value: value as RawValue, from: path });
    else if (isTable(value) && keys.some((each) => each.name.startsWith(`${name}.`))) {
      for (const [inner, each] of flatten(value, path, `${name}.`)) given.set(inner, each);
    } else throw unknown(`key in ${path}`, name, meant(nearestKey(name, nameOf)));
  }
  return given;
}

export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function meant(near: string | undefined): string | undefined {
  return near === undefined ? undefined : `Did you mean ${near}?`;
}

export function unknown(what: string, shown: string, hint: string | undefined): EngineError {
  return new EngineError('InvalidArgument', 'CONFIG_UNKNOWN_KEY', `unknown ${what}: ${shown}`, {
    hint: hint ?? '"slipway daemon --help" lists what there is.',
  });
}
