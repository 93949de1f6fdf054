import { EngineError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { registryAddress } from '../transport/registry/address.ts';
import { type HostSettings, isRange, parseMirror, type RegistryHosts } from '../transport/registry/hosts.ts';
import { type Given, isTable, type Lookup, unknown } from './config-sources.ts';
import { absolute, integer, invalid, list } from './config-values.ts';

const keysOfHost = ['mirrors', 'insecure', 'ca', 'cert', 'key', 'auth-file', 'max-requests'] as const;
const hub = 'docker.io';

/** `[registries."HOST"]` of the file, with `insecure-registries` and `registry-mirrors`, which are Docker's, added. */
export function registries(lookup: Lookup): RegistryHosts {
  const hosts = new Map<string, HostSettings>();
  const change = (host: string, settings: Partial<HostSettings>) => {
    hosts.set(host, { ...(hosts.get(host) ?? { mirrors: [], insecure: false }), ...settings });
  };
  const tables = lookup('registries');
  for (const [host, table] of Object.entries(tablesOf(tables))) {
    change(checkHost(tables, 'registries', host), hostSettings(tables, host, table));
  }
  const insecure = lookup('insecure-registries');
  for (const host of insecure === undefined ? [] : list(insecure, 'insecure-registries')) {
    change(isRange(host) ? host : checkHost(insecure, 'insecure-registries', host), { insecure: true });
  }
  const mirrors = lookup('registry-mirrors');
  for (const entry of mirrors === undefined ? [] : list(mirrors, 'registry-mirrors')) {
    const equals = entry.indexOf('=');
    const host = checkHost(mirrors, 'registry-mirrors', equals < 0 ? hub : entry.slice(0, equals));
    const mirror = checkMirror(mirrors, 'registry-mirrors', entry.slice(equals + 1));
    change(host, { mirrors: [...(hosts.get(host)?.mirrors ?? []), mirror] });
  }
  return Object.fromEntries(hosts);
}

function tablesOf(given: Given | undefined): Record<string, unknown> {
  if (given === undefined) return {};
  if (isTable(given.value)) return given.value;
  throw invalid(given, 'registries', 'it must have a table for each host: [registries."registry.example:5000"]');
}

function hostSettings(given: Given | undefined, host: string, table: unknown): HostSettings {
  const name = `registries."${host}"`;
  const from = given?.from ?? '';
  if (!isTable(table)) throw invalid(given, name, 'it must be a table: [registries."registry.example:5000"]');
  const other = Object.keys(table).find((key) => !keysOfHost.some((each) => each === key));
  if (other !== undefined) {
    const near = nearest(other, keysOfHost);
    throw unknown(
      `key in ${from}`,
      `${name}.${other}`,
      near === undefined ? `There are ${keysOfHost.join(', ')}.` : `Did you mean ${near}?`,
    );
  }
  const value = (key: (typeof keysOfHost)[number]): Given | undefined =>
    table[key] === undefined ? undefined : { value: table[key] as Given['value'], from };
  const { insecure = false } = table;
  if (typeof insecure !== 'boolean') throw invalid(given, `${name}.insecure`, `${JSON.stringify(insecure)} is neither true nor false`);
  const mirrors = value('mirrors');
  const files = { ca: absolute(value('ca')), cert: absolute(value('cert')), key: absolute(value('key')) };
  if ((files.cert === undefined) !== (files.key === undefined)) throw invalid(given, name, 'cert and key belong together');
  return {
    mirrors: mirrors === undefined ? [] : list(mirrors, `${name}.mirrors`).map((mirror) => checkMirror(given, `${name}.mirrors`, mirror)),
    insecure,
    ...files,
    authFile: absolute(value('auth-file')),
    maxRequests: integer(value('max-requests'), `${name}.max-requests`, 1, 100),
  };
}

function checkHost(given: Given | undefined, name: string, host: string): string {
  if (/^[^\s/?#@]+$/.test(host) && within(() => registryAddress(host)) !== undefined) return host;
  throw invalid(given, name, `${JSON.stringify(host)} is not the host of a registry, such as docker.io or registry.example:5000`);
}

function checkMirror(given: Given | undefined, name: string, mirror: string): string {
  if (within(() => parseMirror(mirror)) !== undefined) return mirror;
  throw invalid(given, name, `${JSON.stringify(mirror)} is not a mirror, such as https://mirror.example or mirror.example:5000/hub`);
}

function within<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}
