import { readFileSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { EngineError, isErrno } from '../base/errors.ts';
import { formatSubnet, parseSubnet } from '../network/ipv4.ts';
import type { SubnetPool } from '../network/subnet-pools.ts';
import { type Key, keys, nearestKey, type RawValue } from './config-keys.ts';
import type { LogLevel } from './log.ts';

/** How the daemon runs. All paths are absolute; undefined means "what slipway doctor would choose". */
export type DaemonConfig = {
  /** State that stays: images, containers, volumes. */
  root: string;
  /** What lives only while the host is up: sockets, mounts, namespaces. */
  run: string;
  /** Where the API is served, of the group `group`, 0660. */
  socket: string;
  /** A second path for clients that look there, such as /var/run/docker.sock. */
  dockerSocket: string | undefined;
  /** Whose members may use the sockets; without such a group on the host, root only. */
  group: string;
  logLevel: LogLevel;
  /** A name in `runtimes`. */
  defaultRuntime: string | undefined;
  /** OCI runtimes beside those found on the host, by the name that `--runtime` takes. */
  runtimes: Record<string, { path: string }>;
  snapshotter: 'erofs-overlay' | 'hardlink-overlay' | undefined;
  /** A static init program, bound into containers. */
  init: string | undefined;
  conmon: string | undefined;
  network: {
    /** The default network's, in CIDR form. */
    subnet: string | undefined;
    /** Where subnets of other networks are picked from. */
    pools: readonly SubnetPool[] | undefined;
    mtu: number | undefined;
    netavark: string | undefined;
    aardvarkDns: string | undefined;
  };
};

const defaultFile = '/etc/slipway/slipway.toml';

/** Variables of the command line's and of development's own, which the daemon leaves alone. */
const otherVariables = new Set(['SLIPWAY_HOST', 'SLIPWAY_DEBUG', 'SLIPWAY_LAUNCHER']);
const otherPrefixes = ['SLIPWAY_TEST_', 'SLIPWAY_BENCH_', 'SLIPWAY_SNAPSHOT_'];

/** Where a value was given, for errors. */
type Given = { value: RawValue; from: string };

/**
 * Reads the configuration: flags over SLIPWAY_* variables over the file (`--config`, else /etc/slipway/slipway.toml where there is one).
 * `argv` is what follows `slipway daemon`. InvalidArgument `CONFIG_INVALID` names the key, where it was given, and for an unknown one the
 * nearest that there is.
 */
export function loadConfig(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): DaemonConfig {
  const flags = readFlags(argv);
  const variables = readVariables(env);
  const explicit = flags.get('config') ?? variables.get('config');
  const file = readFile(explicit === undefined ? undefined : text(explicit), env);
  const lookup = (name: string): Given | undefined => flags.get(name) ?? variables.get(name) ?? file.get(name);
  return build(lookup);
}

export const daemonUsage = `Usage: slipway daemon [OPTIONS]

Runs the engine until it gets SIGTERM; containers go on. Each option is also a key of the configuration file (without the dashes; those
of [network] in their table) and an environment variable (--docker-socket is SLIPWAY_DOCKER_SOCKET). Flags win over the environment, the
environment over the file.

Options:
${keys.map(({ flag, placeholder, help }) => `  ${`--${flag} ${placeholder}`.padEnd(32)} ${help}`).join('\n')}
`;

function build(lookup: (name: string) => Given | undefined): DaemonConfig {
  const path = (name: string, instead: string) => absolute(lookup(name)) ?? instead;
  const root = path('root', '/var/lib/slipway');
  const run = path('run', '/run/slipway');
  for (const [name, value] of [
    ['root', root],
    ['run', run],
  ] as const) {
    if (value === '/') throw invalid(lookup(name), name, 'it cannot be the root directory of the host');
  }
  if (root === run || run.startsWith(`${root}/`)) {
    throw invalid(lookup('run') ?? lookup('root'), 'run', `${run} lies in --root ${root}, which outlives a reboot: it must lie outside`);
  }
  const runtimes = readRuntimes(lookup('runtimes'));
  return {
    root,
    run,
    socket: path('socket', join(run, 'slipway.sock')),
    dockerSocket: absolute(lookup('docker-socket')),
    group: groupName(lookup('group')) ?? 'slipway',
    logLevel: choice(lookup('log-level'), 'log-level', ['debug', 'info', 'warn', 'error']) ?? 'info',
    defaultRuntime: defaultRuntime(lookup('default-runtime'), runtimes),
    runtimes,
    snapshotter: choice(lookup('snapshotter'), 'snapshotter', ['erofs-overlay', 'hardlink-overlay']),
    init: absolute(lookup('init')),
    conmon: absolute(lookup('conmon')),
    network: {
      subnet: readSubnet(lookup('network.subnet')),
      pools: readPools(lookup('network.pools')),
      mtu: integer(lookup('network.mtu'), 'network.mtu', 68, 65_535),
      netavark: absolute(lookup('network.netavark')),
      aardvarkDns: absolute(lookup('network.aardvark-dns')),
    },
  };
}

function readFlags(argv: readonly string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  for (let i = 0; i < argv.length; i++) {
    const [flag = '', inline] = splitOnce(argv[i] ?? '', '=');
    const key = flag.startsWith('--') ? keys.find((each) => `--${each.flag}` === flag) : undefined;
    if (key === undefined) throw unknown('option', argv[i] ?? '', '--', ({ flag: name }) => name, flag.replace(/^-+/, ''));
    const value = inline ?? argv[++i];
    if (value === undefined)
      throw new EngineError('InvalidArgument', 'CONFIG_INVALID', `${flag} needs a value: ${flag} ${key.placeholder}`);
    const before = given.get(key.name);
    // Lists grow when a flag is repeated, as --runtime is; else the last one counts.
    given.set(key.name, { value: key.list && before !== undefined ? `${text(before)},${value}` : value, from: flag });
  }
  return given;
}

function readVariables(env: Readonly<Record<string, string | undefined>>): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [variable, value] of Object.entries(env)) {
    if (!variable.startsWith('SLIPWAY_') || value === undefined) continue;
    if (otherVariables.has(variable) || otherPrefixes.some((prefix) => variable.startsWith(prefix))) continue;
    const key = keys.find((each) => each.variable === variable);
    if (key === undefined) throw unknown('environment variable', variable, '', (each) => each.variable, variable);
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

/** Keys of a table as `network.mtu`. `[runtimes]` is one key: its names are the user's. */
function flatten(table: Record<string, unknown>, path: string, prefix: string): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [part, value] of Object.entries(table)) {
    const name = `${prefix}${part}`;
    const key = keys.find((each) => each.name === name && each.inFile);
    if (key !== undefined) given.set(name, { value: value as RawValue, from: path });
    else if (isTable(value) && keys.some((each) => each.name.startsWith(`${name}.`))) {
      for (const [inner, each] of flatten(value, path, `${name}.`)) given.set(inner, each);
    } else throw unknown(`key in ${path}`, name, '', (each) => (each.inFile ? each.name : ''), name);
  }
  return given;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function unknown(what: string, shown: string, prefix: string, nameOf: (key: Key) => string, word: string): EngineError {
  const near = nearestKey(word, nameOf);
  return new EngineError('InvalidArgument', 'CONFIG_UNKNOWN_KEY', `unknown ${what}: ${shown}`, {
    hint: near === undefined ? '"slipway daemon --help" lists what there is.' : `Did you mean ${prefix}${near}?`,
  });
}

