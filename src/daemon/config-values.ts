import { isIP, isIPv6 } from 'node:net';
import { isAbsolute, resolve } from 'node:path';
import { EngineError } from '../base/errors.ts';
import { formatSubnet, parseSubnet } from '../network/ip.ts';
import type { SubnetPool } from '../network/subnet-pools.ts';
import { type Given, isTable, unknown } from './config-sources.ts';

/** Readers of single values: undefined when nothing was given, InvalidArgument `CONFIG_INVALID` for what cannot be. */

export type Address = { host: string; port: number };
export type Ulimit = { Name: string; Soft: number; Hard: number };
export type RuntimeProgram = { path: string; args?: string[] };

export function invalid(given: Given | undefined, name: string, why: string): EngineError {
  return new EngineError('InvalidArgument', 'CONFIG_INVALID', `${given === undefined ? name : `${name} (${given.from})`}: ${why}`);
}

/** Relative paths are taken from where the command is typed; in a file that would depend on who starts the daemon. */
export function absolute(given: Given | undefined): string | undefined {
  if (given === undefined) return undefined;
  const path = given.value;
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw invalid(given, 'path', `${JSON.stringify(given.value)} is not a path`);
  if (given.from.startsWith('/') && !isAbsolute(path)) throw invalid(given, path, 'paths in the configuration file must be absolute');
  return resolve(path);
}

export function choice<T extends string>(given: Given | undefined, name: string, choices: readonly T[]): T | undefined {
  if (given === undefined) return undefined;
  const found = choices.find((each) => each === given.value);
  if (found === undefined) throw invalid(given, name, `${JSON.stringify(given.value)} is none of ${choices.join(', ')}`);
  return found;
}

export function integer(given: Given | undefined, name: string, least: number, most: number): number | undefined {
  if (given === undefined) return undefined;
  const value = typeof given.value === 'string' && /^\d{1,9}$/.test(given.value) ? Number(given.value) : given.value;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw invalid(given, name, `${JSON.stringify(given.value)} is not a whole number from ${least} to ${most}`);
}

/** A text that matches; `what` says what it should have been. */
export function matching(given: Given | undefined, name: string, pattern: RegExp, what: string): string | undefined {
  if (given === undefined) return undefined;
  if (typeof given.value === 'string' && pattern.test(given.value)) return given.value;
  throw invalid(given, name, `${JSON.stringify(given.value)} is not ${what}`);
}

/** `64m`, `1g` or a number of bytes. */
export function size(given: Given | undefined, name: string): number | undefined {
  if (given === undefined) return undefined;
  const match = /^(\d{1,15})([kmgt]?)b?$/i.exec(String(given.value));
  const bytes = match === null ? 0 : Number(match[1]) * 1024 ** ' kmgt'.indexOf((match[2] || ' ').toLowerCase());
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw invalid(given, name, `${JSON.stringify(given.value)} is not a size such as 64m or 67108864`);
}

export function list(given: Given, name: string): string[] {
  const entries = typeof given.value === 'string' ? given.value.split(',').filter((entry) => entry !== '') : given.value;
  if (Array.isArray(entries) && entries.every((entry) => typeof entry === 'string')) return entries;
  throw invalid(given, name, 'it must be a list of strings');
}

export function paths(given: Given | undefined, name: string): string[] | undefined {
  return given === undefined ? undefined : list(given, name).map((path) => absolute({ value: path, from: given.from }) ?? path);
}

/** Of build steps, by BuildKit's names. */
export function entitlements(given: Given | undefined, name: string): string[] | undefined {
  if (given === undefined) return undefined;
  const known = ['network.host', 'security.insecure', 'device'];
  return list(given, name).map((each) => choice({ value: each, from: given.from }, name, known) ?? each);
}

/** Names of plugins, each once: a plugin's name is that of its socket. */
export function pluginNames(given: Given | undefined, name: string): string[] {
  if (given === undefined) return [];
  const names = [...new Set(list(given, name))];
  // Whoever meant to name one must not get an engine that asks nobody.
  if (names.length === 0) throw invalid(given, name, 'the list is empty: leave the key out to have no plugins');
  return names.map((text) => {
    if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(text)) return text;
    throw invalid(given, name, `${JSON.stringify(text)} is not the name of a plugin`);
  });
}

