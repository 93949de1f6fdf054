import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import type { PluginAddress } from './client.ts';

export type PluginFolders = {
  /** Of sockets: `NAME.sock` or `NAME/NAME.sock`. */
  sockets: readonly string[];
  /** Of `NAME.spec` (an address) and `NAME.json` (an address and keys). */
  specs: readonly string[];
};

/** A name is a file's: nothing else may come near the file system. */
export const pluginName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/;

/** Docker's places. */
export const dockerPluginFolders: PluginFolders = {
  sockets: ['/run/docker/plugins'],
  specs: ['/etc/docker/plugins', '/usr/lib/docker/plugins'],
};

/** Where a plugin says that it listens; undefined when nothing says so. InvalidArgument `PLUGIN_SPEC_INVALID` names the file. */
export async function findPlugin(name: string, folders: PluginFolders): Promise<PluginAddress | undefined> {
  if (!pluginName.test(name)) return undefined;
  for (const folder of folders.sockets) {
    for (const socketPath of [join(folder, `${name}.sock`), join(folder, name, `${name}.sock`)]) {
      if (await isSocket(socketPath)) return { socketPath };
    }
  }
  for (const folder of folders.specs) {
    for (const base of [join(folder, name), join(folder, name, name)]) {
      const spec = await read(`${base}.spec`);
      if (spec !== undefined) return parseAddress(spec.trim(), undefined, `${base}.spec`);
      const json = await read(`${base}.json`);
      if (json !== undefined) return parseJson(json, `${base}.json`);
    }
  }
  return undefined;
}

type PluginJson = { Addr?: string; TLSConfig?: { CAFile?: string; CertFile?: string; KeyFile?: string; InsecureSkipVerify?: boolean } };

function parseJson(text: string, file: string): PluginAddress {
  let json: PluginJson;
  try {
    json = JSON.parse(text) as PluginJson;
  } catch (cause) {
    throw invalid(file, 'it is not JSON', cause);
  }
  const { CAFile, CertFile, KeyFile, InsecureSkipVerify } = json.TLSConfig ?? {};
  const tls = {
    ...(CAFile ? { ca: CAFile } : {}),
    ...(CertFile ? { cert: CertFile } : {}),
    ...(KeyFile ? { key: KeyFile } : {}),
    ...(InsecureSkipVerify ? { insecure: true } : {}),
  };
  return parseAddress(typeof json.Addr === 'string' ? json.Addr : '', json.TLSConfig ? tls : undefined, file);
}

function parseAddress(text: string, tls: Extract<PluginAddress, { host: string }>['tls'], file: string): PluginAddress {
  if (text.startsWith('unix://')) return { socketPath: text.slice('unix://'.length) };
  const url = URL.parse(text.replace(/^tcp:/, 'http:'));
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '') {
    throw invalid(file, `${JSON.stringify(text)} is no address: expected unix:///path, tcp://host:port, http:// or https://`);
  }
  const secure = url.protocol === 'https:' || tls !== undefined;
  const port = Number(url.port) || (secure ? 443 : 80);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port, tls: secure ? (tls ?? {}) : undefined };
}

function invalid(file: string, why: string, cause?: unknown): EngineError {
  return new EngineError('InvalidArgument', 'PLUGIN_SPEC_INVALID', `${file}: ${why}`, { cause });
}

async function isSocket(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isSocket();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}
