import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { aptInstall } from './packages.ts';
import type { HostItem } from './report.ts';

/** Beyond PATH: sbin, which services and sudo may leave out, and where distributions hide Podman's helpers. */
const extraDirectories = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
  '/usr/libexec/podman',
  '/usr/lib/podman',
  '/usr/local/libexec/podman',
  '/usr/local/lib/podman',
];

/** The path of an executable, or undefined. Also finds aardvark-dns, which is in no PATH. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':').filter((directory) => directory.startsWith('/')), ...extraDirectories];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

/** Unavailable `HELPER_MISSING` with the package that brings it. */
export function requireProgram(name: string, debianPackage: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new EngineError('Unavailable', 'HELPER_MISSING', `the program ${name} is not on this host`, {
    hint: `Install it: ${aptInstall(debianPackage)}. "slipway doctor" shows all that is missing.`,
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EACCES', 'ENOTDIR')) return false;
    throw error;
  }
}

export type Program = {
  name: string;
  path: string | undefined;
  /** Its version, `?` when it runs and tells none; undefined when it does not run. */
  version: string | undefined;
  /** All that it says of itself, or why it did not run. */
  output: string;
};

/** Looks a program up and asks for its version. Never throws. */
export async function probeProgram(name: string, options: { versionFlag?: string; path?: string | undefined } = {}): Promise<Program> {
  const path = options.path ?? findProgram(name);
  if (path === undefined) return { name, path, version: undefined, output: 'not found' };
  const { ok, stdout, output } = await runProgram(path, [options.versionFlag ?? '--version']);
  if (!ok) return { name, path, version: undefined, output: output.split('\n').at(-1) ?? '' };
  return { name, path, version: /\d+\.\d+[^\s,]*/.exec(stdout)?.[0] ?? '?', output };
}

/** Never throws; gives up after 5 s. `output` is all that it said, or why it did not run. */
export function runProgram(
  path: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ ok: boolean; stdout: string; output: string }> {
  return new Promise((resolve) => {
    execFile(path, args, { timeout: 5000, env: { PATH: process.env.PATH, LC_ALL: 'C', ...env } }, (error, stdout, stderr) => {
      resolve({ ok: error === null, stdout, output: `${stdout}${stderr}`.trim() || (error?.message ?? '') });
    });
  });
}

/** The report's line for a program. `purpose` says what is lost without it. */
export function programItem(
  program: Program,
  options: { purpose: string; required?: boolean; debianPackage: string; detail?: string | undefined },
): HostItem {
  const { name, path, version, output } = program;
  const common = { section: 'Programs' as const, name, required: options.required ?? false };
  if (path === undefined) {
    return { ...common, status: 'missing', detail: 'not installed', why: options.purpose, install: aptInstall(options.debianPackage) };
  }
  if (version === undefined) {
    return { ...common, status: 'unsupported', detail: `${path} does not run: ${output}`, why: options.purpose };
  }
  return { ...common, status: 'ok', detail: [version, path, options.detail].filter((part) => part !== undefined).join('  ') };
}
