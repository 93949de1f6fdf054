import { setTimeout as sleep } from 'node:timers/promises';
import { pidfdExitCode, pidfdHasEnded } from '../kernel/process.ts';
import type { Container, Run } from './container.ts';
import type { EngineContext } from './context.ts';
import type { ExitRecord } from './drivers/conmon.ts';
import { isAlive } from './processes.ts';

/** How a container ended; `error` says what is not as it should be about that knowledge. */
export type KnownExit = ExitRecord & { error?: string };

/**
 * The monitor's record. conmon closes what it inherited, so that ports are free, and only then records the exit: it may be a moment away.
 * Undefined when the monitor is gone without one.
 */
export async function lastWords({ monitor, paths }: EngineContext, id: string, run: Run): Promise<ExitRecord | undefined> {
  for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 50)) {
    const alive = isAlive(run.monitor);
    const exit = await monitor.exit(paths.bundle(id), id);
    if (exit || !alive) return exit;
    await sleep(delayMs);
  }
}

/** For a container whose monitor was killed: the kernel keeps the status for a descriptor (Linux 6.15). Undefined while it runs on. */
export function exitWithoutMonitor({ pidfd }: Container, run: Run, nowMs: number): KnownExit | undefined {
  const ended = pidfd === undefined ? !isAlive(run.process) : pidfdHasEnded(pidfd);
  if (!ended) return undefined;
  const exitCode = pidfd === undefined ? undefined : pidfdExitCode(pidfd);
  const seen = { finishedAtMs: nowMs, oomKilled: false };
  if (exitCode !== undefined) return { ...seen, exitCode, error: 'its monitor was killed' };
  return { ...seen, exitCode: 255, error: 'its monitor was killed, so its exit status is not known' };
}
