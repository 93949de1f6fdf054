import { posix } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import type { Container } from './container.ts';
import type { EngineContext } from './context.ts';
import { linkedContainers, linkVariables } from './create/links.ts';
import type { Size } from './exec-stdio.ts';
import type { ExecRecord } from './port.ts';
import { apparmorProfile } from './spec/apparmor.ts';
import { oomScore } from './spec/build.ts';
import { capabilities } from './spec/capabilities.ts';
import { resolveCommand } from './spec/command.ts';
import { mergeEnv, processEnv } from './spec/environment.ts';
import { InRoot } from './spec/in-root.ts';
import { rlimits } from './spec/limits.ts';
import { parseSecurityOptions } from './spec/security.ts';
import type { ProcessSpec } from './spec/types.ts';
import { resolveUser } from './spec/user.ts';

/**
 * What the runtime is to run for an exec. The root as the container's processes see it, mounts and all, is /proc/<pid>/root. Errors of the command
 * have exitCode 126 or 127.
 */
export function execProcess(context: EngineContext, container: Container, exec: ExecRecord, size: Size | undefined): ProcessSpec {
  const { record, run } = container;
  const { config, hostConfig } = record;
  using root = rootOf(container.id, run?.process.pid);
  const user = userOf(root, exec.user || config.User || '', hostConfig.GroupAdd ?? []);
  const env = processEnv({
    env: [...linkEnv(context, record), ...mergeEnv(config.Env, exec.env)],
    hostname: config.Hostname,
    tty: exec.tty,
    home: user.home,
  });
  const cwd = workingDirectory(root, exec.workingDir || config.WorkingDir || '/');
  resolveCommand(root, exec.args[0] ?? '', env, cwd);
  const privileged = exec.privileged || (hostConfig.Privileged ?? false);
  const { granted } = capabilities(
    { privileged, add: hostConfig.CapAdd ?? null, drop: hostConfig.CapDrop ?? null },
    context.facts.capabilities,
  );
  const security = parseSecurityOptions(hostConfig.SecurityOpt ?? []);
  const apparmor = apparmorProfile(security.apparmor, { Privileged: privileged }, context.facts.apparmor);
  const { hardLimits, capabilities: own, settings } = context.facts;
  const limits = rlimits(hostConfig.Ulimits, hardLimits, own.includes('CAP_SYS_RESOURCE'), settings.defaultUlimits);
  return {
    terminal: exec.tty,
    ...(exec.tty && size ? { consoleSize: { height: size.rows, width: size.columns } } : {}),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: exec.args,
    env,
    cwd,
    capabilities: { bounding: granted, effective: granted, permitted: granted, inheritable: [], ambient: [] },
    ...(limits.rlimits.length > 0 ? { rlimits: limits.rlimits } : {}),
    noNewPrivileges: security.noNewPrivileges,
    ...(apparmor ? { apparmorProfile: apparmor } : {}),
    oomScoreAdj: oomScore(hostConfig.OomScoreAdj ?? 0, context.facts),
  };
}

/** What links say. That one of them has ended meanwhile is no reason to refuse. */
function linkEnv(context: EngineContext, record: Container['record']): string[] {
  try {
    return linkVariables(linkedContainers(context, record), record);
  } catch (error) {
    if (error instanceof EngineError) return [];
    throw error;
  }
}

function rootOf(id: string, pid: number | undefined): InRoot {
  try {
    return new InRoot(`/proc/${pid}/root`);
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ESRCH')) throw error;
    // It has ended a moment ago.
    throw new EngineError('Conflict', 'CONTAINER_NOT_RUNNING', `Container ${id} is not running`, { cause: error });
  }
}

/** A descriptor that a runtime leaks is a way out of the container when it is the working directory (CVE-2024-21626). */
function workingDirectory(root: InRoot, asked: string): string {
  const refuse = (why: string) =>
    new EngineError('InvalidArgument', 'WORKDIR_INVALID', `exec failed: chdir to cwd ("${asked}") failed: ${why}`, { exitCode: 126 });
  if (!asked.startsWith('/')) throw refuse('it is not an absolute path');
  const cwd = posix.normalize(asked);
  if (/^\/proc\/(self|thread-self|\d+)\/(fd|task|cwd|root)(\/|$)/.test(cwd)) throw refuse('it would lead out of the container');
  // Resolved without links of the kernel's own, so that no symlink leads to such a path either.
  if (!root.stat(cwd)?.isDirectory()) throw refuse('no such directory in the container');
  return cwd;
}

/** An unknown user makes an exec end with 126, and not as a mistake of the engine's. */
function userOf(root: InRoot, user: string, groupAdd: readonly string[]): ReturnType<typeof resolveUser> {
  try {
    return resolveUser(root, user, groupAdd);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw new EngineError(error.kind, error.code, error.message, { hint: error.hint, cause: error, exitCode: 126 });
  }
}
