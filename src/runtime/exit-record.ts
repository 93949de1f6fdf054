import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pidfdExitCode, pidfdHasEnded } from '../kernel/process.ts';
import type { Container, Run } from './container.ts';
import type { EngineContext } from './context.ts';
import type { ExitRecord } from './drivers/conmon.ts';
import { exitCodeOf, isAlive } from './processes.ts';

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

/** How long the host's init may take to reap a process: until then the kernel does not tell its status. */
const reapingMs = 3_000;

/**
 * For a container whose monitor was killed. Of one that this engine started it is then the parent, and hears of its end; else the kernel keeps the
 * status for a descriptor (Linux 6.15). Undefined while it runs on.
 */
export async function exitWithoutMonitor(container: Container, run: Run, nowMs: number): Promise<KnownExit | undefined> {
  const { pidfd } = container;
  const ended = pidfd === undefined ? !isAlive(run.process) : pidfdHasEnded(pidfd);
  if (!ended) return undefined;
  const exitCode = exitCodeOf(run.process) ?? (pidfd === undefined ? undefined : await statusWhenReaped(container, run));
  const seen = { finishedAtMs: nowMs, oomKilled: false };
  if (exitCode !== undefined) return { ...seen, exitCode, error: 'its monitor was killed' };
  return { ...seen, exitCode: 255, error: 'its monitor was killed, so its exit status is not known' };
}

async function statusWhenReaped(container: Container, { process: { pid } }: Run): Promise<number | undefined> {
  const deadline = Date.now() + reapingMs;
  // The engine's shutdown closes the descriptor.
  for (let delayMs = 5; container.pidfd !== undefined; delayMs = Math.min(delayMs * 2, 100)) {
    const reaped = !existsSync(`/proc/${pid}`);
    const exitCode = pidfdExitCode(container.pidfd);
    if (exitCode !== undefined || reaped || Date.now() > deadline) return exitCode;
    await sleep(delayMs);
  }
  return undefined;
}
