import { writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError, isErrno } from '../base/errors.ts';
import { orphanEnded } from '../kernel/orphans.ts';
import { killProcess } from '../kernel/process.ts';
import { spawnProcess } from '../kernel/spawn.ts';
import { type OciRuntime, runtimeMessage } from './drivers/oci-runtime.ts';
import type { ExecEnds, ExecStdio } from './exec-stdio.ts';
import { SIGKILL } from './signals.ts';
import { encodeSpec } from './spec/build.ts';
import type { ProcessSpec } from './spec/types.ts';

export type RunningExec = { pid: number; stdio: ExecStdio; ended: Promise<number> };

export type LaunchOptions = { containerId: string; directory: string; runtime: OciRuntime; process: ProcessSpec; ends: ExecEnds };

/**
 * Has the runtime start a process in a container and leave it: it then is a child of the engine's (kernel/orphans), holds its ends of the pipes
 * itself, and its own end is what counts, whoever else has the pipes. InvalidArgument with exitCode 126 says why it did not begin.
 */
export async function launchExec(options: LaunchOptions): Promise<RunningExec> {
  const { containerId, directory, runtime, ends } = options;
  const files = {
    processFile: join(directory, 'process.json'),
    pidFile: join(directory, 'pid'),
    log: join(directory, 'log'),
    consoleSocket: ends.console?.path,
  };
  try {
    await writeFile(files.processFile, encodeSpec(options.process), { mode: 0o600 });
    const child = spawnProcess(runtime.program, runtime.detachedExecArguments(containerId, files), {
      env: process.env,
      stdio: ends.child,
      newSession: true,
    });
    // crun's exec leaves it as it is with whoever starts it, and that is the engine, which may be spared.
    setOomScore(child.pid, options.process.oomScoreAdj);
    const end = await endedWithin(runtime.timeoutMs, child.ended);
    if (end === undefined) {
      killProcess(-child.pid, SIGKILL);
      throw failed(`${runtime.name} did not begin the process within ${runtime.timeoutMs / 1000} s`);
    }
    if (end.exitCode !== 0) throw failed(runtimeMessage(await readIfThere(files.log)));
    const pid = Number.parseInt(await readIfThere(files.pidFile), 10);
    if (!(pid > 0)) throw failed(`${runtime.name} did not say which process it began`);
    const ended = orphanEnded(pid).then((exitCode) => exitCode ?? 255);
    return { pid, stdio: ends.open(), ended };
  } catch (error) {
    ends.close();
    throw error;
  }
}

/** Inherited by what the process starts. */
function setOomScore(pid: number, score: number | undefined): void {
  if (score === undefined) return;
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (error) {
    // It may have ended, or sparing it so much be denied to the engine.
    if (!isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) throw error;
  }
}

/** 127 only where the command itself is missing: what else a runtime does not find is its own, often of a container that is going. */
function failed(why: string): EngineError {
  const exitCode = /executable file .*not found|exec(?: container process|:) .*no such file/i.test(why) ? 127 : 126;
  return new EngineError('InvalidArgument', 'EXEC_FAILED', `OCI runtime exec failed: ${why}`, { exitCode });
}

async function endedWithin<T>(timeoutMs: number, ended: Promise<T>): Promise<T | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), timeoutMs);
  try {
    return await Promise.race([ended, promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return '';
    throw error;
  }
}