function invalid(given: Given | undefined, name: string, why: string): EngineError {
  return new EngineError('InvalidArgument', 'CONFIG_INVALID', `${given === undefined ? name : `${name} (${given.from})`}: ${why}`);
}

function text(given: Given): string {
  return typeof given.value === 'string' ? given.value : String(given.value);
}

/** Relative paths are taken from where the command is typed; in a file that would depend on who starts the daemon. */
function absolute(given: Given | undefined): string | undefined {
  if (given === undefined) return undefined;
  const path = text(given);
  if (typeof given.value !== 'string' || path === '' || path.includes('\0'))
    throw invalid(given, 'path', `${JSON.stringify(given.value)} is not a path`);
  if (given.from.startsWith('/') && !isAbsolute(path)) throw invalid(given, path, 'paths in the configuration file must be absolute');
  return resolve(path);
}

function choice<T extends string>(given: Given | undefined, name: string, choices: readonly T[]): T | undefined {
  if (given === undefined) return undefined;
  const found = choices.find((each) => each === given.value);
  if (found === undefined) throw invalid(given, name, `${JSON.stringify(given.value)} is none of ${choices.join(', ')}`);
  return found;
}

function integer(given: Given | undefined, name: string, least: number, most: number): number | undefined {
  if (given === undefined) return undefined;
  const value = typeof given.value === 'string' && /^\d{1,9}$/.test(given.value) ? Number(given.value) : given.value;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw invalid(given, name, `${JSON.stringify(given.value)} is not a whole number from ${least} to ${most}`);
}

