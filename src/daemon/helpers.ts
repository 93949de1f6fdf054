import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';

/** Where helpers lie that are on nobody's PATH: Debian's, Fedora's and hand-made places. */
const helperFolders = ['/usr/libexec/podman', '/usr/lib/podman', '/usr/local/libexec/podman', '/usr/local/lib/podman'];

/** The absolute path of a program: on PATH, in the folders of the system, or beside the helpers of podman. */
export function findProgram(name: string): string | undefined {
  if (name.includes('/')) return isExecutable(name) ? name : undefined;
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin', ...helperFolders];
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** Unavailable `HELPER_MISSING` with the package that brings it. */
export function requireProgram(name: string, packageName: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new EngineError('Unavailable', 'HELPER_MISSING', `the program ${name} is not on this host`, {
    hint: `Install it: apt-get install ${packageName}. "slipway doctor" shows all that is missing.`,
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
