import { chmodSync, chownSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EngineError, isErrno } from '../../base/errors.ts';

/** The parts of Docker's config.json that Slipway reads; the rest of it is kept as it is. */
export type DockerConfig = {
  auths?: Record<string, { auth?: string; identitytoken?: string; username?: string; password?: string }>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
};

/** `--config` over DOCKER_CONFIG over ~/.docker: the file that docker itself and other tools share. */
export function configPath(folder: string | undefined, env: NodeJS.ProcessEnv): string {
  return join(folder || env.DOCKER_CONFIG || join(env.HOME ?? process.getBuiltinModule('node:os').homedir(), '.docker'), 'config.json');
}

/** Empty when there is no file. InvalidArgument `CONFIG_INVALID` when it is not a JSON object. */
export function readConfig(path: string): DockerConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return {};
    throw new EngineError('InvalidArgument', 'CONFIG_UNREADABLE', `cannot read ${path}: ${String(error)}`, { cause: error });
  }
  if (text.trim() === '') return {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told below.
  }
  throw new EngineError('InvalidArgument', 'CONFIG_INVALID', `${path} is not a JSON object`, {
    hint: 'Mend it, or move it away and log in again.',
  });
}

/** Replaces the file at once, or the one that a link at its place leads to; its owner and mode stay. A new one is for its owner only. */
export function writeConfig(path: string, config: DockerConfig): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const target = resolveLink(path);
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify(config, null, '\t')}\n`, { mode: 0o600, flag: 'wx' });
    const before = statSync(target, { throwIfNoEntry: false });
    if (before !== undefined) {
      chmodSync(temporary, before.mode & 0o777);
      if (process.getuid?.() === 0) chownSync(temporary, before.uid, before.gid);
    }
    renameSync(temporary, target);
  } finally {
    rmSync(temporary, { force: true });
  }
}

function resolveLink(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return path;
    throw error;
  }
}