/** `127.0.0.1:2376`, `[::1]:2376`, `:2376` for every address. */
export function addresses(given: Given | undefined, name: string): Address[] {
  if (given === undefined) return [];
  return list(given, name).map((text) => {
    const [, bracketed, plain = '', port = ''] = /^(?:tcp:\/\/)?(?:\[([^\]]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
    const host = bracketed ?? (plain === '' ? '::' : plain);
    const known = bracketed === undefined ? plain === '' || plain === 'localhost' || isIP(plain) === 4 : isIPv6(bracketed);
    if (known && port !== '' && Number(port) <= 65_535) return { host, port: Number(port) };
    throw invalid(given, name, `${JSON.stringify(text)} is not ADDRESS:PORT, such as 127.0.0.1:2376, [::1]:2376 or :2376`);
  });
}

export function subnet(given: Given | undefined): string | undefined {
  return given === undefined ? undefined : formatSubnet(within(given, 'network.subnet', () => parseSubnet(String(given.value))));
}

/** `10.200.0.0/16:24`: subnets of 24 bits cut from the range. */
export function pools(given: Given | undefined): SubnetPool[] | undefined {
  if (given === undefined) return undefined;
  const found = list(given, 'network.pools').map((entry) => {
    const [base = '', bits = ''] = entry.split(':');
    const range = within(given, 'network.pools', () => parseSubnet(base));
    const prefixLength = /^\d{1,2}$/.test(bits) ? Number(bits) : 0;
    if (prefixLength >= range.prefixLength && prefixLength <= 30) return { base: range, prefixLength };
    throw invalid(given, 'network.pools', `${JSON.stringify(entry)} is not RANGE:BITS, such as 10.200.0.0/16:24`);
  });
  if (found.length === 0) throw invalid(given, 'network.pools', 'the list is empty: leave the key out for the built-in pools');
  return found;
}

/** `fd00:1234::/48`: subnets of 64 bits are cut from it. */
export function ipv6Pool(given: Given | undefined): string | undefined {
  if (given === undefined) return undefined;
  const [address = '', bits = ''] = String(given.value).split('/');
  if (isIPv6(address) && /^\d{1,2}$/.test(bits) && Number(bits) >= 8 && Number(bits) <= 64) return `${address}/${bits}`;
  throw invalid(given, 'network.ipv6-pool', `${JSON.stringify(given.value)} is not an IPv6 range such as fd00:1234::/48`);
}

const ulimitNames = 'core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack'.split(' ');

/** `nofile=1024:2048`, `core=-1`. */
export function ulimits(given: Given | undefined): Ulimit[] {
  if (given === undefined) return [];
  return list(given, 'default-ulimits').map((text) => {
    const [, name = '', soft, hard = soft] = /^([a-z]+)=(-1|\d{1,15})(?::(-1|\d{1,15}))?$/.exec(text) ?? [];
    const limit = { Name: name, Soft: Number(soft), Hard: Number(hard) };
    const ordered = limit.Hard === -1 || (limit.Soft !== -1 && limit.Soft <= limit.Hard);
    if (ulimitNames.includes(name) && ordered) return limit;
    throw invalid(given, 'default-ulimits', `${JSON.stringify(text)} is not NAME=SOFT[:HARD], such as nofile=1024:4096`);
  });
}

/** In the file a table of names to paths or to `{ path = …, args = […] }`; elsewhere `NAME=PATH`, several with commas. */
export function runtimes(given: Given | undefined): Record<string, RuntimeProgram> {
  if (given === undefined) return {};
  const entries: [string, unknown][] = isTable(given.value)
    ? Object.entries(given.value)
    : list(given, 'runtimes').map((entry) => [entry.split('=', 1)[0] ?? '', entry.includes('=') ? entry.slice(entry.indexOf('=') + 1) : 0]);
  return Object.fromEntries(entries.map(([name, entry]) => [name, runtime(given, name, isTable(entry) ? entry : { path: entry })]));
}

function runtime(given: Given, name: string, table: Record<string, unknown>): RuntimeProgram {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) throw invalid(given, 'runtimes', `${JSON.stringify(name)} is not a name for a runtime`);
  const other = Object.keys(table).find((key) => key !== 'path' && key !== 'args');
  if (other !== undefined) throw unknown(`key in ${given.from}`, `runtimes.${name}.${other}`, `Did you mean runtimes.${name}.path?`);
  if (typeof table.path !== 'string') throw invalid(given, `runtimes.${name}`, `give it as ${name}=/path/to/${name}`);
  const path = absolute({ value: table.path, from: given.from }) ?? table.path;
  if (table.args === undefined) return { path };
  return { path, args: list({ value: table.args as Given['value'], from: given.from }, `runtimes.${name}.args`) };
}

function within<T>(given: Given, name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof EngineError ? invalid(given, name, error.message) : error;
  }
}
