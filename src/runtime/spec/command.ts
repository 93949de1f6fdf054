import { posix } from 'node:path';
import { EngineError } from '../../base/errors.ts';
import type { InRoot } from './in-root.ts';

/** As in Docker's images without one of their own. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Finds the program inside the root, so that the engine and not an init inside answers for what is missing. Throws with Docker's words
 * and `exitCode` 127 (`COMMAND_NOT_FOUND`) or 126 (`COMMAND_NOT_EXECUTABLE`).
 */
export function resolveCommand(root: InRoot, command: string, env: readonly string[], cwd: string): string {
  const fail = (code: string, exitCode: number, reason: string, hint = 'Check the command, the entrypoint and PATH in the image.') =>
    new EngineError('InvalidArgument', code, `unable to start container process: ${reason}`, { exitCode, hint });
  const quoted = JSON.stringify(command);
  if (command.includes('/')) {
    const path = command.startsWith('/') ? command : posix.join(cwd, command);
    const stats = root.stat(path);
    if (!stats) throw fail('COMMAND_NOT_FOUND', 127, `exec: ${quoted}: stat ${path}: no such file or directory`);
    if (stats.isDirectory()) throw fail('COMMAND_NOT_EXECUTABLE', 126, `exec: ${quoted}: is a directory`);
    if ((stats.mode & 0o111) === 0)
      throw fail('COMMAND_NOT_EXECUTABLE', 126, `exec: ${quoted}: permission denied`, 'Make the file executable: chmod +x.');
    return path;
  }
  for (const directory of searchPath(env)) {
    const path = posix.join(directory === '' ? cwd : posix.resolve(cwd, directory), command);
    const stats = root.stat(path);
    if (stats?.isFile() && (stats.mode & 0o111) !== 0) return path;
  }
  throw fail('COMMAND_NOT_FOUND', 127, `exec: ${quoted}: executable file not found in $PATH`);
}

function searchPath(env: readonly string[]): string[] {
  const value = env.findLast((entry) => entry.startsWith('PATH='))?.slice('PATH='.length);
  return (value ?? defaultPath).split(':');
}

const inits = new Set([
  'init',
  'systemd',
  'tini',
  'tini-static',
  'dumb-init',
  'catatonit',
  'docker-init',
  'podman-init',
  's6-svscan',
  'runit',
  'runit-init',
  'openrc-init',
  'supervisord',
]);

/** Whether the program takes PID 1's duties itself; some (s6, systemd) refuse any other PID. */
export function isInit(path: string): boolean {
  return inits.has(posix.basename(path)) || path === '/init';
}
