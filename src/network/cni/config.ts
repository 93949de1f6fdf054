import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';

/** One plugin's part of a list. Its own settings are between it and who wrote the file. */
export type CniPlugin = { type: string; capabilities: Readonly<Record<string, boolean>>; settings: Readonly<Record<string, unknown>> };

/** A network configuration list (CNI specification 1.0.0, section 1). */
export type CniList = { name: string; cniVersion: string; disableCheck: boolean; plugins: readonly CniPlugin[] };

const sizeLimit = 1_000_000;

/** The versions whose results this engine reads. */
const versions = ['0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

/** Finds a list by its name, or by its file's, in a folder. NotFound `CNI_CONFIG_NOT_FOUND` names what there is. */
export async function findCniConfig(directory: string, name: string): Promise<unknown> {
  const files = await readdir(directory).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  });
  const known: string[] = [];
  for (const file of files.filter((each) => /\.(conflist|conf|json)$/.test(each)).sort()) {
    const value = await readConfig(join(directory, file));
    const found = isObject(value) && typeof value.name === 'string' ? value.name : '';
    known.push(found);
    if (found === name || file === name) return value;
  }
  const message = `there is no CNI configuration ${JSON.stringify(name.slice(0, 100))} in ${directory}`;
  throw new EngineError('NotFound', 'CNI_CONFIG_NOT_FOUND', message, {
    hint: known.length > 0 ? `There are: ${known.join(', ')}.` : 'There is none at all.',
  });
}

async function readConfig(path: string): Promise<unknown> {
  if ((await stat(path)).size > sizeLimit) throw invalid(path, 'it is too large');
  try {
    return JSON.parse(await readFile(path, 'utf8')) as unknown;
  } catch (cause) {
    throw invalid(path, `it is not JSON: ${cause instanceof Error ? cause.message : ''}`);
  }
}

/** InvalidArgument `CNI_CONFIG_INVALID` names the field. A configuration of a single plugin counts as a list of one. */
export function parseCniList(value: unknown): CniList {
  if (!isObject(value)) throw invalid('it', 'it is not an object');
  const { name, cniVersion = '0.2.0', disableCheck = false } = value;
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(name)) throw invalid('name', 'it is not a network name');
  if (typeof cniVersion !== 'string' || !versions.includes(cniVersion)) {
    throw invalid('cniVersion', `${JSON.stringify(cniVersion).slice(0, 40)} is none of ${versions.join(', ')}`);
  }
  const plugins = 'plugins' in value ? value.plugins : [value];
  if (!Array.isArray(plugins) || plugins.length === 0 || plugins.length > 32) throw invalid('plugins', 'expected 1 to 32 plugins');
  return { name, cniVersion, disableCheck: disableCheck === true || disableCheck === 'true', plugins: plugins.map(parsePlugin) };
}

function parsePlugin(value: unknown, i: number): CniPlugin {
  const { type, capabilities = {} } = isObject(value) ? value : {};
  // It names a program in the plugins' folder.
  if (!isObject(value) || typeof type !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/.test(type)) {
    throw invalid(`plugins[${i}].type`, 'it is not the name of a plugin');
  }
  if (!isObject(capabilities)) throw invalid(`plugins[${i}].capabilities`, 'it is not an object');
  return { type, capabilities: Object.fromEntries(Object.entries(capabilities).map(([key, on]) => [key, on === true])), settings: value };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(where: string, why: string): EngineError {
  return new EngineError('InvalidArgument', 'CNI_CONFIG_INVALID', `invalid CNI configuration: ${where}: ${why}`);
}