function groupName(given: Given | undefined): string | undefined {
  if (given === undefined) return undefined;
  if (typeof given.value === 'string' && /^[a-z_][a-z0-9_-]{0,31}$/i.test(given.value)) return given.value;
  throw invalid(given, 'group', `${JSON.stringify(given.value)} is not the name of a group`);
}

function readSubnet(given: Given | undefined): string | undefined {
  return given === undefined ? undefined : formatSubnet(within(given, 'network.subnet', () => parseSubnet(text(given))));
}

/** `10.200.0.0/16:24`: subnets of 24 bits cut from the range. */
function readPools(given: Given | undefined): SubnetPool[] | undefined {
  if (given === undefined) return undefined;
  const pools = list(given, 'network.pools').map((entry) => {
    const [base = '', size = ''] = entry.split(':');
    const range = within(given, 'network.pools', () => parseSubnet(base));
    const prefixLength = /^\d{1,2}$/.test(size) ? Number(size) : 0;
    if (prefixLength >= range.prefixLength && prefixLength <= 30) return { base: range, prefixLength };
    throw invalid(given, 'network.pools', `${JSON.stringify(entry)} is not RANGE:BITS, such as 10.200.0.0/16:24`);
  });
  if (pools.length === 0) throw invalid(given, 'network.pools', 'the list is empty: leave the key out for the built-in pools');
  return pools;
}

function list(given: Given, name: string): string[] {
  const entries = typeof given.value === 'string' ? given.value.split(',').filter((entry) => entry !== '') : given.value;
  if (Array.isArray(entries) && entries.every((entry) => typeof entry === 'string')) return entries;
  throw invalid(given, name, 'it must be a list of strings');
}

function within<T>(given: Given, name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof EngineError ? invalid(given, name, error.message) : error;
  }
}

/** In the file a table of names to paths or to `{ path = … }`; elsewhere `NAME=PATH`, several with commas. */
function readRuntimes(given: Given | undefined): Record<string, { path: string }> {
  if (given === undefined) return {};
  const entries = isTable(given.value)
    ? Object.entries(given.value).map(([name, value]) => [name, isTable(value) ? runtimePath(given, name, value) : value] as const)
    : list(given, 'runtimes').map((entry) => splitOnce(entry, '='));
  return Object.fromEntries(
    entries.map(([name, path]) => {
      if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name))
        throw invalid(given, 'runtimes', `${JSON.stringify(name)} is not a name for a runtime`);
      if (typeof path !== 'string') throw invalid(given, `runtimes.${name}`, `give it as ${name}=/path/to/${name}`);
      return [name, { path: absolute({ value: path, from: given.from }) ?? path }];
    }),
  );
}

function runtimePath(given: Given, name: string, table: Record<string, unknown>): unknown {
  const other = Object.keys(table).find((key) => key !== 'path');
  if (other === undefined) return table.path;
  throw new EngineError('InvalidArgument', 'CONFIG_UNKNOWN_KEY', `unknown key in ${given.from}: runtimes.${name}.${other}`, {
    hint: `Did you mean runtimes.${name}.path?`,
  });
}

function defaultRuntime(given: Given | undefined, runtimes: Record<string, unknown>): string | undefined {
  if (given === undefined) return undefined;
  const known = ['runc', 'crun', ...Object.keys(runtimes)];
  if (typeof given.value === 'string' && known.includes(given.value)) return given.value;
  throw invalid(given, 'default-runtime', `${JSON.stringify(given.value)} is none of the runtimes ${known.join(', ')}`);
}

function splitOnce(value: string, separator: string): [string, string | undefined] {
  const at = value.indexOf(separator);
  return at === -1 ? [value, undefined] : [value.slice(0, at), value.slice(at + separator.length)];
}
